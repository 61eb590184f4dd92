"""Next-day returns of StockNet's stocks: the forecaster beside volatility forecasts, a coin, and always up."""

from __future__ import annotations

import gzip
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import yaml
from commands import DATA, HERE, write_result
from machine import machine

import gatework as gw
from gatework.baselines.volatility import EwmaVolatility, RollingQuantile
from gatework.data import read_series
from gatework.metrics.direction import direction_sums
from gatework.metrics.forecast import LEVELS, Forecast, ForecastSums, forecast_sums
from gatework.tasks.forecaster.backtest import forecasts_along
from gatework.tasks.forecaster.channels import Channels, lead_of

PRICES = DATA / "forecasting" / "stocknet_prices"
LAST = "2015-12-31"
COLUMNS = {"time": "Date", "target": "Adj Close"}
PARTS = {
    "training": ("", "2015-08-03"),
    "validation": ("2015-08-03", "2015-10-01"),
    "test": ("2015-10-01", ""),
}
WINDOW = 251  # prices, of 250 returns
SMALL = {"low": -0.005, "high": 0.0055}  # moves between them are left out, as StockNet does
# Of each the training data ends at the first day; the two months after it pick the checkpoint and calibrate; on the two
# after those the choices are compared, all before the test data.
FOLDS = (
    ("2014-06-02", "2014-08-01", "2014-10-01"),
    ("2014-12-01", "2015-02-02", "2015-04-01"),
    ("2015-06-01", "2015-08-03", "2015-10-01"),
)
_SPREAD = {"distribution": "student_t", "spread_path": True}
CHOICES: tuple[dict[str, Any], ...] = (
    {"distribution": "quantiles", "spread_path": False},
    {"distribution": "student_t", "spread_path": False},
    {**_SPREAD, "epochs": 5, "dropout": 0.3},
    {**_SPREAD},
    {**_SPREAD, "scaling": "rolling"},
    {**_SPREAD, "linear_path": True, "linear_rate": 0.0},
)


class Days(NamedTuple):
    """O origins: history (O, 251) of logarithms of prices, returns (O, 1) of the next day, days (O,) which that is, and
    what is forecast of the return, if anything."""

    history: np.ndarray
    returns: np.ndarray
    days: np.ndarray
    forecast: Forecast | None


def price_files(folder: Path) -> list[Path]:
    """The stocks' files until the end of the test data, in a folder."""
    found = []
    for path in sorted(PRICES.glob("*.csv.gz")):
        lines = gzip.decompress(path.read_bytes()).decode().splitlines()
        kept = [line for line in lines[1:] if line[: len(LAST)] <= LAST]
        if kept:
            found.append(folder / path.name.removesuffix(".gz"))
            found[-1].write_text("\n".join([lines[0], *kept]) + "\n")
    return found


def options() -> dict[str, Any]:
    return yaml.safe_load((HERE / "configs" / "stocknet.yaml").read_text())


def choices(runs: Path) -> None:
    """Trainings with other options than the committed ones, on months before the test data."""
    files = price_files(runs)
    rows = []
    for index, change in enumerate(CHOICES):
        for place, fold in enumerate(FOLDS):
            rows.append(fold_figures(runs / f"{index}-{place}", files, change, fold))
            print(rows[-1], flush=True)
    result = {"base": options(), "choices": rows, "machine": machine()}
    write_result("forecasting_stocknet_choices", result)


def fold_figures(
    run: Path, files: Sequence[Path], change: dict[str, Any], fold: tuple[str, str, str]
) -> dict[str, Any]:
    """How a model fares, calibrated and not, beside the rivals, on the months after those that picked its checkpoint
    and calibrated it: how good calibrated intervals are cannot be seen on data that calibrated them.

    Args:
        fold: where the months that validate begin, and the later ones, and where those end.
    """
    split = {"valid_from": fold[0], "test_from": fold[1], "conformal": True}
    model = gw.Forecaster(**options() | change | split, rivals=False).fit(files, columns=COLUMNS, out=run)
    figures = {}
    for name in ("calibrated", "as trained"):
        if name == "as trained":
            model.network_.shifts = None
        days = days_of(model, files, {"training": ("", fold[0]), "later": fold[1:]})
        figures[name] = _short(forecast_sums(_given(days["later"].forecast), days["later"].returns, LEVELS))
    for name, rival in fitted_rivals(days["training"]).items():
        figures[name] = _short(sums(rival.forecast(days["later"].history), days["later"]))
    return {"change": change, "fold": list(fold), "later": figures}


def _short(found: ForecastSums) -> dict[str, float]:
    return {name: found.figures()[name] for name in ("scaled_crps", "mse", "coverage_80")}


def fitted_rivals(train: Days) -> dict[str, RollingQuantile | EwmaVolatility]:
    rivals = {"rolling_quantile": RollingQuantile(WINDOW - 1), "ewma_volatility": EwmaVolatility()}
    for rival in rivals.values():
        rival.fit(train.history, train.history[:, -1:] + train.returns, LEVELS)
    return rivals


def stocknet(runs: Path) -> None:
    """The figures of the committed options."""
    files = price_files(runs)
    begun = time.monotonic()
    model = gw.Forecaster(**options()).fit(files, columns=COLUMNS, out=runs / "stocknet")
    seconds = time.monotonic() - begun
    found = days_of(model, files, PARTS)
    rivals = fitted_rivals(found["training"])
    result: dict[str, Any] = {}
    for part in ("validation", "test"):
        days = found[part]
        own = forecast_sums(_given(days.forecast), days.returns, LEVELS)
        others = {name: sums(rival.forecast(days.history), days) for name, rival in rivals.items()}
        result[part] = {
            "model": own.figures(),
            **{name: other.figures() for name, other in others.items()},
            "model_less_rival": {name: differences(own, other, days) for name, other in others.items()},
            "direction": directions(days),
            "origins": len(days.days),
            "days": len(np.unique(days.days)),
        }
        print(part, {name: result[part][name]["scaled_crps"] for name in ("model", *rivals)})
        print(part, {name: result[part][name]["coverage_80"] for name in ("model", *rivals)})
        print(part, result[part]["direction"])
    given = {"columns": COLUMNS, "begin": PARTS["test"][0]}
    adapted = model.evaluate(files, **given, adapt_intervals=True)["model"]
    print("adapted intervals", {name: adapted[name] for name in ("scaled_crps", "coverage_80")})
    result |= {
        "evaluate": model.evaluate(files, **given),
        "test_with_adapted_intervals": adapted,
        "training_seconds": round(seconds, 1),
        "options": options(),
        "machine": machine(),
    }
    write_result("forecasting_stocknet", result)


def days_of(
    model: gw.Forecaster, files: Sequence[Path], parts: Mapping[str, tuple[str, str]]
) -> dict[str, Days]:
    """Of each part the origins whose next day lies in it, with forecasts but in the training data."""
    series = read_series(files, COLUMNS, like=model.encoding_.names).series
    layout = model.network_.layout
    steps = [model.encoding_.encode(one, layout.segments_ahead * layout.segment, log=True) for one in series]
    channels = Channels(steps, layout, lead=lead_of(layout, layout.warm_up), tail=layout.horizon)
    model.network_.eval()
    rows: dict[str, list[Days]] = {part: [] for part in parts}
    for index, one in enumerate(series):
        dates, values = one.times.astype("datetime64[D]"), steps[index].values[:, 0]
        for part, (start, stop) in parts.items():
            first = np.searchsorted(dates, np.datetime64(start)) if start else 0
            last = np.searchsorted(dates, np.datetime64(stop)) if stop else len(dates)
            ahead = np.arange(max(first, WINDOW), last)  # the days that are forecast
            if not len(ahead):
                continue
            history = np.lib.stride_tricks.sliding_window_view(values, WINDOW)[ahead - WINDOW]
            forecast = None
            if part != "training":
                origins = channels.begins[index] + ahead - 1
                made = [own for _, own in forecasts_along(model.network_, channels, origins)]
                mean, quantiles = (np.concatenate(table) for table in zip(*made, strict=True))
                start_value = history[:, -1:]
                forecast = Forecast(mean - start_value, quantiles - start_value[..., None])
            rows[part].append(Days(history, values[ahead, None] - history[:, -1:], dates[ahead], forecast))
    return {part: _joined(own) for part, own in rows.items()}


def _joined(rows: Sequence[Days]) -> Days:
    history, returns, days = (np.concatenate([own[place] for own in rows]) for place in range(3))
    if rows[0].forecast is None:
        return Days(history, returns, days, None)
    said = [_given(own.forecast) for own in rows]
    return Days(
        history, returns, days, Forecast(*(np.concatenate(parts) for parts in zip(*said, strict=True)))
    )


def _given(forecast: Forecast | None) -> Forecast:
    if forecast is None:
        raise ValueError("these days have no forecast")
    return forecast


def sums(forecast: Forecast, days: Days) -> ForecastSums:
    """Of a rival's forecast of logarithms, as returns."""
    last = days.history[:, -1:]
    returns = Forecast(forecast.mean - last, forecast.quantiles - last[..., None])
    return forecast_sums(returns, days.returns, LEVELS)


def differences(own: ForecastSums, other: ForecastSums, days: Days) -> dict[str, Any]:
    found = own.differences(other, days.days.astype(np.int64), block=1)
    return {
        name: {"value": found[name].value, "interval": list(found[name].interval)}
        for name in ("scaled_crps", "mse")
    }


def directions(days: Days) -> dict[str, Any]:
    """Of the moves that StockNet counts, and of all, with intervals that draw whole days."""
    moves, said = np.expm1(days.returns[:, 0]), _given(days.forecast).mean[:, 0]
    result = {}
    bounds: Mapping[str, dict[str, float]] = {"moves that StockNet counts": SMALL, "all moves": {}}
    for name, bound in bounds.items():
        own = direction_sums(said, moves, **bound)
        intervals = own.intervals(days.days.astype(np.int64), block=1)
        result[name] = {
            "figures": own.figures(),
            "intervals": {figure: list(interval) for figure, interval in intervals.items()},
        }
    return result
