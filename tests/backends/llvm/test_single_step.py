"""A step of a layer that attends, on weights packed once: what a search calls token after token."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch

import gatework as gw
from gatework.backends import threads
from gatework.backends.compiled import single_step
from gatework.layers import Memories, reorder_state
from tests.contracts.cell_contract import flat
from tests.tolerances import GRADIENTS, assert_close

ROWS, STEPS, LENGTHS = 5, 4, torch.tensor([6, 1, 0, 3, 6])


def made(cell: str = "bahdanau_lstm") -> tuple[gw.Recurrent, torch.Tensor, Memories]:
    torch.manual_seed(0)
    layer = gw.Recurrent(cell, 7, 37, sizes={"memory_size": 19})
    memory = torch.randn(6, ROWS, 19)
    with torch.no_grad():
        return layer, torch.randn(STEPS, ROWS, 7), layer.attend_to(memory, LENGTHS)


@pytest.mark.parametrize("cell", ["bahdanau_gru", "bahdanau_lstm", "luong_lstm"])
def test_steps_have_the_bits_of_the_sequence(cell: str) -> None:
    layer, x, memory = made(cell)
    with torch.inference_mode():
        whole, last = layer(x, memory=memory)
        state, found = layer.initial_state(ROWS), []
        for step in x:
            output, state = layer(step[None], state, memory=memory)
            found.append(output)
    for name, value in whole.items():
        assert torch.equal(torch.cat([each[name] for each in found]), value)
    assert all(torch.equal(a, b) for a, b in zip(flat(state), flat(last), strict=True))
    assert list(memory.prepared[0]), "the steps were to be run on packed weights"


def test_rows_are_picked_repeated_and_left_out() -> None:
    layer, x, memory = made()
    with torch.no_grad():
        _, state = layer(x[:1], memory=memory)
        for index in ([4, 4, 0, 1], [0], [3, 3, 3, 3, 3, 3, 3, 2]):
            picked = torch.tensor(index)
            some, own = memory.select(picked), reorder_state(state, picked)
            got, after = layer(x[1:2, picked], own, memory=some)
            with gw.backend("eager"):
                expected, wanted = layer(x[1:2, picked], own, memory=some)
            for a, b in zip(flat([got, after]), flat([expected, wanted]), strict=True):
                assert_close(a, b)
    again = memory.select(torch.tensor([4, 4, 0, 1])).select(torch.tensor([2, 1]))
    assert again.picked is not None
    assert again.picked.tolist() == [0, 4]
    with pytest.raises(ValueError, match="2 rows"):
        layer(x[:1], memory=again)


def test_a_weight_that_changes_is_noticed() -> None:
    layer, x, memory = made()
    with torch.no_grad():
        before, _ = layer(x[:1], memory=memory)
        layer.weight_hh_l0.mul_(2)
        layer.weight_ih_l0.add_(0.1)
        after, _ = layer(x[:1], memory=memory)
        with gw.backend("eager"):
            expected, _ = layer(x[:1], memory=memory)
    assert not torch.equal(before["output"], after["output"])
    assert_close(after["output"], expected["output"])


def test_a_frozen_layer_still_has_the_gradient_of_its_memory() -> None:
    layer, x, _ = made()
    layer.requires_grad_(False)
    values = torch.randn(6, ROWS, 19, requires_grad=True)
    output, _ = layer(x[:1], memory=layer.attend_to(values))
    (gradient,) = torch.autograd.grad(output["output"].sum(), values)
    assert gradient.any()


def test_what_a_step_gives_is_the_callers_own() -> None:
    layer, x, memory = made("bahdanau_gru")
    with torch.no_grad():
        output, state = layer(x[:1], memory=memory)
        before = state.clone()
        output["output"].zero_()
    assert torch.equal(state, before)


def test_another_dtype_is_refused_in_a_step_as_in_a_sequence() -> None:
    layer, x, _ = made()
    with torch.no_grad():
        wrong = layer.double().attend_to(torch.randn(6, ROWS, 19, dtype=torch.float64))
        for steps in (2, 1):
            with pytest.raises(ValueError, match="float64"):
                layer.float()(x[:steps], memory=wrong)


def test_a_stream_reads_the_rows_that_were_picked() -> None:
    layer, x, memory = made()
    picked = torch.tensor([4, 0])
    with torch.no_grad():
        expected, _ = layer(x[:1, :2], memory=memory.select(picked))
    stream = layer.stream(2, memory=memory.select(picked))  # type: ignore[arg-type]
    assert_close(stream.step(x[0, :2])["output"], expected["output"][0])


@pytest.mark.parametrize("index", [[0, 1, -1], [5], [0.0], [True, False], [[0]]])
def test_an_index_that_names_no_rows_is_refused(index: list[Any]) -> None:
    _, _, memory = made()
    with pytest.raises(ValueError, match="index of rows"):
        memory.select(torch.tensor(index))


def test_a_memory_that_was_read_can_be_copied() -> None:
    layer, x, memory = made()
    with torch.no_grad():
        expected, _ = layer(x[:1], memory=memory)
        again, _ = layer(x[:1], memory=copy.deepcopy(memory))
    assert torch.equal(again["output"], expected["output"])


def test_a_layer_that_attends_says_that_its_steps_take_the_engine() -> None:
    layer, x, _ = made()
    assert layer.explain(x[:1]).name == "llvm"


def test_a_gate_is_not_emitted_in_place_of_another_value() -> None:
    with pytest.raises(ValueError, match="another value by the name"):
        gw.LSTM(8, 8)(torch.randn(2, 1, 8), emit=["output"])
    with pytest.raises(ValueError, match="emit=\\['forget'\\]"):
        gw.LSTM(8, 8)(torch.randn(2, 1, 8), emit="forget")


def test_a_step_that_is_trained_has_its_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    layer, x, memory = made()
    monkeypatch.setattr(single_step, "Step", None)  # packed weights would have none
    x = x[:1].clone().requires_grad_()
    output, _ = layer(x, memory=memory)
    (got,) = torch.autograd.grad(output["output"].sum(), x)
    with gw.backend("eager"):
        output, _ = layer(x, memory=memory)
    (expected,) = torch.autograd.grad(output["output"].sum(), x)
    assert_close(got, expected)


@pytest.mark.parametrize("backend", ["eager", "llvm"])
def test_a_gate_is_an_output_where_it_is_asked_for(backend: str) -> None:
    layer, x, memory = made()
    with gw.record(layer) as tape:
        layer(x, memory=memory)
    with gw.backend(backend):
        output, _ = layer(x, memory=memory, emit=["source", "forget"])
        with torch.no_grad():
            step, _ = layer(x[:1], memory=memory, emit=["source"])
    assert list(output) == ["output", "context", "source", "forget"]
    for name in ("source", "forget"):
        assert_close(output[name], tape[name])
    assert_close(step["source"], tape["source"][:1])
    (gradient,) = torch.autograd.grad(output["source"].pow(2).sum(), layer.source_energy_l0)
    with gw.backend("eager"):
        output, _ = layer(x, memory=memory, emit=["source"])
    (expected,) = torch.autograd.grad(output["source"].pow(2).sum(), layer.source_energy_l0)
    assert_close(gradient, expected, GRADIENTS)
    with pytest.raises(ValueError, match="sauce"):
        layer(x, memory=memory, emit=["sauce"])


@pytest.mark.skipif(threads.openmp() is None, reason="torch's OpenMP library was not found: one thread only")
def test_threads_rows_and_their_number_change_no_bit() -> None:
    """Of many rows threads take some each; of few, they share the units."""
    torch.manual_seed(0)
    layer, rows = gw.Recurrent("bahdanau_gru", 200, 300, sizes={"memory_size": 210}), 150
    x, memory = torch.randn(rows, 200), torch.randn(9, rows, 210)
    before, found = torch.get_num_threads(), []
    try:
        for count in (1, 3):
            torch.set_num_threads(count)
            with torch.no_grad():
                attended = layer.attend_to(memory)
                state = torch.randn(1, rows, 300, generator=torch.Generator().manual_seed(1))
                for some in (rows, 70, 5, 1):
                    index = torch.arange(some) * 2
                    index = index[index < rows]
                    output, _ = layer(x[None, index], state[:, index], memory=attended.select(index))
                    found.append((index, output["output"][0]))
    finally:
        torch.set_num_threads(before)
    with torch.no_grad(), gw.backend("llvm"):
        whole, _ = layer(x[None].expand(2, -1, -1), state, memory=memory)  # a sequence, not a step
    for index, output in found:
        assert torch.equal(output, whole["output"][0, index])
