"""The contract over the whole catalogue and over a cell of a user's own; each check is shown a fault."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import gatework as gw
from tests.contracts import cell_contract
from tests.contracts.cell_contract import check_cell, reference_layer


@gw.cell
def users_own(x: Any, h: Any, memory: Any, *, rate: float = 0.3) -> Any:
    """None of the catalogue: two time scales, a scalar gate, kinks, a second product after the first."""
    write = gw.hard_sigmoid(gw.linear("write", x, h, size=1))
    fast = gw.softsign(gw.linear("fast", x, write * memory))
    slow = gw.elu(gw.linear("slow", x)) * gw.vector("decay")
    memory = (1 - rate) * memory + rate * gw.maximum(fast, gw.clip(slow, -0.4, 0.6))
    return gw.tanh(gw.layer_norm("out", memory)) * gw.softplus(fast), memory


@pytest.mark.parametrize("name", cell_contract.ALONE)
def test_the_catalogue_keeps_the_contract(name: str) -> None:
    check_cell(gw.cells.get(name))


@pytest.mark.parametrize("activation", [gw.relu, gw.sigmoid, gw.sin, gw.softsign], ids=lambda f: f.__name__)
def test_an_elman_cell_of_any_activation_keeps_the_contract(activation: Any) -> None:
    check_cell(gw.cells.get("elman").with_options(activation=activation))


def test_a_cell_with_heads_keeps_the_contract() -> None:
    check_cell(gw.cells.get("slstm").with_options(heads=3), multiple=3)


def test_a_users_cell_keeps_the_contract() -> None:
    check_cell(users_own)


class Faulty(nn.Module):
    """A layer with a fault planted in what it returns."""

    def __init__(self, layer: gw.Recurrent, fault: Callable[..., Any]) -> None:
        super().__init__()
        self.layer = layer
        self.fault = fault

    def forward(self, x: Tensor, hx: Any = None, *, lengths: Tensor | None = None) -> Any:
        return self.fault(self.layer, x, hx, lengths)

    def stream(self, batch_size: int) -> Any:
        return self.layer.stream(batch_size)


def forgets_its_state(layer: gw.Recurrent, x: Tensor, hx: Any, lengths: Tensor | None) -> Any:
    return layer(x, None, lengths=lengths)


def looks_ahead(layer: gw.Recurrent, x: Tensor, hx: Any, lengths: Tensor | None) -> Any:
    return layer(x.cumsum(0).flip(0), hx, lengths=lengths)


def reads_padding(layer: gw.Recurrent, x: Tensor, hx: Any, lengths: Tensor | None) -> Any:
    output, state = layer(x, hx, lengths=lengths)
    return output + 1e-6 * x.sum(), state


def returns_padding(layer: gw.Recurrent, x: Tensor, hx: Any, lengths: Tensor | None) -> Any:
    return layer(x, hx)


def leaks_between_rows(layer: gw.Recurrent, x: Tensor, hx: Any, lengths: Tensor | None) -> Any:
    output, state = layer(x, hx, lengths=lengths)
    return output + 1e-6 * output.detach()[:, :1], state


def has_a_wrong_gradient(layer: gw.Recurrent, x: Tensor, hx: Any, lengths: Tensor | None) -> Any:
    output, state = layer(x, hx, lengths=lengths)
    return output + 1e-3 * (output * output).detach(), state


def is_random(layer: gw.Recurrent, x: Tensor, hx: Any, lengths: Tensor | None) -> Any:
    output, state = layer(x, hx, lengths=lengths)
    return output + 1e-6 * torch.rand_like(output), state


FAULTS = [
    (cell_contract.check_split, forgets_its_state),
    (cell_contract.check_split, looks_ahead),
    (cell_contract.check_rows_alone, returns_padding),
    (cell_contract.check_rows_alone, leaks_between_rows),
    (cell_contract.check_rows_alone, forgets_its_state),
    (cell_contract.check_padding, reads_padding),
    (cell_contract.check_padding, returns_padding),
    (cell_contract.check_batch_order, leaks_between_rows),
    (cell_contract.check_stream, is_random),
    (cell_contract.check_stream, looks_ahead),
    (cell_contract.check_recording, is_random),
    (cell_contract.check_gradients, has_a_wrong_gradient),
]


@pytest.mark.parametrize(("check", "fault"), FAULTS, ids=lambda f: f.__name__)
def test_a_planted_fault_is_found(check: Callable[..., None], fault: Callable[..., Any]) -> None:
    layer = reference_layer(gw.cells.get("gru"), 2, 3)
    check(copy.deepcopy(layer), 2)
    with pytest.raises((AssertionError, RuntimeError)):  # gradcheck raises the latter
        check(Faulty(layer, fault).double(), 2)


def test_a_graph_that_changes_in_json_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    lstm, gru = gw.cells.get("lstm"), gw.cells.get("gru")
    cell_contract.check_graph_round_trip(lstm)
    written = gru.to_json()
    monkeypatch.setattr(gw.Cell, "to_json", lambda self: written)
    with pytest.raises(AssertionError):
        cell_contract.check_graph_round_trip(lstm)
