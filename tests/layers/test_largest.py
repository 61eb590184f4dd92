"""The largest numbers over the steps of ragged sequences, beside torch's own operators."""

from __future__ import annotations

import pytest
import torch

from gatework.layers.largest import largest
from tests.tolerances import ROUNDING, assert_close


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_numbers_and_gradients_are_those_of_masking_whatever_the_lengths(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    lengths = torch.tensor([7, 1, 4, 0])
    inside = (torch.arange(7)[:, None] < lengths)[:, :, None]
    sequence = torch.randint(-3, 4, (7, 4, 63)).to(dtype) * inside  # some of the largest are equal
    weights = torch.randn(4, 63, dtype=dtype) * (lengths > 0)[:, None]
    found = []
    for of in (largest, lambda value, own: value.masked_fill(~own, torch.finfo(dtype).min).amax(0)):
        value = sequence.clone().requires_grad_()
        result = of(value, inside)
        found.append((result.detach(), *torch.autograd.grad((result * weights)[lengths > 0].sum(), value)))
    (numbers, gradient), (expected, wanted) = found
    assert torch.equal(numbers, expected)
    assert_close(gradient, wanted, ROUNDING)


def test_a_transform_of_torch_takes_torchs_operators() -> None:
    torch.manual_seed(0)
    sequences, inside = torch.randn(2, 3, 4, 5), torch.ones(3, 4, 1, dtype=torch.bool)
    found = torch.func.vmap(lambda value: largest(value, inside))(sequences)
    assert torch.equal(found, sequences.amax(1))
