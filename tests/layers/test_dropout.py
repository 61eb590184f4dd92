"""Dropout: its rate, its expected value, its gradient, and that a seed repeats it."""

from __future__ import annotations

import pytest
import torch

from gatework.layers.dropout import dropout
from tests.tolerances import ROUNDING, close_to, of_draws


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
@pytest.mark.parametrize("rate", [0.1, 0.3, 0.5, 0.9])
def test_units_are_dropped_at_the_rate_and_the_rest_is_scaled(rate: float, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    value = torch.ones(401, 499, dtype=dtype)
    dropped = dropout(value, rate, True)
    assert dropped.dtype is dtype
    share = (dropped == 0).double().mean().item()
    assert share == pytest.approx(rate, abs=of_draws(value.numel(), rate))
    kept = dropped[dropped != 0]
    assert torch.equal(kept, kept[:1].expand_as(kept))
    assert kept[0].item() == close_to(1 / (1 - round(rate * 2**16) / 2**16), dtype, ROUNDING)


def test_neighbours_are_independent() -> None:
    """Four units share one draw of the generator."""
    torch.manual_seed(0)
    zero = (dropout(torch.ones(1_000_000), 0.5, True) == 0).double() - 0.5
    for distance in (1, 2, 3, 4, 8):
        assert abs((zero[distance:] * zero[:-distance]).mean().item()) < 0.5 * of_draws(1_000_000)


def test_a_seed_repeats_it_and_its_gradient_is_its_mask() -> None:
    value = torch.randn(7, 3, 5).transpose(0, 1).requires_grad_()
    found = []
    for _ in range(2):
        torch.manual_seed(3)
        found.append(dropout(value, 0.4, True))
    assert torch.equal(*found)
    (gradient,) = torch.autograd.grad(found[0].sum(), value)
    torch.testing.assert_close(gradient * value, found[0])


def test_the_ends_of_the_range() -> None:
    value = torch.randn(4, 5)
    assert dropout(value, 0.0, True) is value
    assert dropout(value, 0.9, False) is value
    assert not dropout(value, 1.0, True).any()
    assert dropout(torch.empty(0, 3), 0.5, True).shape == (0, 3)
    with pytest.raises(ValueError, match="between 0 and 1"):
        dropout(value, 1.5, True)


def test_a_transform_draws_its_own() -> None:
    value = torch.ones(3, 50)
    dropped = torch.func.vmap(lambda row: dropout(row, 0.5, True), randomness="different")(value)
    assert not torch.equal(dropped[0], dropped[1])
