"""The fused operations of a forecaster's horizon beside torch's own, one by one."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from gatework.metrics.forecast import LEVELS
from gatework.tasks.forecaster.distributions import Quantiles, Targets, Units
from gatework.tasks.forecaster.fused import MeanLoss, hidden_units
from tests.tolerances import GRADIENTS, VALUES, assert_close, of_draws


def doubles(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def test_hidden_units() -> None:
    torch.manual_seed(0)
    states, place, ahead, weight = doubles(5, 7), doubles(3, 7), doubles(5, 3, 4), doubles(7, 4)
    read = [value.requires_grad_() for value in (states, place, weight)]
    found = hidden_units(states, place, ahead, weight, 0.0)
    expected = torch.tanh(states[:, None] + place + ahead @ weight.T)
    assert_close(found, expected, VALUES)
    outer = doubles(5, 3, 7)
    gradients = (torch.autograd.grad((one * outer).sum(), read) for one in (found, expected))
    for got, wanted in zip(*gradients, strict=True):
        assert_close(got, wanted, GRADIENTS)


def test_dropout_of_hidden_units() -> None:
    torch.manual_seed(0)
    states, ahead = doubles(200, 50).requires_grad_(), torch.zeros(200, 3, 0, dtype=torch.float64)
    empty = torch.zeros(50, 0, dtype=torch.float64)
    found = hidden_units(states, torch.zeros(3, 50, dtype=torch.float64), ahead, empty, 0.25)
    kept = found != 0
    assert abs(float(kept.double().mean()) - 0.75) < of_draws(kept.numel(), 0.75)
    scaled = states.tanh()[:, None] / 0.75
    assert_close(found[kept], scaled.expand_as(found)[kept], VALUES)
    (got,) = torch.autograd.grad(found.sum(), states)
    (wanted,) = torch.autograd.grad((scaled * kept).sum(), states)
    assert_close(got, wanted, GRADIENTS)


OF_ERRORS: dict[MeanLoss, Callable[[Tensor], Tensor]] = {
    "squared": torch.square,
    "absolute": torch.abs,
    "huber": lambda errors: 2 * F.huber_loss(errors, torch.zeros_like(errors), reduction="none"),
}


@pytest.mark.parametrize("mean_loss", OF_ERRORS)
@pytest.mark.parametrize("levels", [LEVELS, (0.5,), (0.1, 0.9)])
def test_quantile_losses(levels: tuple[float, ...], mean_loss: MeanLoss) -> None:
    """Beside the definition, by torch's operators, fused and not."""
    torch.manual_seed(0)
    kind = Quantiles(levels, mean_loss)
    mean, others = doubles(6, 4).requires_grad_(), doubles(6, 4, len(levels)).requires_grad_()
    targets = Targets(doubles(6, 4), doubles(6, 4).abs() * (doubles(6, 4) > 0))
    units = Units(*(torch.ones(6, 1, dtype=torch.float64),) * 3)
    said = kind.read(mean, others, units)
    errors, level = targets.futures[..., None] - said.quantiles, torch.tensor(levels, dtype=torch.float64)
    pinball = torch.maximum(level * errors, (level - 1) * errors).mean(-1) * targets.weights
    of_mean = OF_ERRORS[mean_loss]((mean - targets.futures) * targets.weights)
    expected = torch.stack([of_mean.sum(), pinball.sum()])
    found = kind.losses(mean, others, targets, units)
    with torch.autocast("cpu", torch.bfloat16):  # not fused; of float64 it rounds nothing
        assert_close(kind.losses(mean, others, targets, units), expected, VALUES)
    assert_close(found, expected, VALUES)
    outer = torch.tensor([0.7, 1.9], dtype=torch.float64)
    gradients = (torch.autograd.grad((one * outer).sum(), [mean, others]) for one in (found, expected))
    for got, wanted in zip(*gradients, strict=True):
        assert_close(got, wanted, GRADIENTS)
    gaps = said.quantiles.diff(dim=-1)
    assert (gaps > 0).all()
