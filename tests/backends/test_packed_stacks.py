"""A ragged batch of a whole stack in one call of torch's operator, as on a GPU; here on the CPU, which has it too."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import gatework as gw
from gatework.backends import torch_fused
from tests.tensors import flat
from tests.tolerances import GRADIENTS, assert_close

LENGTHS = torch.tensor([4, 0, 7, 4, 1, 0, 6])


@pytest.mark.parametrize("given", [False, True], ids=["from zero", "from states"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"num_layers": 2},
        {"num_layers": 2, "bidirectional": True},
        {"bias": False, "bidirectional": True},
        {"num_layers": 3, "dropout": 0.5},
    ],
    ids=str,
)
@pytest.mark.parametrize("cell", ["lstm", "gru", "elman", "projected_lstm"])
def test_a_packed_stack_gives_the_references_numbers(
    cell: str, options: dict[str, Any], given: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    sizes = {"proj_size": 3} if cell == "projected_lstm" else {}
    layer = gw.Recurrent(gw.cells.get(cell), 4, 5, dtype=torch.float64, **sizes, **options).eval()
    x = torch.randn(7, len(LENGTHS), 4, dtype=torch.float64)
    hx = layer.initial_state(len(LENGTHS))
    hx = type(hx)(torch.randn_like(part) for part in hx) if isinstance(hx, tuple) else torch.randn_like(hx)
    packed = []
    run = torch_fused._run_packed
    monkeypatch.setattr(torch_fused, "_run_packed", lambda *args: packed.append(1) or run(*args))
    monkeypatch.setattr(torch_fused, "ragged_stacks", ("cpu",))

    def numbers(backend: str) -> list[torch.Tensor]:
        layer.zero_grad()
        own = x.clone().requires_grad_()
        with gw.backend(backend):
            results = flat(layer(own, hx if given else None, lengths=LENGTHS))
        torch.stack([result.square().sum() for result in results]).sum().backward()
        return [*results, own.grad, *(weight.grad for weight in layer.parameters())]

    assert_close(numbers("torch"), numbers("eager"), GRADIENTS)
    assert len(packed) == 1


def test_a_batch_without_a_step_keeps_its_states(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch_fused, "ragged_stacks", ("cpu",))
    layer, hx = gw.GRU(4, 5), torch.randn(1, 3, 5)
    with gw.backend("torch"):
        output, final = layer(torch.randn(7, 3, 4), hx, lengths=[0, 0, 0])
    assert not output.any()
    assert torch.equal(final, hx)
