"""A sum block by block: the value and the gradients of the whole."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from gatework.tasks.forecaster.blockwise import blockwise_sum
from tests.tolerances import GRADIENTS, VALUES, assert_close


@pytest.mark.parametrize("block", [1, 3, 4, 10, 100])
def test_blocks_are_the_whole(block: int) -> None:
    torch.manual_seed(0)
    rows, weight, bias = (torch.randn(*shape, dtype=torch.float64) for shape in ((10, 3), (3, 2), (2,)))
    unread = torch.randn(4, dtype=torch.float64)
    tensors = [value.requires_grad_() for value in (rows, weight, bias, unread)]

    def sums(some: Tensor, where: slice) -> Tensor:
        assert torch.equal(some, rows[where])
        return torch.stack([(some @ weight + bias).tanh().sum(), (some * some).sum()])

    expected = sums(rows, slice(0, 10))
    gradients = torch.autograd.grad(3 * expected.sum(), tensors[:3])
    total, parts = blockwise_sum(sums, rows, tensors[1:], block)
    assert_close(total, expected.sum(), VALUES)
    assert_close(parts, expected.detach(), VALUES)
    assert not parts.requires_grad
    (3 * total).backward()
    for value, gradient in zip(tensors, gradients, strict=False):
        assert_close(value.grad, gradient, GRADIENTS)
    with torch.no_grad():
        assert_close(blockwise_sum(sums, rows, tensors[1:], block)[0], expected.sum(), VALUES)
