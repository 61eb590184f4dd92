"""Operations of a forecaster's horizon, each with the derivative of the whole: few temporaries, most work in place."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from gatework.backends.admission import is_plain, mode_refusal
from gatework.layers.dropout import kept_units

__all__ = ["MeanLoss", "fuses", "hidden_units", "mean_losses", "quantile_losses"]

MeanLoss: TypeAlias = Literal["squared", "absolute", "huber"]


def fuses(value: Tensor) -> bool:
    """Whether the operations here take a tensor: a plain one on a CPU, in no mode of torch's and not under autocast."""
    return is_plain(value) and mode_refusal() is None and not torch.is_autocast_enabled("cpu")


def hidden_units(states: Tensor, place: Tensor, ahead: Tensor, weight: Tensor, rate: float) -> Tensor:
    """(n, J, U) tanh(states + place + ahead weightᵀ) after dropout, in float32 or float64 on a CPU.

    Args:
        states: (n, U). place: (J, U). ahead: (n, J, F), which gets no gradient. weight: (U, F).
        rate: of dropout, less than 1.
    """
    kept, scale = None, 1.0
    if rate > 0:
        kept, scale = kept_units(torch.Size((*ahead.shape[:2], len(weight))), rate)
    found: Tensor = _HiddenUnits.apply(states, place, ahead, weight, kept, scale)
    return found


class _HiddenUnits(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        states: Tensor,
        place: Tensor,
        ahead: Tensor,
        weight: Tensor,
        kept: Tensor | None,
        scale: float,
    ) -> Tensor:
        found = torch.matmul(ahead, weight.T)
        found += place
        found += states[:, None]
        found.tanh_()
        if kept is not None:
            found *= kept
            found *= scale
        ctx.save_for_backward(found, ahead, kept)
        ctx.scale = scale
        return found

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        found, ahead, kept = ctx.saved_tensors
        own = found * found  # the derivative: scale (1 - tanh²), where tanh = found / scale
        own.mul_(-1 / ctx.scale).add_(ctx.scale).mul_(gradient)
        if kept is not None:
            own *= kept
        of_weight = (ahead.flatten(0, 1).T @ own.flatten(0, 1)).T
        return own.sum(1), own.sum(0), None, of_weight, None, None


def mean_losses(errors: Tensor, kind: MeanLoss) -> Tensor:
    """Of each error its square, its size, or (Huber 1964) its square up to 1 and from there on a straight line."""
    match kind:
        case "squared":
            return errors.square()
        case "absolute":
            return errors.abs()
        case _:
            within = errors.clamp(-1, 1)
            return within * (2 * errors - within)


def quantile_losses(
    mean: Tensor,
    others: Tensor,
    futures: Tensor,
    weights: Tensor,
    levels: Tensor,
    sums: Tensor,
    middle: int,
    mean_loss: MeanLoss,
) -> Tensor:
    """(2,) `mean_losses` of the weighted errors of means, and the weighted mean pinball loss of the quantiles
    `softplus(others) sums + mean + others[…, middle]`, summed.

    Args:
        mean, futures, weights: (n, H). others: (n, H, Q). levels: (Q,). sums: (Q, Q), whose row `middle` is zero.
    """
    found: Tensor = _QuantileLosses.apply(mean, others, futures, weights, levels, sums, middle, mean_loss)
    return found


class _QuantileLosses(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        mean: Tensor,
        others: Tensor,
        futures: Tensor,
        weights: Tensor,
        levels: Tensor,
        sums: Tensor,
        middle: int,
        mean_loss: MeanLoss,
    ) -> Tensor:
        errors = torch.matmul(F.softplus(others), sums).neg_()
        errors += (futures - mean - others[..., middle])[..., None]
        slopes = levels - (errors < 0).to(errors.dtype)
        slopes *= (weights / len(levels))[..., None]
        pinball = torch.dot(slopes.flatten(), errors.flatten())
        apart = (mean - futures) * weights
        slopes.neg_()  # from here the loss's derivatives by the quantiles
        of_middle = slopes.sum(-1)
        of_others = torch.matmul(slopes, sums.T).mul_(others.sigmoid())
        of_others[..., middle] = of_middle
        ctx.save_for_backward(_slopes(apart, mean_loss) * weights, of_middle, of_others)
        return torch.stack([mean_losses(apart, mean_loss).sum(), pinball])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        of_errors, of_middle, of_others = ctx.saved_tensors
        of_mean = gradient[0] * of_errors + gradient[1] * of_middle
        return of_mean, gradient[1] * of_others, None, None, None, None, None, None


def _slopes(errors: Tensor, kind: MeanLoss) -> Tensor:
    """The derivatives of `mean_losses`."""
    match kind:
        case "squared":
            return 2 * errors
        case "absolute":
            return errors.sign()
        case _:
            return 2 * errors.clamp(-1, 1)
