"""How fast the forecaster is: a backtest in one pass beside window by window, training beside torch.nn's layer."""

from __future__ import annotations

import copy
import json
import resource
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from commands import gatework, write_result
from machine import machine
from tagging_speed import TorchLayer, paired
from torch import Tensor, nn

import gatework as gw
from gatework.data import Series, read_series
from gatework.tasks.forecaster.backtest import forecasts_along
from gatework.tasks.forecaster.channels import Channels, lead_of
from gatework.tasks.forecaster.chunks import chunk_batch, chunk_places, origins_of
from gatework.tasks.forecaster.network import ForecastBatch, ForecastNetwork
from gatework.tasks.forecaster.spans import until

SPLIT = {"valid_from": "2017-06-26", "test_from": "2017-10-24"}
COLUMNS = {"time": "date", "target": "OT"}
WINDOWS = 100  # forecast one by one: the rest of the pass takes as long
STREAMED = 5000  # hours


def speeds(hours: Path, runs: Path) -> None:
    """All of it, on one thread."""
    torch.set_num_threads(1)
    result = {
        "backtest": backtest(hours, runs),
        "training": {cell: training(hours, runs, cell) for cell in ("gru",)},
        "stream": {f"segment of {size}": stream(hours, runs / f"stream-{size}", size) for size in (24, 1)},
    }
    write_result("forecasting_speed", {**result, "threads": 1, "machine": machine()})


def trained(hours: Path, out: Path, **options: Any) -> gw.Forecaster:
    """A run of default sizes, all but untrained."""
    return gw.Forecaster(**SPLIT, max_steps=2, rivals=False, device="cpu", **options).fit(
        hours, columns=COLUMNS, out=out
    )


def channels_of(model: gw.Forecaster, hours: Path, stop: int) -> tuple[Channels, Series]:
    """Of the first steps of the data, as training lays them."""
    series = read_series(hours, COLUMNS, like=model.encoding_.names).series[0]
    part = until(series, stop)
    layout = model.network_.layout
    ahead = layout.segments_ahead * layout.segment
    steps = model.encoding_.encode(part, ahead, log=False)
    tail = origins_of(layout.warm_up, layout.segment) + ahead + layout.segment
    return Channels([steps], layout, lead=lead_of(layout, layout.warm_up), tail=tail), series


def backtest(hours: Path, runs: Path) -> dict[str, Any]:
    """The forecasts of OT from each of 2,857 hours of the test data: in one pass over all that was before, and by
    `predict` on what was known at the hour, a batch of one."""
    model = trained(hours, runs / "backtest")
    channels, series = channels_of(model, hours, 14_400)
    horizon = model.options_.horizon
    origins = np.arange(11_519, 14_400 - horizon)
    model.network_.eval()
    passes = []
    for _ in range(5):
        begun = time.perf_counter()
        found = [
            mine.mean for _, mine in forecasts_along(model.network_, channels, origins + channels.begins[0])
        ]
        passes.append(time.perf_counter() - begun)
    along = np.concatenate(found)
    chosen = np.linspace(0, len(origins) - 1, WINDOWS).astype(int)
    times, apart = [], []
    for index in chosen:
        known = slice(0, origins[index] + 1)
        value = {"time": series.times[known].astype(str).tolist(), "target": series.target[known, 0].tolist()}
        begun = time.perf_counter()
        record = model.predict(value)[0]
        times.append(time.perf_counter() - begun)
        apart.append(np.abs(np.array(record["output"]) - along[index]).max())
    one_by_one, once = statistics.median(times) * len(origins), min(passes)
    return {
        "origins": len(origins),
        "one_pass_seconds": once,
        "one_forecast_seconds": statistics.median(times),
        "window_by_window_seconds": one_by_one,
        "measured_windows": WINDOWS,
        "ratio": one_by_one / once,
        "largest_difference": float(max(apart)),
    }


def stream(hours: Path, run: Path, segment: int) -> dict[str, Any]:
    """An hour of OT absorbed by a stream, and a forecast of 24 hours from there: microseconds, and how far the last
    forecast is from that of `predict` on the whole series."""
    model = trained(hours, run, segment=segment)
    (series,) = read_series(hours, COLUMNS, like=model.encoding_.names).series
    values, begin = series.target[:, 0].tolist(), 1000
    times = series.times.astype(str).tolist()
    followed = model.series_stream({"time": times[:begin], "target": values[:begin]})
    found: dict[str, list[float]] = {"step": [], "forecast": []}
    for step in range(begin, begin + STREAMED):
        begun = time.perf_counter()
        followed.step(values[step])
        found["step"].append(time.perf_counter() - begun)
        if step % 10 == 0:
            begun = time.perf_counter()
            followed.forecast()
            found["forecast"].append(time.perf_counter() - begun)
    stop = begin + STREAMED
    (whole,) = model.predict({"time": times[:stop], "target": values[:stop]})
    apart = np.abs(np.array(followed.forecast()[0]["output"]) - whole["output"]).max()
    median = {name: 1e6 * statistics.median(seconds) for name, seconds in found.items()}
    return {"microseconds": median, "steps": STREAMED, "largest_difference": float(apart)}


class PlainLayer(TorchLayer):
    """torch.nn's layer on batches of rows of one length."""

    def forward(
        self, input: Tensor, state: Any = None, lengths: Tensor | None = None, inputs: Any = None
    ) -> tuple[Tensor, Any]:
        if lengths is not None or inputs is not None:
            raise ValueError("this is of rows of one length, for cells of one input")
        return self.layer(input, state)


def training(hours: Path, runs: Path, cell: str) -> dict[str, Any]:
    """A training step without its update, on batches as training makes them: the network, and its layers alone."""
    found = {}
    for segment in (24, 1):
        model = trained(hours, runs / f"{cell}-{segment}", cell=cell, segment=segment, batch_steps=4000)
        channels, _ = channels_of(model, hours, 8640)
        layout = model.network_.layout
        origins = origins_of(layout.warm_up, layout.segment)
        which, firsts = chunk_places(channels, origins, np.random.default_rng(0))
        rows = slice(0, max(1, round(model.options_.batch_steps / origins)))
        batch = chunk_batch(channels, which[rows], firsts[rows], layout.warm_up, origins)
        ours = model.network_
        theirs = copy.deepcopy(ours)
        theirs.recurrent = PlainLayer(theirs.recurrent)
        with torch.no_grad():
            for one, other in zip(ours.eval()(batch), theirs.eval()(batch), strict=True):
                torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3)
        found[f"segment of {segment}"] = {
            "steps_read": list(batch.segments.shape),
            "origins": len(batch.windows),
            "network": paired(*(step(each.train(), batch) for each in (ours, theirs))),
            "layers": paired(*(layers(each.recurrent, batch.segments) for each in (ours, theirs))),
        }
    return found


def step(network: ForecastNetwork, batch: ForecastBatch) -> Callable[[], object]:
    return lambda: network(batch)[0].backward()


def layers(recurrent: nn.Module, segments: Tensor) -> Callable[[], object]:
    return lambda: recurrent(segments)[0].sum().backward()


def growth(runs: Path) -> None:
    """Trained by the command line: an epoch of 1,000 series of 2,000 hours, and 20 steps of 10,000 short series."""
    result = {
        "10,000 series of 40 to 80 days, 20 steps": grown(
            runs / "short", short_rows(), ["--set", "horizon=7", "--set", "max_steps=20"]
        ),
        "1,000 series of 2,000 hours, an epoch": grown(runs / "long", long_rows(), ["--epochs", "1"]),
    }
    write_result("forecasting_growth", {**result, "threads": 1, "machine": machine()})


def grown(runs: Path, rows: Iterator[str], options: Sequence[str]) -> dict[str, Any]:
    """The command in a process of its own: seconds by the clock and of the processor, and the most memory of it and of
    those before it."""
    runs.mkdir()
    path = runs / "many.csv"
    with path.open("w") as file:
        file.writelines(rows)
    before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    command, _ = gatework(
        "train", "forecaster", path.name, *options, "--threads", "1", "--out", "many", folder=runs
    )
    seconds, used = time.monotonic() - begun, resource.getrusage(resource.RUSAGE_CHILDREN)
    records = [json.loads(line) for line in (runs / "many" / "history.jsonl").read_text().splitlines()]
    trained = [record for record in records if record.get("kind") == "train"]
    found = {
        "command": command,
        "file_mib": round(path.stat().st_size / 2**20, 1),
        "seconds": round(seconds, 1),
        "processor_seconds": round(used.ru_utime + used.ru_stime - before.ru_utime - before.ru_stime, 1),
        "seconds_trained": round(trained[-1]["seconds"], 1),
        "steps": trained[-1]["step"],
        "peak_mib": round(used.ru_maxrss / 1024),
        "metrics": json.loads((runs / "many" / "metrics.json").read_text())["model"],
    }
    print(found, flush=True)
    return found


def long_rows() -> Iterator[str]:
    """Sums of a daily wave and a random walk."""
    generator = np.random.default_rng(0)
    hours = np.datetime64("2020-01-01T00") + np.arange(2000)
    wave = np.sin(2 * np.pi * np.arange(2000) / 24)
    yield "unique_id,ds,y\n"
    for index in range(1000):
        values = wave * generator.uniform(0.5, 2) + 0.1 * generator.normal(size=2000).cumsum()
        yield from (f"s{index},{hour},{value:.4f}\n" for hour, value in zip(hours, values, strict=True))


def short_rows() -> Iterator[str]:
    """Of unequal length: sums of a weekly wave and a random walk."""
    generator = np.random.default_rng(0)
    days = np.datetime64("2020-01-01") + np.arange(80)
    yield "unique_id,ds,y\n"
    for index in range(10_000):
        count = int(generator.integers(40, 81))
        wave = np.sin(2 * np.pi * np.arange(count) / 7) * generator.uniform(0.5, 2)
        values = wave + 0.1 * generator.normal(size=count).cumsum()
        yield from (f"s{index},{day},{value:.4f}\n" for day, value in zip(days, values, strict=False))
