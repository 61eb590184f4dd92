"""Quantiles of negative binomial distributions, of many at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

__all__ = ["count_quantiles"]

Floats = npt.NDArray[np.float64]

_SUMMED = 1000  # counts whose probabilities are summed one by one
_LEAST_LOG = -700.0  # of a probability that a float64 holds


def count_quantiles(levels: Sequence[float] | Floats, mean: Floats, shape: Floats) -> Floats:
    """The smallest counts whose distribution function is at least each level.

    Args:
        levels: (Q,), or (…, Q) with levels of each distribution.
        mean, shape: (…) the variances are mean + mean² / shape.

    Returns:
        (…, Q), whole numbers from 0 on.
    """
    means, shapes = mean.reshape(-1), shape.reshape(-1)
    wanted = np.broadcast_to(np.asarray(levels, np.float64), (*mean.shape, np.shape(levels)[-1]))
    wanted = wanted.reshape(len(means), -1)
    found = np.zeros(wanted.shape)
    with np.errstate(divide="ignore"):
        logarithm = -shapes * np.log1p(means / shapes)  # of the probability of zero
    active = np.flatnonzero(logarithm > _LEAST_LOG)
    rest = [np.flatnonzero(logarithm <= _LEAST_LOG)]
    probability, below = np.exp(logarithm[active]), np.zeros(len(active))
    for count in range(_SUMMED):
        below = below + probability  # the distribution function at `count`
        short = below[:, None] < wanted[active]
        more = short.any(1)
        found[active] += short
        if not more.all():
            active, below, probability = active[more], below[more], probability[more]
        if not len(active):
            break
        odds = means[active] / (means[active] + shapes[active])
        probability = probability * odds * (count + shapes[active]) / (count + 1)
    rest.append(active)
    for part in rest:
        if len(part):
            found[part] = _one_by_one(wanted[part], means[part], shapes[part])
    return found.reshape(*mean.shape, -1)


def _one_by_one(levels: Floats, means: Floats, shapes: Floats) -> Floats:
    """(N, Q) by SciPy: of large counts."""
    from scipy.stats import nbinom  # comes with scikit-learn; takes time to import

    shares = (shapes / (shapes + means))[:, None]
    return np.asarray(nbinom.ppf(levels, shapes[:, None], shares))
