"""How far a figure would move with other examples of the same kind: percentile bootstrap intervals (Efron 1979)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

__all__ = ["Interval", "percentile_intervals"]

_BLOCK = 1 << 23  # weights of examples that are drawn at a time
_FEW = 8  # examples a row and more

Array = npt.NDArray[Any]


class Interval(NamedTuple):
    """From which value to which."""

    low: float
    high: float


def percentile_intervals(
    counts: Array,
    figures: Callable[[Array], Mapping[str, Array]],
    *,
    times: Array | None = None,
    resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> dict[str, Interval]:
    """The middle `level` of each figure over resamples of as many examples, drawn with replacement.

    Args:
        counts: (N, C) what each example adds to C sums.
        figures: from the sums of R resamples, (R, C), to each figure, (R,), by its name.
        times: (N,) how many examples have each row of `counts`, at least 1; None: one each.
        resamples: R.
        level: the share of the resamples inside an interval.
        seed: of the draws: equal arguments give equal intervals.

    Raises:
        ValueError: there are no examples.
    """
    counts = np.asarray(counts, np.float64)
    if len(counts) == 0:
        raise ValueError("there are no examples to draw from")
    sums = np.concatenate([weights @ counts for weights in _weights(len(counts), times, resamples, seed)])
    tail = (1 - level) / 2
    return {
        name: Interval(*map(float, np.quantile(values, [tail, 1 - tail])))
        for name, values in figures(sums).items()
    }


def _weights(rows: int, times: Array | None, resamples: int, seed: int) -> Iterator[Array]:
    """(R', N) how often each row is drawn in each resample, some resamples at a time."""
    generator = np.random.default_rng(seed)
    each = np.arange(rows, dtype=np.int32)
    owners = each if times is None else np.repeat(each, times)
    examples = len(owners)
    at_once = max(1, _BLOCK // examples)
    for begin in range(0, resamples, at_once):
        number = min(at_once, resamples - begin)
        if _FEW * rows <= examples:  # a draw of counts is quicker than one of examples
            yield generator.multinomial(examples, np.bincount(owners) / examples, number).astype(np.float64)
        else:
            drawn = generator.integers(0, examples, (number, examples), dtype=np.int32)
            yield np.stack([np.bincount(owners[one], minlength=rows) for one in drawn]).astype(np.float64)
