"""What it helps to see gaps: 30 % of ETTh1's hours removed at random, and the same network on filled data beside it.

Forecasts of the oil temperature are made from every hour, those among them that were removed, and compared with what
came, removed or not. What is filled in knows no later value than the hour that is forecast from: of data that are
interpolated the last known value is held from the last known hour on. Each of the three is trained for 8 and for 16
epochs with several seeds, and answers with the mean of the seeds' forecasts after as many epochs as have the least
squared error on the validation data, of all its hours.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from commands import write_result
from forecasting_hours import TEST, TRAIN, VALID, Hours
from forecasting_speed import channels_of
from machine import machine

import gatework as gw
from gatework.metrics.forecast import LEVELS, Forecast, ForecastSums, forecast_sums
from gatework.tasks.forecaster.backtest import forecasts_along, forecasts_at_ends
from gatework.tasks.forecaster.channels import Channels, ChannelSteps

REMOVED, EPOCHS, HORIZONS = 0.3, (8, 16), (24, 6)
COLUMNS = {"time": "date", "target": "OT"}
AT_ONCE = 48  # origins whose series are read each for itself
PARTS = {"validation": (TRAIN, VALID), "test": (VALID, TEST)}


class Removed(NamedTuple):
    """present: (14400,) which hours are there. last: (14400,) the last one that is, up to each."""

    present: np.ndarray
    last: np.ndarray


def gaps(data: Hours, runs: Path, options: Mapping[str, Any], seeds: int) -> None:
    """All of it, on one thread."""
    present = np.random.default_rng(0).random(TEST) >= REMOVED
    present[0] = present[TEST - 1] = True
    removed = Removed(present, np.maximum.accumulate(np.where(present, np.arange(TEST), 0)))
    known = np.flatnonzero(present)
    between = np.stack([np.interp(np.arange(TEST), known, own[known]) for own in data.values.T], axis=1)
    paths = {
        "gaps": data.write(runs / "gaps.csv", present),
        "last value": Hours(data.names, data.times, data.values[removed.last]).write(runs / "last.csv"),
        "interpolation": Hours(data.names, data.times, between).write(runs / "between.csv"),
    }
    truth = data.values[:, data.names.index("OT")]
    result: dict[str, Any] = {
        f"{horizon} hours ahead": measured(paths, removed, truth, {**options, "horizon": horizon}, seeds)
        for horizon in HORIZONS
    }
    more = {"removed": float(1 - present.mean()), "seeds": seeds, "options": options}
    write_result("forecasting_gaps", {**result, **more, "machine": machine()})


def measured(
    paths: Mapping[str, Path], removed: Removed, truth: np.ndarray, options: Mapping[str, Any], seeds: int
) -> dict[str, Any]:
    """The three, with one horizon."""
    found, chosen, seconds = {}, {}, {}
    for name, path in paths.items():
        begun, trials = time.process_time(), {}
        for epochs in EPOCHS:
            models = [
                gw.Forecaster(**{**options, "epochs": epochs}, rivals=False, seed=seed).fit(
                    path, columns=COLUMNS
                )
                for seed in range(seeds)
            ]
            trials[epochs] = {
                part: sums_of([said(model, path, name, removed, part) for model in models], truth, part)
                for part in PARTS
            }
            print(name, epochs, trials[epochs]["validation"].figures()["mse"], flush=True)
        chosen[name] = min(EPOCHS, key=lambda epochs: trials[epochs]["validation"].figures()["mse"])
        found[name] = trials[chosen[name]]
        seconds[name] = round(time.process_time() - begun, 1)
    result: dict[str, Any] = {"epochs": chosen, "processor_seconds": seconds}
    for part in PARTS:
        result[part] = compared(
            {name: own[part] for name, own in found.items()}, part, removed.present, options["horizon"]
        )
    return result


def origins(part: str, horizon: int) -> np.ndarray:
    """The steps whose whole horizon lies in a part."""
    first, stop = PARTS[part]
    return np.arange(first - 1, stop - horizon)


def said(model: gw.Forecaster, path: Path, name: str, removed: Removed, part: str) -> Forecast:
    """What one model says from every hour of a part."""
    channels, _ = channels_of(model, path, TEST)
    network, begin = model.network_.eval(), channels.begins[0]
    steps = origins(part, model.options_.horizon)
    held = steps[~removed.present[steps]] if name == "interpolation" else steps[:0]
    straight = np.setdiff1d(steps, held)
    blocks = list(forecasts_along(network, channels, begin + straight))
    blocks += [
        (
            begin + some,
            forecasts_at_ends(network, ending_at(channels, some, removed.last), np.arange(len(some))),
        )
        for some in np.array_split(held, len(held) // AT_ONCE + 1)
        if len(some)
    ]
    order = np.argsort(np.concatenate([places for places, _ in blocks]))
    tables = zip(*(own for _, own in blocks), strict=True)
    return Forecast(*(np.concatenate(parts)[order] for parts in tables))


def ending_at(channels: Channels, steps: np.ndarray, last: np.ndarray) -> Channels:
    """Of one channel its parts up to some steps, in which the last known value is held."""
    begin, shift = channels.begins[0], 0 if channels.shift is None else channels.shift[0]
    parts = []
    for step in steps:
        values = channels.values[begin : begin + step + 1].copy()
        values[last[step] + 1 :] = values[last[step]]
        known = channels.known[begin + shift : begin + shift + step + 1 + 48]
        parts.append(
            ChannelSteps(values[:, None], known, channels.static, np.zeros(1), np.arange(step + 1.0))
        )
    return Channels(parts, channels.layout, lead=channels.lead, tail=channels.tail)


def sums_of(each: list[Forecast], truth: np.ndarray, part: str) -> ForecastSums:
    """Of several models' forecasts together."""
    whole = Forecast(*(np.mean(tables, axis=0) for tables in zip(*each, strict=True)))
    horizon = whole.mean.shape[1]
    ahead = origins(part, horizon)[:, None] + np.arange(1, horizon + 1)
    return forecast_sums(whole, truth[ahead], LEVELS)


def compared(
    found: Mapping[str, ForecastSums], part: str, present: np.ndarray, horizon: int
) -> dict[str, Any]:
    """Figures of all hours, those that are there and those that were removed; differences with their intervals."""
    steps = origins(part, horizon)
    kinds = {"all": np.ones(len(steps), bool), "there": present[steps], "removed": ~present[steps]}
    result: dict[str, Any] = {}
    for kind, rows in kinds.items():
        own = {name: ForecastSums(sums.rows[rows], sums.percents) for name, sums in found.items()}
        result[kind] = {"origins": int(rows.sum()), **{name: sums.figures() for name, sums in own.items()}}
        for name in ("last value", "interpolation"):
            differences = own["gaps"].differences(own[name], steps[rows], block=horizon)
            result[kind][f"gaps less {name}"] = {
                figure: {"value": differences[figure].value, "interval": list(differences[figure].interval)}
                for figure in ("mse", "scaled_crps")
            }
        print(part, kind, {name: round(sums.figures()["mse"], 5) for name, sums in own.items()})
        print(part, kind, {name: round(sums.figures()["scaled_crps"], 5) for name, sums in own.items()})
    return result
