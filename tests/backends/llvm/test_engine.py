"""What the backend contract does not ask of the engine: targets, threads, bits, the cache, second derivatives."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch

import gatework as gw
from gatework.backends import threads
from gatework.backends.compiled import programs, sequence, stack
from gatework.backends.llvm.codegen import target as engine_target
from gatework.backends.llvm.runtime import native, result_pool
from gatework.layers.linear import Linear
from gatework.layers.softmax import Softmax
from tests.backends.llvm.test_mathematics import TARGETS, target
from tests.contracts.backend_contract import check_backend
from tests.contracts.cell_contract import flat
from tests.tolerances import GRADIENTS, assert_close


@pytest.mark.parametrize("on", TARGETS)
@pytest.mark.parametrize("cell", ["lstm", "gru_original", "layer_norm_gru"])
def test_every_target_gives_the_references_numbers(
    cell: str, on: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = target(on)
    monkeypatch.setattr(engine_target, "host", lambda: chosen)
    ran, run_team = [], threads.run_team

    def spied(task: int, *rest: Any) -> None:
        ran.append(task)
        run_team(task, *rest)

    monkeypatch.setattr(threads, "run_team", spied)
    torch.manual_seed(0)
    for dtype in (torch.float32, torch.float64):
        ran.clear()
        check_backend("llvm", gw.Recurrent(cell, 3, 21), dtype)
        assert set(ran) == {native.driver(dtype, chosen).task}


def test_code_for_one_target_is_not_taken_for_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every way into the engine, with one target after the other in the same process."""
    torch.manual_seed(0)
    dense, ragged, chosen = gw.GRU(3, 9), gw.Recurrent("lstm", 3, 9), target("sse2")
    attending = gw.Recurrent("bahdanau_gru", 3, 9, sizes={"memory_size": 4})
    linear, softmax, x, memory = Linear(9, 7), Softmax(9, 20), torch.randn(4, 2, 3), torch.randn(5, 2, 4)
    ran, run_team = [], threads.run_team

    def spied(task: int, *rest: Any) -> None:
        ran.append(task)
        run_team(task, *rest)

    monkeypatch.setattr(threads, "run_team", spied)
    for on in (engine_target.host(), chosen):
        monkeypatch.setattr(engine_target, "host", lambda on=on: on)
        ran.clear()
        with gw.backend("llvm"):
            output, _ = dense(x)
            ragged(x, lengths=torch.tensor([4, 2]))[0].sum().backward()
            dense.stream(2).step(x[0])
            softmax.loss(linear(output[0]).new_zeros(3, 9), torch.arange(3)).backward()
            with torch.no_grad():
                attending(x[:1], memory=attending.attend_to(memory))
                softmax.best(output[0], 3)
        assert set(ran) == {native.driver(torch.float32, on).task}


def run(layer: gw.Recurrent, x: torch.Tensor) -> list[torch.Tensor]:
    layer.zero_grad()
    x = x.clone().requires_grad_()
    with gw.backend("llvm"):
        output, _ = layer(x)
    output.pow(2).sum().backward()
    assert x.grad is not None
    return [output.detach(), x.grad, *(p.grad.clone() for p in layer.parameters() if p.grad is not None)]


@pytest.mark.skipif(threads.openmp() is None, reason="torch's OpenMP library was not found: one thread only")
def test_the_bits_do_not_depend_on_the_threads() -> None:
    torch.manual_seed(0)
    layer, x = gw.LSTM(40, 70), torch.randn(11, 13, 40)
    assert threads.most() > 0
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = run(layer, x)
        torch.set_num_threads(3)
        assert threads.most() == 3
        three = run(layer, x)
    finally:
        torch.set_num_threads(before)
    for a, b in zip(one, three, strict=True):
        assert torch.equal(a, b)


def test_rows_split_sequences_and_inference_have_the_same_bits() -> None:
    torch.manual_seed(0)
    layer, x = gw.Recurrent("layer_norm_lstm", 9, 33), torch.randn(8, 6, 9)
    with gw.backend("llvm"):
        trained, state = layer(x)
        with torch.no_grad():
            whole, final = layer(x)
            order = torch.tensor([4, 1, 5, 0, 3, 2])
            shuffled, _ = layer(x[:, order])
            first, middle = layer(x[:3])
            second, last = layer(x[3:], middle)
            alone, _ = layer(x[:, :1])
    assert torch.equal(trained, whole)
    assert torch.equal(shuffled, whole[:, order])
    assert torch.equal(torch.cat([first, second]), whole)
    assert all(torch.equal(a, b) for a, b in zip(last, final, strict=True))
    assert all(torch.equal(a.detach(), b) for a, b in zip(state, final, strict=True))
    assert torch.equal(alone, whole[:, :1])


def test_an_attending_layer_has_the_same_bits_alone_padded_split_and_in_training() -> None:
    torch.manual_seed(0)
    layer, x = gw.Recurrent("bahdanau_lstm", 9, 33, sizes={"memory_size": 21}), torch.randn(8, 6, 9)
    memory, lengths = torch.randn(7, 6, 21), torch.tensor([7, 2, 5, 1, 7, 4])
    past = torch.arange(7)[:, None] >= lengths
    memory = memory.masked_fill(past[..., None], float("nan"))
    longer = torch.cat([memory, torch.full((12, 6, 21), float("nan"))])
    order = torch.tensor([4, 1, 5, 0, 3, 2])
    with gw.backend("llvm"):
        trained, state = layer(x, memory=memory, memory_lengths=lengths)
        with torch.no_grad():
            whole, final = layer(x, memory=memory, memory_lengths=lengths)
            padded, _ = layer(x, memory=longer, memory_lengths=lengths)
            shuffled, _ = layer(x[:, order], memory=memory[:, order], memory_lengths=lengths[order])
            alone, _ = layer(x[:, 1:2], memory=memory[:2, 1:2])
            first, middle = layer(x[:3], memory=memory, memory_lengths=lengths)
            second, last = layer(x[3:], middle, memory=memory, memory_lengths=lengths)
            stream = layer.stream(6, memory=memory, memory_lengths=lengths)
            steps = torch.stack([stream.step(step)["output"].clone() for step in x])
    for name, value in whole.items():
        assert torch.equal(trained[name], value)
        assert torch.equal(padded[name], value)
        assert torch.equal(shuffled[name], value[:, order])
        assert torch.equal(alone[name], value[:, 1:2])
        assert torch.equal(torch.cat([first[name], second[name]]), value)
    assert torch.equal(steps, whole["output"])
    assert all(torch.equal(a, b) for a, b in zip(last, final, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(state, final, strict=True))


@pytest.mark.skipif(threads.openmp() is None, reason="torch's OpenMP library was not found: one thread only")
@pytest.mark.parametrize("rows", [3, 70])  # threads share the units, or the rows
def test_the_bits_of_an_attending_layer_do_not_depend_on_the_threads(rows: int) -> None:
    torch.manual_seed(0)
    layer = gw.Recurrent("luong_lstm", 120, 150, sizes={"memory_size": 90})
    x, memory = torch.randn(11, rows, 120), torch.randn(9, rows, 90)
    before, found = torch.get_num_threads(), []
    try:
        for count in (1, 3):
            torch.set_num_threads(count)
            own = [x.clone().requires_grad_(), memory.clone().requires_grad_()]
            with gw.backend("llvm"):
                values, _ = layer(own[0], memory=own[1])
            loss = values["output"].pow(2).sum() + values["context"].sum()
            found.append([*values.values(), *torch.autograd.grad(loss, [*own, *layer.parameters()])])
    finally:
        torch.set_num_threads(before)
    names = ["output", "context", "input", "memory", *dict(layer.named_parameters())]
    for name, one, three in zip(names, *found, strict=True):
        if name != "source_memory_l0":  # its gradient is a product of torch's
            assert torch.equal(one, three), name


def test_second_derivatives_of_an_attending_layer_come_from_the_reference() -> None:
    torch.manual_seed(0)
    layer = gw.Recurrent("bahdanau_gru", 2, 3, dtype=torch.float64, sizes={"memory_size": 2})
    x = torch.randn(3, 2, 2, dtype=torch.float64, requires_grad=True)
    memory = torch.randn(4, 2, 2, dtype=torch.float64, requires_grad=True)

    def call(x: torch.Tensor, memory: torch.Tensor) -> torch.Tensor:
        return layer(x, memory=memory, memory_lengths=torch.tensor([4, 2]))[0]["output"]

    with gw.backend("llvm"):
        assert torch.autograd.gradcheck(call, (x, memory))
        assert torch.autograd.gradgradcheck(call, (x, memory))


@pytest.mark.parametrize(("kernel", "size"), [(5, 11), (4, 40), (31, 17), (1, 33)])
def test_an_attention_by_location_equals_the_reference(kernel: int, size: int) -> None:
    """Kernels that are longer than the memory, of even length, of one step; several registers of units, and a part."""

    @gw.cell
    def attending(x: Any, h: Any, memory: gw.Memory) -> Any:
        context = gw.attend("source", h, memory, score="location", size=size, filters=3, kernel=kernel)
        return gw.tanh(gw.linear("candidate", x, h, context=context))

    torch.manual_seed(0)
    layer = gw.Recurrent(attending, 3, 13, sizes={"memory_size": 7}, dtype=torch.float64)
    x = torch.randn(6, 4, 3, dtype=torch.float64, requires_grad=True)
    memory = torch.randn(9, 4, 7, dtype=torch.float64, requires_grad=True)
    attended, lengths = torch.tensor([9, 3, 1, 0]), torch.tensor([6, 2, 5, 4])
    found = {}
    for backend in ("eager", "llvm"):
        with gw.backend(backend):
            output, states = layer(x, memory=memory, memory_lengths=attended, lengths=lengths)
            loss = sum(value.square().sum() for value in (output, *states))
            gradients = torch.autograd.grad(loss, [x, memory, *layer.parameters()])
            with torch.no_grad():
                kept, state = layer.attend_to(memory, attended), None
                for step in x[:3]:
                    last, state = layer(step[None], state, memory=kept)
        found[backend] = [output, *states, *gradients, last, *state]
    assert_close(found["llvm"], found["eager"], GRADIENTS)
    assert layer.explain().name == "llvm"


def test_second_derivatives_come_from_the_reference() -> None:
    torch.manual_seed(0)
    layer = gw.Recurrent("peephole_lstm", 2, 3, dtype=torch.float64)
    x = torch.randn(3, 2, 2, dtype=torch.float64, requires_grad=True)
    with gw.backend("llvm"):
        assert torch.autograd.gradcheck(lambda x: layer(x)[0], x)
        assert torch.autograd.gradgradcheck(lambda x: layer(x)[0], x)


def test_transforms_raise_rather_than_giving_zero() -> None:
    layer, x = gw.GRU(2, 3), torch.randn(4, 1, 2)
    for call in (
        lambda: torch.func.jvp(lambda x: layer(x)[0], (x,), (torch.ones_like(x),)),
        lambda: torch.func.vmap(lambda x: layer(x)[0])(torch.stack([x, x])),
        lambda: torch.func.grad(lambda x: layer(x)[0].sum())(x),
    ):
        for mode in (torch.enable_grad, torch.no_grad):
            with gw.backend("llvm"), mode(), pytest.raises(RuntimeError):
                call()


def test_several_python_threads_at_once() -> None:
    torch.manual_seed(0)
    layer = gw.LSTM(30, 64)
    inputs = [torch.randn(20, 4, 30) for _ in range(6)]
    with torch.no_grad(), gw.backend("llvm"):
        expected = [layer(x)[0] for x in inputs]

    def work(x: torch.Tensor) -> list[torch.Tensor]:
        with torch.no_grad(), gw.backend("llvm"):
            return [layer(x)[0] for _ in range(30)]

    with ThreadPoolExecutor(6) as pool:
        for found, whole in zip(pool.map(work, inputs), expected, strict=True):
            assert all(torch.equal(each, whole) for each in found)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_child_runs_alone() -> None:
    torch.manual_seed(0)
    layer, x = gw.LSTM(64, 64), torch.randn(30, 16, 64)
    with torch.no_grad(), gw.backend("llvm"):
        expected = layer(x)[0]
        child = os.fork()
        if child == 0:  # pragma: no cover - another process
            os._exit(0 if threads.most() == 1 and torch.equal(layer(x)[0], expected) else 1)
        _, status = os.waitpid(child, 0)
    assert status == 0


def test_infinities_nan_and_subnormal_inputs_are_the_references() -> None:
    torch.manual_seed(0)
    layer = gw.LSTM(3, 20)
    x = torch.randn(4, 5, 3)
    x[1, 0], x[1, 1, 0], x[2, 2] = float("inf"), float("nan"), 1e-42
    found = []
    for name in ("eager", "llvm"):
        with gw.backend(name):
            found.append(layer(x)[0].detach())
    torch.testing.assert_close(found[1], found[0], equal_nan=True)


def test_a_gradient_that_vanishes_becomes_zero_and_never_subnormal() -> None:
    torch.manual_seed(0)
    layer = gw.LSTM(3, 16)
    with torch.no_grad():
        for weights in layer.parameters():
            weights.mul_(0.2)
    x = torch.randn(300, 32, 3, requires_grad=True)
    with gw.backend("llvm"):
        (layer(x)[0][-1].sum() * 1e-20).backward()
    assert x.grad is not None
    size = x.grad.abs()
    assert not size[0].any()
    assert size[-1].all()
    assert not ((size > 0) & (size < torch.finfo().tiny)).any()
    assert float(torch.tensor(1e-30) * 1e-10) > 0  # what others compute afterwards is as it was


def test_what_backward_reads_again_may_not_change() -> None:
    layer, x = gw.GRU(2, 3), torch.randn(4, 1, 2)
    with gw.backend("llvm"):
        output, _ = layer(x)
    loss = output.sum()
    with torch.no_grad():
        layer.weight_hh_l0.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_what_the_engine_cannot_do_is_said() -> None:
    layer = gw.GRU(2, 3)
    with gw.backend("llvm"), pytest.raises(gw.BackendError, match="float32 and float64"):
        layer.to(torch.bfloat16)(torch.zeros(2, 1, 2, dtype=torch.bfloat16))


@pytest.mark.parametrize("cell", ["lstm", "gru_original", "layer_norm_lstm", "elman"])
@pytest.mark.parametrize("size", [5, 260])  # of 260 units the threads share the steps
def test_a_stream_gives_the_bits_of_the_sequence(cell: str, size: int) -> None:
    torch.manual_seed(0)
    layer, x = gw.Recurrent(cell, size, size, num_layers=2), torch.randn(6, 2, size)
    with gw.backend("llvm"), torch.no_grad():
        whole, final = layer(x)
        stream = layer.stream(2)
        steps = [stream.step(step).clone() for step in x[:3]]
        middle = stream.state
        stream.step(x[0])  # elsewhere, and back
        stream.state = middle
        steps += [stream.step(step).clone() for step in x[3:]]
        assert torch.equal(torch.stack(steps), whole)
        last = stream.state
        for a, b in zip(flat(last), flat(final), strict=True):
            assert torch.equal(a, b)
        stream.reset()
        assert torch.equal(stream.step(x[0]), whole[0])


def test_a_stream_made_for_inference_is_used_elsewhere() -> None:
    layer, x = gw.LSTM(3, 4), torch.randn(2, 1, 3)
    with gw.backend("llvm"):
        with torch.inference_mode():
            stream = layer.stream()
            first = stream.step(x[0]).clone()
        state = stream.state
        stream.reset()
        assert torch.equal(stream.step(x[0]), first)
        stream.state = state
        assert torch.equal(stream.step(x[1]), layer(x)[0][1])


@pytest.mark.skipif(threads.openmp() is None, reason="torch's OpenMP library was not found: one thread only")
@pytest.mark.parametrize("rows", [1, 3])
def test_threads_that_share_units_give_the_bits_of_one(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    layer, x = gw.LSTM(256, 512), torch.randn(11, rows, 256)
    lengths, shapes = torch.tensor([11, 4, 0][:rows]), []

    def spied(*args: Any) -> programs.Shape:
        shapes.append(sequence.shape_for(*args))
        return shapes[-1]

    monkeypatch.setattr(stack, "shape_for", spied)
    before, found = torch.get_num_threads(), []
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            with gw.backend("llvm"):
                ragged, _ = layer(x, lengths=lengths)
            found.append([*run(layer, x), ragged.detach()])
            assert max(shape.parts for shape in shapes) == count
            shapes.clear()
    finally:
        torch.set_num_threads(before)
    for a, b in zip(*found, strict=True):
        assert torch.equal(a, b)
    for row, length in enumerate(lengths.tolist()):
        assert torch.equal(found[1][-1][:length, row], found[1][0][:length, row])


def test_memory_of_results_is_used_again_only_when_nothing_is_left_of_them() -> None:
    layer, x = gw.LSTM(64, 64), torch.randn(50, 32, 64)
    result_pool.release()
    with gw.backend("llvm"), torch.no_grad():
        first, _ = layer(x)
        address, part = first.data_ptr(), first[3].detach()
        kept = part.clone()
        del first, _
        second, _ = layer(x)
        assert second.data_ptr() != address
        assert torch.equal(part, kept)
        del second, _, part
        third, _ = layer(x)
    assert third.data_ptr() == address


def test_the_memory_that_waits_for_results_follows_what_is_in_use() -> None:
    idle = result_pool._Idle()
    idle.least, idle.most = 64, 4096
    for size in range(100, 200):  # results of ever other sizes, two in use at once
        for block in [idle.take(size), idle.take(size)]:
            idle.give(block)
    assert 500 < idle.bytes <= 2 * 2 * 199
    newest = idle.blocks[199][-1]
    assert idle.take(199) is newest
    assert 100 not in idle.blocks
    idle.give(newest)
    for block in [idle.take(1000) for _ in range(9)]:
        idle.give(block)
    assert idle.bytes == 4000  # as many as may wait at all
    for _ in range(2 * idle.window):
        idle.give(idle.take(10))
    assert idle.bytes <= 64


def test_nothing_is_said_as_python_ends_with_results_in_use() -> None:
    code = """
import torch, gatework as gw
layer = gw.LSTM(128, 128)
def train():
    layer(torch.randn(50, 32, 128))[0].sum().backward()
train()
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stderr == ""


def test_an_inference_derives_no_backward_program(monkeypatch: pytest.MonkeyPatch) -> None:
    derived = []
    monkeypatch.setattr(programs, "backward", lambda graph: derived.append(graph))

    @gw.cell
    def of_this_test(x: Any, h: Any) -> Any:
        return gw.tanh(gw.linear("candidate", x, h)) * gw.sigmoid(gw.linear("gate", x, h)) + 0.25 * h

    layer, x = gw.Recurrent(of_this_test, 2, 3), torch.randn(4, 2, 2)
    with gw.backend("llvm"), torch.no_grad():
        layer(x)
        layer(x, lengths=torch.tensor([1, 4]))
        layer.stream(2).step(x[0])
    assert derived == []
