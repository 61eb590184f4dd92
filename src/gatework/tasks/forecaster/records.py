"""The records of a forecaster's `predict`, as rows of a table, and as a picture."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from gatework.data import SeriesNames, one_series
from gatework.errors import InputError
from gatework.inspect import ForecastPanel, draw_forecasts
from gatework.metrics.forecast import INTERVALS, Forecast
from gatework.tasks.forecaster.channels import Integers
from gatework.tasks.forecaster.encoding import Times
from gatework.tasks.forecaster.options import ForecasterOptions

__all__ = ["draw_records", "forecast_records", "forecast_rows"]

_HORIZONS = 4  # of history in a picture


def forecast_records(
    forecast: Forecast,
    series: Integers,
    times: Sequence[Times | None],
    horizon: int,
    options: ForecasterOptions,
    paths: npt.NDArray[np.float64] | None = None,
) -> list[dict[str, Any]]:
    """The records of S series' forecasts, without their inputs.

    Args:
        forecast: mean (R, H) and quantiles (R, H, Q) of the series' channels.
        series: (R,) the series of each, in order.
        times: of each series those of the steps, (horizon,), where it has times.
        horizon: steps that are told, at most H.
        paths: (R, P, horizon) of each channel, where they are told too.
    """
    mean, quantiles = (part[:, :horizon] for part in forecast)
    if options.of_prices:
        mean, quantiles = np.exp(mean), np.exp(quantiles)
        paths = None if paths is None else np.exp(paths)
    outputs = _of_each_series(mean, series, len(times))
    columns = [
        _of_each_series(quantiles[..., place], series, len(times)) for place in range(len(options.levels))
    ]
    names = [str(level) for level in options.levels]
    places = {level: place for place, level in enumerate(options.levels)}
    bounds = [
        (str(percent), places[low], places[high])
        for percent, (low, high) in INTERVALS.items()
        if low in places and high in places
    ]
    records: list[dict[str, Any]] = [
        {
            "output": output,
            "times": None if own is None else [str(time) for time in own.astype("datetime64[s]")],
            "quantiles": dict(zip(names, listed, strict=True)),
            "intervals": {name: {"low": listed[low], "high": listed[high]} for name, low, high in bounds},
        }
        for output, own, listed in zip(outputs, times, zip(*columns, strict=True), strict=True)
    ]
    if paths is not None:
        rows = np.searchsorted(series, np.arange(len(times) + 1))
        for record, begin, end in zip(records, rows[:-1], rows[1:], strict=True):
            record["paths"] = [_listed(path.tolist()) for path in paths[begin:end].transpose(1, 0, 2)]
    return records


def _of_each_series(table: npt.NDArray[np.float64], series: Integers, count: int) -> list[list[Any]]:
    """(R, H) of channels as a list for each of so many series."""
    listed = table.tolist()  # at once: a call an array takes longer
    if np.array_equal(series, np.arange(count)):
        return cast("list[list[Any]]", listed)
    rows = np.searchsorted(series, np.arange(count + 1)).tolist()
    return [_listed(listed[begin:end]) for begin, end in itertools.pairwise(rows)]


def _listed(table: Sequence[list[float]]) -> list[Any]:
    """(C, H) as a list a step: of one target its numbers, of several a list each."""
    return table[0] if len(table) == 1 else [list(step) for step in zip(*table, strict=True)]


def forecast_rows(record: Mapping[str, Any], targets: Sequence[str]) -> Iterator[dict[str, Any]]:
    """A row for each step of a record, and of several targets for each of them.

    Args:
        record: of an input that is a dict.
        targets: their names.

    Returns:
        Rows with `series` where it has a name; `time`, or where steps are numbered `step`, from 1; `target` where there
        are several; `mean`, and a column for each quantile, named by its level.
    """
    name = record["input"].get("series")
    means, quantiles = _by_target(record["output"]), _quantiles(record)
    for place, target in enumerate(targets):
        for step in range(means.shape[1]):
            row: dict[str, Any] = {} if name is None else {"series": name}
            row |= {"step": step + 1} if record["times"] is None else {"time": record["times"][step]}
            row |= {"target": target} if len(targets) > 1 else {}
            row["mean"] = float(means[place, step])
            yield row | {level: float(values[place, step]) for level, values in quantiles.items()}


def draw_records(
    records: Iterable[Mapping[str, Any]],
    names: SeriesNames,
    levels: Sequence[float],
    path: str | os.PathLike[str],
    *,
    most: int,
) -> None:
    """Draw the first records: of each target of a series the last steps and the forecast.

    Args:
        names: what the series have.
        levels: of the records' quantiles; of those that make the usual intervals these alone are drawn.
        most: panels at most.

    Raises:
        InputError: nothing to draw, or the picture cannot be written.
        MissingExtraError: matplotlib is not installed.
    """
    bounds = [pair for pair in INTERVALS.values() if set(pair) <= set(levels)]
    drawn = [
        place for place, level in enumerate(levels) if not bounds or any(level in pair for pair in bounds)
    ]
    panels = (panel for record in records for panel in _panels(record, names, drawn))
    shown = list(itertools.islice(panels, most))
    if not shown:
        raise InputError("inputs", "hold no series that could be drawn", "Give at least one.")
    try:
        draw_forecasts(shown, [levels[place] for place in drawn], path)
    except (OSError, ValueError) as error:
        what = f"cannot be drawn ({error})"
        raise InputError(os.fspath(path), what, "Give a path that ends in .png or .pdf.") from error


def _panels(record: Mapping[str, Any], names: SeriesNames, drawn: Sequence[int]) -> Iterator[ForecastPanel]:
    """A panel for each target that has a value, with the quantiles at some places of the levels."""
    series, targets = one_series(record["input"], names), names.targets
    means = _by_target(record["output"])
    quantiles = np.stack(list(_quantiles(record).values()), axis=-1)[..., drawn]
    horizon, count = means.shape[1], len(series.target)
    times: Any = series.times
    ahead: Any = record["times"]
    if times is None or ahead is None:
        times, ahead = series.first + np.arange(count), series.first + count + np.arange(horizon)
    else:
        ahead = np.array(ahead, "datetime64[us]")
    for place, target in enumerate(targets):
        values = series.target[:, place]
        known = np.flatnonzero(~np.isnan(values))
        if not len(known):
            continue
        begin = max(min(count - _HORIZONS * horizon, int(known[-1])), 0)
        title = ", ".join(part for part in (series.name, target if len(targets) > 1 else "") if part)
        yield ForecastPanel(
            title or target, times[begin:], values[begin:], ahead, means[place], quantiles[place]
        )


def _quantiles(record: Mapping[str, Any]) -> dict[str, np.ndarray]:
    return {level: _by_target(values) for level, values in record["quantiles"].items()}


def _by_target(listed: Any) -> np.ndarray:
    """(C, H) of a record's list: a number a step, or of several targets a list."""
    return np.atleast_2d(np.array(listed, np.float64).T)
