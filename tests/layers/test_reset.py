"""Sequences that are cut by `reset`: what `tests/contracts/backend_contract.py` does not say of every backend."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import gatework as gw
from gatework.layers import arguments
from tests.contracts.backend_contract import check_resets
from tests.tensors import flat
from tests.tolerances import EXACT, GRADIENTS, assert_close

CUTS = torch.tensor(
    [[0, 1, 0], [0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 0, 0], [0, 1, 0]], dtype=torch.bool
)  # (T, B)


def of_pieces(layer: gw.Recurrent, x: Tensor, hx: Any) -> tuple[Tensor, list[Tensor]]:
    """Output and final states of the rows of `CUTS`, each piece a call of its own."""
    outputs, finals = [], []
    for row in range(CUTS.shape[1]):
        state = None if CUTS[0, row] else tuple(value[:, row : row + 1] for value in hx)
        bounds = [0, *(t for t in range(1, 6) if CUTS[t, row]), 6]
        pieces = []
        for first, last in pairwise(bounds):
            output, final = layer(x[first:last, row : row + 1], state)
            pieces.append(output)
            state = None
        outputs.append(torch.cat(pieces))
        finals.append(final)
    return torch.cat(outputs, 1), [torch.cat(parts, 1) for parts in zip(*finals, strict=True)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_engine_gives_the_bits_of_the_pieces(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    layer = gw.LSTM(4, 19, num_layers=2, dtype=dtype)
    x = torch.randn(6, 3, 4, dtype=dtype, requires_grad=True)
    hx = tuple(torch.randn(2, 3, 19, dtype=dtype, requires_grad=True) for _ in range(2))
    leaves = [x, *hx]
    with gw.backend("llvm"):
        found = []
        for output, final in (layer(x, hx, reset=CUTS), of_pieces(layer, x, hx)):
            loss = (output * output.detach().cos()).sum() + sum(value.sin().sum() for value in final)
            weights = torch.autograd.grad(loss, [*layer.parameters()], retain_graph=True)
            found.append(([output, *final, *torch.autograd.grad(loss, leaves)], weights))
    (got, got_weights), (expected, expected_weights) = found
    assert_close(got, expected, EXACT)
    assert_close(got_weights, expected_weights, GRADIENTS)  # summed over pieces in another order
    for value in got[-2:]:
        assert not value[:, CUTS[0]].any()
        assert value[:, ~CUTS[0]].all()


@pytest.mark.parametrize("backend", ["eager", "llvm"])
@pytest.mark.parametrize("cell", ["lstm", "slstm"])
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_what_stood_before_a_cut_has_no_effect(backend: str, cell: str, bad: float) -> None:
    torch.manual_seed(0)
    layer = gw.Recurrent(cell, 2, 5)
    x = torch.randn(6, 3, 2)
    x[0, 0] = bad  # row 0 is cut before step 2, row 1 before step 0
    hx = tuple(torch.where(CUTS[0].view(1, 3, 1), bad, state) for state in layer.initial_state(3))
    hx = tuple(state.requires_grad_() for state in hx)
    with gw.backend(backend):
        output, _ = layer(x, hx, reset=CUTS)
        assert not output[:2, 0].isfinite().all()
        assert_close(output[2, 0], layer(x[2:3, :1])[0][0, 0])
        assert_close(output[:3, 1], layer(x[:3, 1:2])[0][:, 0])
        leaves = [*hx, *layer.parameters()]
        gradients = torch.autograd.grad(
            layer(x[:, 1:], [h[:, 1:] for h in hx], reset=CUTS[:, 1:])[0].sum(), leaves
        )
    assert all(gradient.isfinite().all() for gradient in gradients)


def test_without_a_cut_nothing_changes() -> None:
    layer = gw.GRU(3, 7, num_layers=2, bidirectional=True)
    x = torch.randn(6, 3, 3)
    with gw.backend("llvm"):
        assert_close(flat(layer(x, reset=torch.zeros(6, 3, dtype=torch.bool))), flat(layer(x)), EXACT)


def test_a_fault_in_the_masks_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second direction that is cut where the first one is."""
    right = arguments.reset_masks
    monkeypatch.setattr(arguments, "reset_masks", lambda *given: right(*given)[:1] * 2)
    with pytest.raises(AssertionError, match="differs by"):
        check_resets("eager", gw.GRU(2, 3, bidirectional=True), torch.float64)


@pytest.mark.parametrize("batch_first", [False, True])
def test_every_shape_of_a_batch(batch_first: bool) -> None:
    torch.manual_seed(0)
    layer = gw.GRU(2, 5, bidirectional=True, batch_first=batch_first)
    x = torch.randn(6, 3, 2)
    turned = (lambda value: value.transpose(0, 1)) if batch_first else (lambda value: value)
    expected, final = layer(turned(x), lengths=[6, 2, 4], reset=turned(CUTS))
    packed = nn.utils.rnn.pack_padded_sequence(
        turned(x), torch.tensor([6, 2, 4]), enforce_sorted=False, batch_first=batch_first
    )
    output, state = layer(packed, reset=turned(CUTS))
    assert_close(nn.utils.rnn.pad_packed_sequence(output, batch_first)[0], expected)
    assert_close(state, final)
    alone, state = layer(x[:, 0], reset=CUTS[:, 0])
    assert_close(alone, turned(expected)[:, 0])
    assert_close(state, final[:, 0])


def test_a_compiled_layer_breaks_the_graph() -> None:
    torch._dynamo.reset()
    layer = gw.LSTM(2, 3)
    x = torch.randn(6, 3, 2)
    compiled = torch.compile(lambda x, cuts: layer(x.sin(), reset=cuts)[0].cos(), backend="eager")
    with torch.no_grad():
        assert_close(compiled(x, CUTS), layer(x.sin(), reset=CUTS)[0].cos())


def test_the_choice_says_why() -> None:
    layer = gw.LSTM(2, 3)
    choice = gw.explain(layer, torch.zeros(6, 3, 2), reset=True)
    assert (choice.name, "reset no states" in choice.reason) == ("llvm", True)
    with gw.backend("torch"), pytest.raises(gw.BackendError, match="reset no states inside a sequence"):
        layer(torch.zeros(6, 3, 2), reset=CUTS)


@pytest.mark.parametrize("backend", ["auto", "eager"])
@pytest.mark.parametrize("options", [{}, {"num_layers": 2}, {"num_layers": 2, "residual": True}])
def test_a_stream_is_reset_row_by_row(backend: str, options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    with gw.backend(backend):
        layer = gw.Recurrent("slstm", 4, 4, **options).eval()
        x = torch.randn(6, 3, 4)
        stream = layer.stream(3)
        steps = [stream.step(x[t], reset=CUTS[t]).clone() for t in range(6)]
        expected, final = layer(x, reset=CUTS)
    assert_close(torch.stack(steps), expected.detach())
    assert_close(flat(stream.state), [state.detach() for state in flat(final)])


def test_masks_and_resets_go_together() -> None:
    """Zoneout keeps no unit of a state that a cut has ended."""
    torch.manual_seed(0)
    layer = gw.LSTM(2, 5, zoneout={"h": 1.0, "c": 1.0}, recurrent_dropout=0.5)
    hx = (torch.ones(1, 3, 5), torch.ones(1, 3, 5))
    kept, _ = layer(torch.randn(6, 3, 2), hx, reset=CUTS)
    assert torch.equal(kept[..., 0] == 0, CUTS.cumsum(0) > 0)


WRONG: dict[str, tuple[Any, type[Exception], str]] = {
    "a list": ([[True] * 3] * 6, TypeError, r"reset is a list; it must be a tensor, \(T, B\), of booleans"),
    "numbers": (CUTS.float(), ValueError, r"reset is \(6, 3\) of torch.float32"),
    "another shape": (
        CUTS.t(),
        ValueError,
        r"reset is \(3, 6\) .* must be \(T, B\) = \(6, 3\) of torch.bool on cpu",
    ),
    "one row": (CUTS[:, 0], ValueError, r"reset is \(6,\)"),
    "another device": (CUTS.to("meta"), ValueError, r"torch.bool on meta; .* on cpu"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_wrong_resets(wrong: str) -> None:
    value, error, message = WRONG[wrong]
    with pytest.raises(error, match=message):
        gw.LSTM(2, 3)(torch.zeros(6, 3, 2), reset=value)


def test_wrong_resets_of_other_shapes() -> None:
    with pytest.raises(ValueError, match=r"\(B, T\) = \(3, 6\)"):
        gw.LSTM(2, 3, batch_first=True)(torch.zeros(3, 6, 2), reset=CUTS)
    with pytest.raises(ValueError, match=r"\(T,\) = \(6,\)"):
        gw.LSTM(2, 3)(torch.zeros(6, 2), reset=CUTS)
    with pytest.raises(ValueError, match=r"\(B,\) = \(3,\)"):
        gw.LSTM(2, 3).stream(3).step(torch.zeros(3, 2), reset=CUTS)
