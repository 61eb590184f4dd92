"""What a pass does is written for any machine: a second one gives the reference's numbers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

import gatework as gw
from gatework.backends import BACKENDS, selection
from gatework.backends.compiled.dense.maps import Maps
from gatework.backends.storage import Storage
from gatework.layers import Linear
from gatework.layers.softmax import Softmax
from tests.backends.plain_machine import PlainBackend, PlainMachine
from tests.contracts.backend_contract import check_backend
from tests.contracts.test_backends import CELLS, OPTIONS, TAKES, layer_of
from tests.tolerances import GRADIENTS, assert_close


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setitem(BACKENDS, "plain", PlainBackend)  # type: ignore[arg-type]
    monkeypatch.setattr(selection, "NAMES", (*selection.NAMES, "plain"))
    selection.choose.cache_clear()
    yield "plain"
    selection.choose.cache_clear()


@pytest.mark.parametrize("name", TAKES["llvm"])
def test_a_second_machine_equals_the_reference(name: str, plain: str) -> None:
    for options in OPTIONS[: 2 if name in ("lstm", "bahdanau_gru") else 1]:
        check_backend(plain, layer_of(name, **options), torch.float64)
    assert CELLS[name]


def test_a_second_machine_multiplies_blocks_alone(plain: str) -> None:
    cell = gw.cells.get("slstm").with_options(heads=3)
    check_backend(plain, gw.Recurrent(cell, 3, 6, num_layers=2), torch.float64)


@pytest.mark.parametrize("name", ["lstm", "gru", "bahdanau_gru"])
def test_a_second_machine_streams_and_searches(name: str, plain: str) -> None:
    layer = layer_of(name).double()
    x, memory = torch.randn(6, 2, 3).double(), torch.randn(5, 2, 7).double()
    given = {"memory": memory} if name == "bahdanau_gru" else {}
    found = {}
    for backend in (plain, "eager"):
        with gw.backend(backend), torch.no_grad():
            stream = layer.stream(2, **given)
            steps = [stream.step(each) for each in x]
            outputs = [step["output"] if isinstance(step, dict) else step for step in steps]
            found[backend] = [outputs[-1].clone()]
            if given:
                prepared = layer.attend_to(memory)
                output, state = layer(x[:1], memory=prepared)
                output, state = layer(x[1:2], state, memory=prepared)
                found[backend] += [output["output"], state]
    for a, b in zip(found[plain], found["eager"], strict=True):
        assert_close(a, b, GRADIENTS)


def test_a_second_machine_has_linear_maps_and_softmaxes() -> None:
    torch.manual_seed(0)
    maps = Maps(PlainMachine())
    for rows in (2, 40):
        linear, softmax = Linear(5, 31).double(), Softmax(31, 13).double()
        x = torch.randn(rows, 5, dtype=torch.float64, requires_grad=True)
        targets = torch.arange(rows) % 13
        hidden = maps.linear(x, linear.weight, linear.bias)
        expected = torch.nn.functional.linear(x, linear.weight, linear.bias)
        assert_close(hidden, expected)
        loss = maps.cross_entropy(hidden, softmax.weight, softmax.bias, targets, 0.1)
        logits = torch.nn.functional.linear(expected, softmax.weight, softmax.bias)
        other = torch.nn.functional.cross_entropy(logits, targets, reduction="sum", label_smoothing=0.1)
        own = [x, *linear.parameters(), softmax.weight, softmax.bias]
        for a, b in zip(torch.autograd.grad(loss, own), torch.autograd.grad(other, own), strict=True):
            assert_close(a, b, GRADIENTS)
        best = maps.likeliest(hidden.detach(), softmax.weight, softmax.bias, 3, ())
        assert best is not None
        assert torch.equal(best[1], torch.log_softmax(logits, 1).topk(3, dim=1)[1])


@pytest.mark.parametrize("storage", ["bf16", "int8"])
def test_a_second_machine_keeps_weights_in_fewer_bits(storage: Storage, plain: str) -> None:
    layer, x = layer_of("lstm").double(), torch.randn(6, 2, 3).double()
    found = []
    for backend in (plain, "eager"):
        with gw.backend(backend):
            stream = layer.stream(2, weights=storage)
            found.append(torch.stack([stream.step(each).clone() for each in x]))
    assert_close(*found)
