"""`gw.Linear` against torch.nn.Linear, and the bits of its rows."""

from __future__ import annotations

import pytest
import torch

import gatework as gw
from tests.tolerances import OF_THE_LARGEST_REFERENCE, of_the_largest

SIZES = [(1, 1, 1), (3, 5, 7), (1, 400, 33), (130, 100, 65), (7, 1000, 129)]  # rows, in, out


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("rows", "width", "units"), SIZES)
def test_values_and_gradients_are_torchs(
    rows: int, width: int, units: int, bias: bool, dtype: torch.dtype
) -> None:
    torch.manual_seed(0)
    ours = gw.Linear(width, units, bias=bias, dtype=dtype)
    theirs = torch.nn.Linear(width, units, bias=bias, dtype=torch.float64)
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(rows, 2, width, dtype=torch.float64).transpose(0, 1)  # not contiguous
    found = []
    for layer in (ours, theirs):
        given = x.to(layer.weight.dtype).detach().requires_grad_()
        output = layer(given)
        gradients = torch.autograd.grad(output.sin().sum(), [given, *layer.parameters()])
        found.append([output, *gradients])
    for a, b in zip(*found, strict=True):
        assert of_the_largest(a, b) <= OF_THE_LARGEST_REFERENCE[dtype]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_a_row_has_the_same_bits_alone_and_among_others(dtype: torch.dtype) -> None:
    """Weights that few rows are multiplied with are brought into another order in another way than those of many."""
    torch.manual_seed(0)
    layer, x = gw.Linear(300, 70, dtype=dtype), torch.randn(200, 300, dtype=dtype)
    whole = layer(x)
    for rows in (1, 3, 20, 70, 144, 145):
        assert torch.equal(layer(x[7 : 7 + rows]), whole[7 : 7 + rows])
    assert torch.equal(layer(x.flip(0)), whole.flip(0))


@pytest.mark.parametrize(("rows", "units"), [(200, 300), (40, 300), (140, 40)])
def test_threads_decide_no_bit(rows: int, units: int) -> None:
    """Enough work that the product is shared among the threads, where there are several: by rows or by units."""
    torch.manual_seed(0)
    layer, x = gw.Linear(400, units), torch.randn(rows, 400)
    results = []
    before = torch.get_num_threads()
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            assert torch.get_num_threads() == threads
            results.append(layer(x))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0], results[2])


def test_second_derivatives() -> None:
    layer = gw.Linear(3, 2, dtype=torch.float64)
    x = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(layer, x)
    assert torch.autograd.gradgradcheck(lambda x: layer(x).pow(3), x)


def test_where_the_engine_cannot_run_torch_does() -> None:
    layer = gw.Linear(3, 2)
    assert layer(torch.zeros(0, 3)).shape == (0, 2)
    assert layer(torch.zeros(3)).shape == (2,)
    assert layer.bfloat16()(torch.zeros(4, 3, dtype=torch.bfloat16)).dtype == torch.bfloat16
    layer.float()
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(torch.zeros(4, 3)).dtype == torch.bfloat16
    with pytest.raises(RuntimeError):
        layer(torch.zeros(4, 5))
    x = torch.randn(4, 3)
    assert torch.func.vmap(layer)(x).shape == (4, 2)
