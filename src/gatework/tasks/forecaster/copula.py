"""Paths of a forecaster that says all steps of a horizon at once.

Its quantiles say how each step is distributed, and nothing of how steps belong together. A Gaussian copula does
(Nelsen 2006, "An introduction to copulas"): its correlations are those of the normal scores of what came in the
validation data, the same wherever a forecast begins.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gatework.errors import InputError
from gatework.tasks.forecaster.backtest import Forecasting
from gatework.tasks.forecaster.calibration import Conformal, Floats, conformal_shifts
from gatework.tasks.forecaster.channels import Integers
from gatework.tasks.forecaster.sampling import Sampling

__all__ = ["MOST_CORRELATED", "calibrated", "copula_paths", "correlations", "normal_scores"]

MOST_CORRELATED = 256  # steps of a horizon whose correlations are kept
_FARTHEST = 3.0  # standard deviations
_LEAST = 1e-4  # of a matrix of correlations: its smallest eigenvalue


def normal_scores(quantiles: Floats, targets: Floats, levels: Sequence[float]) -> Floats:
    """(n, H) of what came the standard normal value of the same probability, between the levels and beyond them along
    straight lines; NaN where it is missing.

    Args:
        quantiles: (n, H, Q) rising. targets: (n, H). levels: (Q,), two or more.
    """
    known = _normal(levels)
    above = (quantiles < targets[..., None]).sum(-1).clip(1, len(levels) - 1)
    low, high = (np.take_along_axis(quantiles, place[..., None], -1)[..., 0] for place in (above - 1, above))
    wide = high > low
    share = np.divide(targets - low, high - low, out=np.full(targets.shape, 0.5), where=wide)
    found = known[above - 1] + share * (known[above] - known[above - 1])
    return np.where(np.isnan(targets), np.nan, found.clip(-_FARTHEST, _FARTHEST))


def correlations(scores: Floats) -> Floats:
    """(H, H) of steps whose scores are (n, H), of those that are not NaN; positive definite."""
    known = ~np.isnan(scores)
    values, there = np.where(known, scores, 0.0), known.astype(np.float64)
    squares = np.square(values).T @ there
    sizes = np.sqrt(squares * squares.T)
    found = np.divide(values.T @ values, sizes, out=np.eye(scores.shape[1]), where=sizes > 0)
    np.fill_diagonal(found, 1.0)
    return _definite(found)


def calibrated(
    quantiles: Floats, targets: Floats, levels: Sequence[float], *, shifted: bool, correlated: bool
) -> Conformal:
    """What the validation data says of quantiles.

    Args:
        quantiles: (n, H, Q). targets: (n, H), NaN where missing. levels: (Q,).
        shifted: whether there are shifts. correlated: whether there are correlations, of quantiles that are shifted.
    """
    shifts: Floats = np.zeros((0, 0))
    if shifted:
        shifts = conformal_shifts(quantiles, targets, levels)
        quantiles = np.maximum.accumulate(quantiles + shifts, axis=-1)
    rows: list[tuple[float, ...]] = []
    if correlated:
        matrix = correlations(normal_scores(quantiles, targets, levels)).round(4)
        rows = [tuple(row[: step + 1]) for step, row in enumerate(matrix.tolist())]
    return Conformal(shifts=tuple(map(tuple, shifts.tolist())), correlations=tuple(rows))


def copula_paths(
    network: Forecasting, quantiles: Floats, levels: Sequence[float], channel: Integers, sampling: Sampling
) -> Floats:
    """(R, P, horizon) paths whose steps have these quantiles, and together the network's correlations.

    Args:
        quantiles: (R, horizon or more, Q). levels: (Q,).
        channel: (R,) the target that each is of.

    Raises:
        InputError: the network has no correlations.
    """
    if network.correlations is None:
        what = "needs to know how steps belong together, and this run keeps no correlations of its steps"
        fix = f"Train with two levels or more and a horizon of at most {MOST_CORRELATED}, or decoder=autoregressive."
        raise InputError("setting return_paths", what, fix)
    horizon, known, table = sampling.horizon, _normal(levels), quantiles[:, : sampling.horizon]
    uniforms = np.stack([step[0] for step in sampling.uniforms(int(channel.max()) + 1)])
    factor = np.linalg.cholesky(_definite(network.correlations[:horizon, :horizon].double().numpy()))
    scores = np.einsum("hk,ktp->thp", factor, _inverse_normal(uniforms))[channel]  # (R, horizon, P)
    above = np.searchsorted(known, scores).clip(1, len(levels) - 1)
    low, high = (np.take_along_axis(table, place, -1) for place in (above - 1, above))
    share = (scores - known[above - 1]) / (known[above] - known[above - 1])
    found = (low + share * (high - low)).transpose(0, 2, 1)
    return np.maximum(np.rint(found), 0) if network.counts else found


def _definite(matrix: Floats) -> Floats:
    """The matrix with eigenvalues of a least size, and ones on its diagonal."""
    values, vectors = np.linalg.eigh(matrix)
    found = (vectors * values.clip(_LEAST)) @ vectors.T
    sizes = np.sqrt(np.diag(found))
    return np.asarray(found / sizes / sizes[:, None])


def _normal(levels: Sequence[float]) -> Floats:
    return _inverse_normal(np.array(levels, np.float64))


def _inverse_normal(levels: Floats) -> Floats:
    from scipy.special import ndtri  # comes with scikit-learn; takes time to import

    return np.asarray(ndtri(levels))
