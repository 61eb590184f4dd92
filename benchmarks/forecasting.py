"""What the forecaster reaches on ETTh1 and on stock prices, beside linear, naive and volatility forecasts.

    python benchmarks/forecasting.py [--parts etth1,stocknet,speed,gaps] [--sets ot_24,…] [--runs FOLDER]

`etth1`: hours of a transformer, standardised by the first 8,640, which are the training data; the next 2,880 validate,
the 2,880 after them test. Options: configs/etth1_*.yaml. Beside the run's own baselines (of windows over their scale)
stands the plain ridge regression of standardised windows. `stocknet`: next-day returns of 66 stocks, October to
December 2015 (`forecasting_prices.py`). `speed`, `growth`: `forecasting_speed.py`. `gaps`: 30 % of ETTh1's hours
removed (`forecasting_gaps.py`). One thread. Choices are made on the validation data. The data is looked for in
$GATEWORK_DATA.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from commands import HERE, write_result
from forecasting_gaps import gaps
from forecasting_hours import HOURS, TEST, TRAIN, VALID, hours
from forecasting_prices import choices, stocknet
from forecasting_speed import growth, speeds
from machine import machine

import gatework as gw
from gatework.baselines.ridge_window import RidgeWindow
from gatework.baselines.windows import residual_quantiles
from gatework.metrics.forecast import LEVELS, Forecast, ForecastSums, forecast_sums

DAY = 24
BEGIN = "2017-10-24"
SETS = {"ot_24": "OT", "ot_168": "OT", "seven_24": None, "seven_96": None}


def options_of(name: str) -> dict[str, Any]:
    return yaml.safe_load((HERE / "configs" / f"etth1_{name}.yaml").read_text())


def columns_of(target: str | None) -> dict[str, str]:
    return {"time": "date"} | ({"target": target} if target else {})


def etth1(sets: Sequence[str], seeds: int, runs: Path) -> None:
    """Each set's result in a file of its own."""
    data = hours()
    path = data.write(runs / "etth1.csv")
    known = data.write(runs / "known.csv", np.arange(TEST) < VALID)
    for name in sets:
        options, columns = options_of(name), columns_of(SETS[name])
        begun = time.monotonic()
        model = gw.Forecaster(**options).fit(path, columns=columns, out=runs / name)
        alone = seconds = time.monotonic() - begun
        test = model.evaluate(path, columns=columns, begin=BEGIN)
        adapted = model.evaluate(path, columns=columns, begin=BEGIN, adapt_intervals=True)
        values = data.values if SETS[name] is None else data.values[:, [data.names.index(SETS[name])]]
        members = [model]
        for seed in range(1, seeds):
            begun = time.monotonic()
            members.append(
                gw.Forecaster(**options, rivals=False, seed=seed).fit(
                    path, columns=columns, out=runs / f"{name}-seed-{seed}"
                )
            )
            seconds += time.monotonic() - begun
        config = f"benchmarks/configs/etth1_{name}.yaml"
        result = {
            "test": test,
            "test_with_adapted_intervals": adapted["model"],
            "validation": model.metrics_,
            "plain_ridge": plain_ridges(values, model.options_.window, model.options_.horizon),
            "training_seconds": round(alone, 1),
            "options": options,
            "as_a_command": f"gatework train forecaster etth1.csv --config {config} --columns {shown(columns)}",
        }
        if seeds > 1:
            whole = members[0].ensemble(*members[1:])
            result["runs_together"] = {
                "runs": seeds,
                "training_seconds": round(seconds, 1),
                "validation": whole.evaluate(known, columns=columns, begin=options["valid_from"]),
                "test": whole.evaluate(path, columns=columns, begin=BEGIN),
            }
        say(name, result)
        write_result(f"forecasting_etth1_{name}", {**result, "machine": machine()})


def shown(columns: Mapping[str, str]) -> str:
    return ",".join(f"{name}={column}" for name, column in columns.items())


def say(name: str, result: dict[str, Any]) -> None:
    """The figures that count, a line each."""
    print(name, f"{result['training_seconds']} s")
    for part in ("validation", "test"):
        rows = {"model": result[part]["model"], **result[part].get("baselines", {})}
        if part == "test":
            rows["adapted intervals"] = result["test_with_adapted_intervals"]
        if "runs_together" in result:
            rows["runs together"] = result["runs_together"][part]["model"]
        rows |= {f"plain {which}": of[part] for which, of in result.get("plain_ridge", {}).items()}
        for who, figures in rows.items():
            kept = ("mse", "mae", "scaled_crps", "coverage_80")
            print(f"  {part} {who}: " + " ".join(f"{key} {figures[key]:.5f}" for key in kept))


# The plain ridge


def plain_ridges(values: np.ndarray, window: int, horizon: int) -> dict[str, Any]:
    """Of ridge regressions on windows of standardised values, fitted on the training data alone, the figures with the
    quantiles of the training data's residuals, and of the validation data's (there the figures are of what they were
    learned on). The penalty is chosen on the validation data.

    Args:
        values: (14400, C).
    """
    channels = [windows_of(own, window, horizon) for own in values.T]
    found = {}
    several = {"shared": [channels], "one a channel": [[one] for one in channels]}
    for name, groups in several.items() if len(channels) > 1 else [("ridge", [channels])]:
        for residuals in ("training", "validation"):
            sums: dict[str, list[ForecastSums]] = {"validation": [], "test": []}
            for group in groups:
                ridge = fitted_ridge(group, residuals)
                for part, rows in sums.items():
                    rows.extend(sums_of(ridge.forecast(own[part][0]), *own[part]) for own in group)
            found[f"{name}, quantiles of {residuals} residuals"] = {
                part: joined(rows).figures() for part, rows in sums.items()
            }
    return found


def windows_of(
    values: np.ndarray, window: int, horizon: int
) -> dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Of each part of (14400,) the windows (O, L) and futures (O, H) of origins whose whole future lies in the part;
    and (O,) the seasonal error before the part's first origin."""
    found = {}
    for part, (first, stop) in {
        "training": (window, TRAIN),
        "validation": (TRAIN, VALID),
        "test": (VALID, TEST),
    }.items():
        places = np.arange(first - 1, stop - horizon)
        before = np.lib.stride_tricks.sliding_window_view(values, window)[places - window + 1]
        after = np.lib.stride_tricks.sliding_window_view(values, horizon)[places + 1]
        error = np.abs(values[DAY : first - 1] - values[: first - 1 - DAY]).mean()
        found[part] = (before, after, np.full(len(places), error))
    return found


def fitted_ridge(group: Sequence[dict[str, Any]], residuals: str) -> RidgeWindow:
    parts = {
        part: [np.concatenate([own[part][place] for own in group]) for place in (0, 1)]
        for part in ("training", "validation")
    }
    ridge = RidgeWindow().fit(*parts["training"], LEVELS, later=tuple(parts["validation"]))
    history, future = parts[residuals]
    ridge.residuals_ = residual_quantiles(future - ridge.forecast(history).mean, ridge.levels_)
    return ridge


def sums_of(forecast: Forecast, history: np.ndarray, future: np.ndarray, scale: np.ndarray) -> ForecastSums:
    return forecast_sums(forecast, future, LEVELS, scale=scale)


def joined(sums: Sequence[ForecastSums]) -> ForecastSums:
    return ForecastSums(np.concatenate([one.rows for one in sums]), sums[0].percents)


MEASURES: dict[str, Callable[[Sequence[str], int, Path], None]] = {
    "etth1": etth1,
    "stocknet": lambda sets, seeds, runs: stocknet(runs),
    "stocknet_choices": lambda sets, seeds, runs: choices(runs),
    "speed": lambda sets, seeds, runs: speeds(hours().write(runs / "etth1.csv"), runs),
    "growth": lambda sets, seeds, runs: growth(runs),
    "gaps": lambda sets, seeds, runs: gaps(hours(), runs, options_of("ot_24"), seeds),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--parts", default="etth1")
    parser.add_argument("--sets", default=",".join(SETS), help="of ETTh1")
    parser.add_argument("--seeds", type=int, default=1, help="runs of ETTh1 that answer together")
    parser.add_argument("--runs", type=Path, help="where to keep the runs; else they are removed")
    arguments = parser.parse_args()
    if not HOURS.is_file():
        parser.error(f"there is no file {HOURS}: set GATEWORK_DATA")
    torch.set_num_threads(1)
    for name in arguments.parts.split(","):
        with tempfile.TemporaryDirectory() as temporary:
            runs = (arguments.runs or Path(temporary)) / name
            runs.mkdir(parents=True, exist_ok=True)
            MEASURES[name](arguments.sets.split(","), arguments.seeds, runs)


if __name__ == "__main__":
    main()
