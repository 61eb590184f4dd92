"""How far a figure would move with other data of the same kind: percentile bootstrap intervals.

Examples are drawn one by one (Efron 1979). Where they belong to times, what is near in time is alike: whole times are
drawn, in blocks of consecutive ones (moving-block bootstrap, Künsch 1989).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

__all__ = ["Interval", "block_intervals", "percentile_intervals", "sums_by_time"]

_BLOCK = 1 << 23  # weights of examples that are drawn at a time
_FEW = 8  # examples a row and more
_SPARSE = 20  # of so many counts one is not 0, or fewer: a sum of terms is quicker than a product of matrices

_LEAST_BLOCKS = 4

Array = npt.NDArray[Any]
Figures = Callable[[Array], Mapping[str, Array]]


class Interval(NamedTuple):
    """From which value to which."""

    low: float
    high: float


def percentile_intervals(
    counts: Array,
    figures: Figures,
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
    product = _Product(counts)
    at_once = max(1, _BLOCK // max(len(counts) if times is None else int(times.sum()), product.terms))
    sums = np.concatenate(
        [product(weights) for weights in _weights(len(counts), times, resamples, seed, at_once)]
    )
    return _middle(figures(sums), level)


def sums_by_time(rows: Array, times: Array) -> Array:
    """(T, C) the sums of the rows (O, C) of each of T different times, in their order; `times`: (O,) of each row."""
    rows, times = np.asarray(rows, np.float64), np.asarray(times)
    if times.shape != rows.shape[:1]:
        raise ValueError(f"there are {len(rows)} rows and times of the shape {times.shape}")
    different, places = np.unique(times, return_inverse=True)
    columns = [np.bincount(places, column, len(different)) for column in rows.T]
    return np.stack(columns, axis=1) if columns else np.zeros((len(different), 0))


def block_intervals(
    sums: Array,
    figures: Figures,
    *,
    block: int,
    resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> dict[str, Interval]:
    """The middle `level` of each figure over resamples of as many times, drawn in blocks with replacement.

    Args:
        sums: (T, C) what each time adds to C sums, in the order of the times (see `sums_by_time`).
        figures: from the sums of R resamples, (R, C), to each figure, (R,), by its name.
        block: consecutive times that are drawn together, at least as many as one forecast's errors reach over; at most
            a quarter of the times are drawn together.
        resamples: R.
        level: the share of the resamples inside an interval.
        seed: of the draws: equal arguments give equal intervals.

    Raises:
        ValueError: there are no times, or a block is shorter than one.
    """
    sums = np.asarray(sums, np.float64)
    if len(sums) == 0:
        raise ValueError("there are no times to draw from")
    if block < 1:
        raise ValueError(f"a block has at least one time, not {block}")
    block = max(1, min(block, len(sums) // _LEAST_BLOCKS))
    blocks, rest = divmod(len(sums), block)
    generator = np.random.default_rng(seed)
    drawn = _drawn_blocks(sums, block, blocks, resamples, generator)
    if rest:
        drawn = drawn + _drawn_blocks(sums, rest, 1, resamples, generator)
    return _middle(figures(drawn), level)


def _drawn_blocks(
    sums: Array, block: int, blocks: int, resamples: int, generator: np.random.Generator
) -> Array:
    """(R, C) the sums over so many blocks of so many consecutive times, each begun anywhere."""
    until = np.concatenate([np.zeros((1, sums.shape[1])), np.cumsum(sums, axis=0)])
    of_blocks = until[block:] - until[:-block]  # (S, C), S starts
    parts = []
    for begin in range(0, resamples, max(1, _BLOCK // len(sums))):
        number = min(max(1, _BLOCK // len(sums)), resamples - begin)
        starts = generator.integers(0, len(of_blocks), (number, blocks), dtype=np.int32)
        weights = np.stack([np.bincount(one, minlength=len(of_blocks)) for one in starts])
        parts.append(weights.astype(np.float64) @ of_blocks)
    return np.concatenate(parts)


def _middle(figures: Mapping[str, Array], level: float) -> dict[str, Interval]:
    tail = (1 - level) / 2
    return {
        name: Interval(*map(float, np.quantile(values, [tail, 1 - tail]))) for name, values in figures.items()
    }


class _Product:
    """The product of weights, (R', N), with counts, (N, C), most of which are 0 where there are many labels.

    Attributes:
        terms: products that are kept at once of each of R' rows.
    """

    def __init__(self, counts: Array) -> None:
        self._counts = counts
        columns, self._rows = np.nonzero(counts.T)  # column by column
        self._sparse = _SPARSE * len(columns) < counts.size
        self.terms = len(columns) if self._sparse else 0
        self._values = counts[self._rows, columns]
        self._columns, self._begins = np.unique(columns, return_index=True)

    def __call__(self, weights: Array) -> Array:
        if not self._sparse:
            return weights @ self._counts
        sums = np.zeros((len(weights), self._counts.shape[1]))
        if self.terms:
            terms = weights[:, self._rows] * self._values
            sums[:, self._columns] = np.add.reduceat(terms, self._begins, axis=1)
        return sums


def _weights(rows: int, times: Array | None, resamples: int, seed: int, at_once: int) -> Iterator[Array]:
    """(R', N) how often each row is drawn in each resample, `at_once` resamples at a time."""
    generator = np.random.default_rng(seed)
    each = np.arange(rows, dtype=np.int32)
    owners = each if times is None else np.repeat(each, times)
    examples = len(owners)
    for begin in range(0, resamples, at_once):
        number = min(at_once, resamples - begin)
        if _FEW * rows <= examples:  # a draw of counts is quicker than one of examples
            yield generator.multinomial(examples, np.bincount(owners) / examples, number).astype(np.float64)
        else:
            drawn = generator.integers(0, examples, (number, examples), dtype=np.int32)
            yield np.stack([np.bincount(owners[one], minlength=rows) for one in drawn]).astype(np.float64)
