"""Sums and means of a table's rows, beside torch's embedding_bag."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from gatework.layers.bags import bag_means, bag_sums
from tests.tolerances import VALUES, assert_close


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("kind", ["sum", "weighted", "mean"])
def test_numbers_and_gradients_are_torchs(kind: str, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    table = torch.randn(50, 7, dtype=dtype)
    rows = torch.randint(50, (63,))
    offsets = torch.tensor([0, 0, 5, 17, 63])  # the first bag and the last one have no rows
    weights = torch.rand(63, dtype=dtype).bernoulli() * 1.5 if kind == "weighted" else None
    factors = torch.randn(5, 7, dtype=dtype)
    found = []
    for ours in (True, False):
        own = table.clone().requires_grad_()
        if not ours:
            mode = "mean" if kind == "mean" else "sum"
            result = F.embedding_bag(rows, own, offsets, mode=mode, per_sample_weights=weights)
        else:
            result = (
                bag_means(own, rows, offsets) if kind == "mean" else bag_sums(own, rows, offsets, weights)
            )
        found.append((result.detach(), *torch.autograd.grad((result * factors).sum(), own)))
    (numbers, gradient), (expected, wanted) = found
    assert torch.equal(numbers, expected)
    assert_close(gradient, wanted, VALUES)


def test_nothing_to_sum_gives_no_numbers_and_no_gradient() -> None:
    table, nothing = torch.randn(4, 3, requires_grad=True), torch.empty(0, dtype=torch.int64)
    result = bag_sums(table, nothing, nothing, torch.empty(0))
    assert result.shape == (0, 3)
    (gradient,) = torch.autograd.grad(result.sum(), table)
    assert torch.equal(gradient, torch.zeros(4, 3))


def test_a_transform_of_torch_takes_torchs_operators() -> None:
    torch.manual_seed(0)
    table, rows, offsets = torch.randn(6, 3), torch.tensor([5, 1, 1, 0]), torch.tensor([0, 3])
    found = torch.func.grad(lambda own: bag_sums(own, rows, offsets).square().sum())(table)
    own = table.requires_grad_()
    (expected,) = torch.autograd.grad(F.embedding_bag(rows, own, offsets, mode="sum").square().sum(), own)
    assert_close(found, expected, VALUES)
