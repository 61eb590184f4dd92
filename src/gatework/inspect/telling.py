"""Which units tell most about something that is known at the steps: a next symbol, a label, a position."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

__all__ = ["MEASURE", "Telling", "mutual_information", "telling_units"]

MEASURE = (
    "mutual information of the unit's value, cut into four parts of equally many steps, and the target, in bits a "
    "step, less what it is on average where the target's steps are shuffled"
)
_PARTS = 4
_SHUFFLES = 20
_MOST_TARGETS = 256  # different ones: the rarer are taken as one


class Telling(NamedTuple):
    """How much a unit tells: `bits` above chance, `entropy` is all there is to tell."""

    unit: int
    bits: float
    entropy: float


def telling_units(values: np.ndarray, targets: Sequence[str | float | None], count: int) -> list[Telling]:
    """The units that tell most about a target, the best first; those alone that tell more than chance.

    Args:
        values: (T, size) of a state or gate.
        targets: what is known at each of the T steps: texts, or numbers, which are read as a unit's values are; None
            where nothing is.
        count: how many at most.
    """
    known = [index for index, target in enumerate(targets) if target is not None]
    classes = _classes([targets[index] for index in known])
    if len(known) < 2 * _PARTS or classes.max(initial=0) == 0:
        return []
    binned = _binned(values[known])
    own = mutual_information(binned, classes)
    random = np.random.default_rng(0)
    chance = np.mean(
        [mutual_information(binned, random.permutation(classes)) for _ in range(_SHUFFLES)], axis=0
    )
    shares = np.bincount(classes) / len(classes)
    entropy = float(-(shares[shares > 0] * np.log2(shares[shares > 0])).sum())
    above = own - chance
    order = np.argsort(-above, kind="stable")[:count]
    return [Telling(int(unit), float(above[unit]), entropy) for unit in order if above[unit] > 0]


def mutual_information(binned: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """In bits, (size,), of each column of `binned` (T, size) with `classes` (T,), whole numbers from 0 on."""
    wanted = np.eye(int(classes.max()) + 1)[classes]  # (T, K)
    total = np.zeros(binned.shape[1])
    for part in range(_PARTS):
        joint = (binned == part).T.astype(np.float64) @ wanted / len(classes)  # (size, K)
        independent = joint.sum(1, keepdims=True) * wanted.mean(0)
        ratio = np.divide(joint, independent, out=np.ones_like(joint), where=joint > 0)
        total += (joint * np.log2(ratio)).sum(1)
    return total


def _binned(values: np.ndarray) -> np.ndarray:
    """(T, size) which of four equally frequent parts each value of a column is in."""
    bounds = np.quantile(values, np.arange(1, _PARTS) / _PARTS, axis=0)  # (3, size)
    return (values[None] > bounds[:, None]).sum(0)


def _classes(targets: Sequence[str | float | None]) -> np.ndarray:
    """(T,) the targets as whole numbers."""
    if targets and all(isinstance(target, float | int) for target in targets):
        return _binned(np.asarray(targets, np.float64)[:, None])[:, 0]
    names, classes = np.unique([str(target) for target in targets], return_inverse=True)
    if len(names) <= _MOST_TARGETS:
        return classes
    rank = np.argsort(np.argsort(-np.bincount(classes), kind="stable"), kind="stable")
    return np.minimum(rank[classes], _MOST_TARGETS - 1)
