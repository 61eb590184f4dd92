"""What a forecaster says of a step: a mean and quantiles, or the parameters of a distribution.

Everything is of a step's value less that at the origin, over the scale there, but counts.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal, NamedTuple, TypeAlias

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from gatework.tasks.forecaster.count_quantiles import count_quantiles
from gatework.tasks.forecaster.fused import MeanLoss, fuses, mean_losses, quantile_losses
from gatework.tasks.forecaster.student_quantiles import LEAST_FREEDOM, student_quantiles

__all__ = ["DISTRIBUTIONS", "Distribution", "DistributionName", "NetworkForecast", "Targets", "Units"]

DistributionName: TypeAlias = Literal["quantiles", "gaussian", "student_t", "negative_binomial"]

_SHARPNESS = 8.0  # of the bend at zero of a mean count: from a third of the level on it is a straight line
_LARGEST_LOG = 12.0  # of a spread
_FREEDOMS = (2.5, 3.0, 4.0, 6.0, 10.0, 30.0)  # that a Student-t may begin with
_LEAST_GAP = 1e-3  # between quantiles at the beginning

Said: TypeAlias = tuple[Tensor, ...]


class NetworkForecast(NamedTuple):
    """Of n origins, less the value there and over the scale there: mean (n, H), quantiles (n, H, Q) in rising order."""

    mean: Tensor
    quantiles: Tensor


class Units(NamedTuple):
    """Of n origins the value and the scale there, and the mean of the window's values; (n, 1) each."""

    value: Tensor
    scale: Tensor
    level: Tensor


class Targets(NamedTuple):
    """Futures (n, H) less the value at the origin, over the scale there; weights (n, H) of their errors, zero where one
    is missing."""

    futures: Tensor
    weights: Tensor


class Distribution(ABC):
    """How a network's numbers are read, learned from, and become mean and quantiles.

    Args:
        levels: (Q,) of the quantiles, rising.
        mean_loss: of the mean's errors, where it is learned apart from a distribution.

    Attributes:
        outputs: O, the numbers of a step: one that is added to the linear path, and B = O - 1 others.
        middle: the place of the level nearest to one half.
        parts: the names of what is minimised.
        counts: whether values are whole numbers from 0 on.
    """

    parts: ClassVar[tuple[str, ...]] = ("nll",)
    counts: ClassVar[bool] = False
    outputs: int

    def __init__(self, levels: Sequence[float], mean_loss: MeanLoss = "squared") -> None:
        self.levels, self.mean_loss = tuple(levels), mean_loss
        self.middle = min(range(len(levels)), key=lambda index: abs(levels[index] - 0.5))

    @abstractmethod
    def begin(self, residuals: Tensor) -> Tensor:
        """(M, H, B) what the others are where the quantiles of what the linear path leaves are (M, H, Q)."""

    @abstractmethod
    def read(self, mean: Tensor, others: Tensor, units: Units) -> Said:
        """What n origins say of H steps.

        Args:
            mean: (n, H). others: (n, H, B).
        """

    @abstractmethod
    def losses(self, mean: Tensor, others: Tensor, targets: Targets, units: Units) -> Tensor:
        """(P,) of what `read` is given: what is minimised, its parts in the order of `parts`, summed over the futures
        that are there."""

    @abstractmethod
    def forecast(self, said: Said, units: Units) -> NetworkForecast:
        """Mean and quantiles."""

    @abstractmethod
    def draw(self, said: Said, units: Units, uniforms: Tensor) -> Tensor:
        """(n,) a value of each of n distributions, whose numbers are (n,) or (n, …), from numbers (2, n) in (0, 1)."""


class Quantiles(Distribution):
    """A mean, by its errors, and quantiles that cannot cross, by the pinball loss (Koenker & Bassett 1978)."""

    parts = ("errors", "pinball")

    def __init__(self, levels: Sequence[float], mean_loss: MeanLoss = "squared") -> None:
        super().__init__(levels, mean_loss)
        self.outputs = 1 + len(levels)
        gap, quantile = np.ogrid[
            : len(levels), : len(levels)
        ]  # torch would import its compiler for the meta device
        above = (gap > self.middle) & (gap <= quantile)
        below = (gap < self.middle) & (gap >= quantile)
        # (Q, Q) which gaps a quantile is away from the middle one
        self._sums = torch.from_numpy(above.astype(np.float32) - below)

    def begin(self, residuals: Tensor) -> Tensor:
        """The middle quantile, and of the others the inverse softplus of gaps outward."""
        gaps = inverse_softplus(residuals.diff(dim=-1).clamp(min=_LEAST_GAP))
        middle = residuals[..., self.middle : self.middle + 1]
        return torch.cat([gaps[..., : self.middle], middle, gaps[..., self.middle :]], -1)

    def read(self, mean: Tensor, others: Tensor, units: Units) -> NetworkForecast:
        """Gaps are softplus, and sums of them one product: in each the gaps are added one by one in the same order, so
        that no rounding makes quantiles cross."""
        gaps = F.softplus(others) @ self._sums.to(others)
        return NetworkForecast(mean, gaps + (mean + others[..., self.middle])[..., None])

    def losses(self, mean: Tensor, others: Tensor, targets: Targets, units: Units) -> Tensor:
        if fuses(mean):
            levels, sums = _levels(self.levels).to(mean), self._sums.to(mean)
            return quantile_losses(mean, others, *targets, levels, sums, self.middle, self.mean_loss)
        _, quantiles = self.read(mean, others, units)
        apart = mean_losses((mean - targets.futures) * targets.weights, self.mean_loss)
        errors = targets.futures[..., None] - quantiles
        slopes = _levels(self.levels).to(errors) - (errors < 0).to(errors)
        pinball = (slopes * errors).mean(-1) * targets.weights
        return torch.stack([apart.sum(), pinball.sum()])

    def forecast(self, said: Said, units: Units) -> NetworkForecast:
        return NetworkForecast(*said)

    def draw(self, said: Said, units: Units, uniforms: Tensor) -> Tensor:
        """Between the levels along straight lines over the normal distribution's quantiles, and beyond them on."""
        quantiles, wanted = said[1].double(), torch.special.ndtri(uniforms[0])
        known = torch.special.ndtri(_levels(self.levels)).to(wanted.device)
        above = torch.searchsorted(known, wanted).clamp(1, len(self.levels) - 1)
        low, high = (quantiles.gather(-1, place[:, None])[:, 0] for place in (above - 1, above))
        return low + (high - low) * (wanted - known[above - 1]) / (known[above] - known[above - 1])


class _Likelihood(Distribution):
    """Parameters, by the negative logarithm of what they say of the future."""

    @abstractmethod
    def _logarithms(self, said: Said, targets: Targets, units: Units) -> Tensor:
        """(n, H) the negative logarithms of the probability or of its density."""

    def losses(self, mean: Tensor, others: Tensor, targets: Targets, units: Units) -> Tensor:
        each = self._logarithms(self.read(mean, others, units), targets, units)
        return torch.where(targets.weights > 0, each, 0.0).sum()[None]


class Gaussian(_Likelihood):
    """Mean and standard deviation."""

    outputs = 2

    def begin(self, residuals: Tensor) -> Tensor:
        spread, _ = _fitted(residuals, torch.special.ndtri(_levels(self.levels)))
        return spread.log()[..., None]

    def read(self, mean: Tensor, others: Tensor, units: Units) -> Said:
        return mean, _spread(others[..., 0])

    def _logarithms(self, said: Said, targets: Targets, units: Units) -> Tensor:
        mean, spread = said
        return 0.5 * ((targets.futures - mean) / spread).square() + spread.log() + 0.5 * np.log(2 * np.pi)

    def forecast(self, said: Said, units: Units) -> NetworkForecast:
        mean, spread = (part.double() for part in said)
        around = torch.special.ndtri(_levels(self.levels).to(mean.device))
        return NetworkForecast(mean, mean[..., None] + spread[..., None] * around)

    def draw(self, said: Said, units: Units, uniforms: Tensor) -> Tensor:
        mean, spread = said
        return mean + spread * torch.special.ndtri(uniforms[0])


class StudentT(_Likelihood):
    """Mean, scale and degrees of freedom, of which there are more than two."""

    outputs = 3

    def begin(self, residuals: Tensor) -> Tensor:
        each = []
        for freedom in _FREEDOMS:
            around = student_quantiles(self.levels, torch.tensor(freedom, dtype=torch.float64))
            each.append(_fitted(residuals, around))
        spread, errors = (torch.stack(part) for part in zip(*each, strict=True))
        best = errors.argmin(0, keepdim=True)
        found = torch.tensor(_FREEDOMS, dtype=residuals.dtype)[best[0]]
        return torch.stack([spread.gather(0, best)[0].log(), inverse_softplus(found - LEAST_FREEDOM)], -1)

    def read(self, mean: Tensor, others: Tensor, units: Units) -> Said:
        return mean, _spread(others[..., 0]), LEAST_FREEDOM + F.softplus(others[..., 1])

    def _logarithms(self, said: Said, targets: Targets, units: Units) -> Tensor:
        mean, spread, freedom = said
        half = (freedom + 1) / 2
        errors = ((targets.futures - mean) / spread).square() / freedom
        constant = torch.lgamma(freedom / 2) - torch.lgamma(half) + 0.5 * (freedom * np.pi).log()
        return half * errors.log1p() + spread.log() + constant

    def forecast(self, said: Said, units: Units) -> NetworkForecast:
        mean, spread, freedom = (part.double() for part in said)
        around = student_quantiles(self.levels, freedom)
        return NetworkForecast(mean, mean[..., None] + spread[..., None] * around)

    def draw(self, said: Said, units: Units, uniforms: Tensor) -> Tensor:
        """By the polar method (Bailey 1994, "Polar generation of random variates with the t-distribution")."""
        mean, spread, freedom = (part.double() for part in said)
        radius = (freedom * torch.expm1(-2 / freedom * uniforms[1].log())).sqrt()
        return mean + spread * radius * torch.cos(2 * np.pi * uniforms[0])


class NegativeBinomial(_Likelihood):
    """Mean and dispersion of counts, whose variance is mean + dispersion x mean²; scaled by the window's level, as
    DeepAR does (Salinas, Flunkert & Gasthaus 2017, arXiv:1704.04110, section 3.3)."""

    counts = True
    outputs = 2

    def begin(self, residuals: Tensor) -> Tensor:
        return residuals.new_zeros((*residuals.shape[:-1], 1))

    def read(self, mean: Tensor, others: Tensor, units: Units) -> Said:
        level = 1 + units.level.clamp(min=0)
        share = (units.value + units.scale * mean) / level
        return level * F.softplus(share, beta=_SHARPNESS), F.softplus(others[..., 0]) / level.sqrt()

    def _logarithms(self, said: Said, targets: Targets, units: Units) -> Tensor:
        mean, dispersion = said
        shape = 1 / dispersion
        counts = (units.value + units.scale * targets.futures).round().clamp(min=0)
        whole = (shape + mean).log()
        ways = torch.lgamma(counts + 1) + torch.lgamma(shape) - torch.lgamma(counts + shape)
        return ways - shape * (shape.log() - whole) - counts * (mean.log() - whole)

    def forecast(self, said: Said, units: Units) -> NetworkForecast:
        mean, dispersion = (part.double().cpu().numpy() for part in said)
        found = torch.from_numpy(count_quantiles(self.levels, mean, 1 / dispersion)).to(said[0].device)
        value, scale = units.value.double(), units.scale.double()
        return NetworkForecast(
            (said[0].double() - value) / scale, (found - value[..., None]) / scale[..., None]
        )

    def draw(self, said: Said, units: Units, uniforms: Tensor) -> Tensor:
        mean, dispersion = (part.double().cpu().numpy() for part in said)
        levels = uniforms[0].cpu().numpy()[:, None]
        found = torch.from_numpy(count_quantiles(levels, mean, 1 / dispersion)[:, 0]).to(said[0].device)
        return (found - units.value.double()) / units.scale.double()


DISTRIBUTIONS: Mapping[DistributionName, type[Distribution]] = {
    "quantiles": Quantiles,
    "gaussian": Gaussian,
    "student_t": StudentT,
    "negative_binomial": NegativeBinomial,
}


def inverse_softplus(value: Tensor) -> Tensor:
    """What has this softplus; the value is positive."""
    return value + torch.log(-torch.expm1(-value))


def _spread(logarithm: Tensor) -> Tensor:
    return logarithm.clamp(-_LARGEST_LOG, _LARGEST_LOG).exp()


def _levels(levels: Sequence[float]) -> Tensor:
    return torch.tensor(levels, dtype=torch.float64)


def _fitted(quantiles: Tensor, around: Tensor) -> tuple[Tensor, Tensor]:
    """(M, H) the scale of a distribution whose quantiles (M, H, Q) are like those `around` (Q,) of the one of scale 1,
    by least squares; and (M, H) the squares that it leaves."""
    around = (around - around.mean()).to(quantiles)
    centred = quantiles - quantiles.mean(-1, keepdim=True)
    size = around.square().sum()
    scale = (centred * around).sum(-1) / size if size > 0 else torch.ones_like(quantiles[..., 0])
    scale = scale.clamp(min=_LEAST_GAP)
    return scale, (centred - scale[..., None] * around).square().sum(-1)
