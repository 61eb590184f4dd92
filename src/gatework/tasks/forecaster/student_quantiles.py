"""Quantiles of Student's t distribution, of many degrees of freedom at once."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

__all__ = ["LEAST_FREEDOM", "student_quantiles"]

LEAST_FREEDOM = 2.0  # below it there is no variance
_DEGREE = 16


def student_quantiles(levels: Sequence[float], freedom: Tensor) -> Tensor:
    """(…, Q) float64 the quantiles of the levels (Q,) for degrees of freedom (…), at least 2.

    A quantile is a smooth function of one over the degrees of freedom: it is interpolated by a polynomial at the
    Chebyshev points, to 1e-11 of SciPy's for levels from 0.001 to 0.999.
    """
    terms = torch.from_numpy(_terms(tuple(levels))).to(freedom.device)
    place = 4 / freedom.double() - 1  # from -1 to 1
    found = terms[-1].expand(*place.shape, terms.shape[1])
    before = torch.zeros_like(found)
    for term in reversed(terms[1:-1]):  # Clenshaw's recurrence
        found, before = 2 * place[..., None] * found - before + term, found
    return place[..., None] * found - before + terms[0]


@cache
def _terms(levels: tuple[float, ...]) -> npt.NDArray[np.float64]:
    """(degree + 1, Q) of the Chebyshev series in 4 / freedom - 1."""
    from scipy.stats import t  # comes with scikit-learn; takes time to import

    places = np.cos((2 * np.arange(_DEGREE + 1) + 1) * np.pi / (2 * (_DEGREE + 1)))
    quantiles = t.ppf(np.array(levels), 4 / (places[:, None] + 1))
    return np.polynomial.chebyshev.chebfit(places, quantiles, _DEGREE)
