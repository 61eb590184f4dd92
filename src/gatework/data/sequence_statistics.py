"""What a numeric sequence is like, in a fixed number of statistics, as a linear model sees it."""

from __future__ import annotations

import numpy as np

__all__ = ["sequence_statistics"]

_PARTS = 4


def sequence_statistics(values: np.ndarray) -> np.ndarray:
    """Statistics of a sequence (T, C), T at least 1: (S,) float64, a fixed S for a given C.

    Of each channel: mean, standard deviation, least, greatest, first and last value, slope over the steps (as a line
    from 0 to 1), the mean size of a step's change, the correlation of neighbouring steps; mean and standard deviation
    of each quarter. And the logarithm of T.
    """
    values = np.asarray(values, np.float64)
    steps = len(values)
    centred = values - values.mean(0)
    place = np.linspace(-0.5, 0.5, steps)[:, None]
    changes = np.abs(np.diff(values, axis=0)).mean(0) if steps > 1 else np.zeros(values.shape[1])
    power = (centred**2).sum(0)
    joint = (centred[1:] * centred[:-1]).sum(0)
    whole = [
        values.mean(0),
        values.std(0),
        values.min(0),
        values.max(0),
        values[0],
        values[-1],
        (place * centred).sum(0) / max(float((place**2).sum()), 1e-12),
        changes,
        np.divide(joint, power, out=np.zeros_like(power), where=power > 0),
    ]
    # A sequence shorter than its parts has some values in several of them.
    edges = [
        (part * steps // _PARTS, max((part + 1) * steps // _PARTS, part * steps // _PARTS + 1))
        for part in range(_PARTS)
    ]
    for begin, end in edges:
        whole += [values[begin:end].mean(0), values[begin:end].std(0)]
    return np.concatenate([*whole, [np.log(steps)]])
