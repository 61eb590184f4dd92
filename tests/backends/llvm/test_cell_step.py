"""Cells in a loop in Python, run by the engine: the reference's numbers, and what autograd may ask of them."""

from __future__ import annotations

import copy
import gc
import threading
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import gatework as gw
from gatework.backends import costs
from gatework.backends.compiled import cell_step
from gatework.backends.llvm.codegen import target as engine_target
from gatework.layers import call_plan
from tests.tolerances import OF_THE_LARGEST_REFERENCE, assert_close, of_the_largest

CELLS = ("LSTMCell", "GRUCell", "RNNCell")
ONE_INPUT = [name for name in gw.cells.names() if len(gw.cells.get(name).graph.inputs) == 1]


def made(name: str, dtype: torch.dtype, inputs: int = 7, units: int = 19) -> gw.RecurrentCell:
    torch.manual_seed(0)
    if name in CELLS:
        return getattr(gw, name)(inputs, units, dtype=dtype)
    graph = gw.cells.get(name).graph
    sizes = {"proj_size": 5} if "proj_size" in {state.size for state in graph.states} else {}
    return gw.RecurrentCell(name, inputs, units, sizes=sizes, dtype=dtype)


def start(cell: gw.RecurrentCell, rows: int, dtype: torch.dtype) -> tuple[Tensor, ...]:
    torch.manual_seed(1)
    widths = cell._stack.state_widths
    return tuple((torch.rand(rows, width, dtype=dtype) + 0.5).requires_grad_() for width in widths)


def loop(cell: Any, xs: Tensor, states: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """The states after every step."""
    found = []
    for x in xs:
        new = cell(x, states if len(states) > 1 else states[0])
        states = new if isinstance(new, tuple) else (new,)
        found += states
    return tuple(found)


def everything(cell: Any, xs: Tensor, states: tuple[Tensor, ...]) -> list[Tensor]:
    """States of all steps, and gradients of the input, the first states and every weight."""
    xs = xs.detach().requires_grad_()
    found = loop(cell, xs, states)
    total = sum((number + 1) * (state.sin().sum()) for number, state in enumerate(found))
    wanted = [xs, *states, *cell.parameters()]
    # Some cells never read their first state.
    return [*found, *torch.autograd.grad(total, wanted, materialize_grads=True)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", [*CELLS, *ONE_INPUT])
def test_a_loop_gives_the_numbers_and_gradients_of_the_reference(name: str, dtype: torch.dtype) -> None:
    cell = made(name, dtype)
    for rows in (1, 53, 101):
        xs, states = torch.randn(4, rows, 7, dtype=dtype), start(cell, rows, dtype)
        with gw.backend("llvm"):
            got = everything(cell, xs, states)
            with torch.no_grad():
                assert all(map(torch.equal, loop(cell, xs, states), got)), "training and inference differ"
        exact = copy.deepcopy(cell).double()
        with gw.backend("eager"):
            states = tuple(state.detach().double().requires_grad_() for state in states)
            expected = everything(exact, xs.double(), states)
        for mine, theirs in zip(got, expected, strict=True):
            assert of_the_largest(mine, theirs) < OF_THE_LARGEST_REFERENCE[dtype]


@pytest.mark.parametrize("name", CELLS)
def test_a_loop_has_the_bits_of_the_sequence(name: str) -> None:
    cell, layer = made(name, torch.float32), getattr(gw, name.removesuffix("Cell"))(7, 19)
    layer.load_state_dict({f"{key}_l0": value for key, value in cell.state_dict().items()})
    xs, states = torch.randn(4, 9, 7), tuple(state.detach() for state in start(cell, 9, torch.float32))
    with gw.backend("llvm"), torch.no_grad():
        output, _ = layer(xs, tuple(s[None] for s in states) if len(states) > 1 else states[0][None])
        assert torch.equal(torch.stack(loop(cell, xs, states)[:: len(states)]), output)


@pytest.fixture
def lstm() -> tuple[gw.RecurrentCell, Tensor, tuple[Tensor, ...]]:
    cell = made("LSTMCell", torch.float64)
    return cell, torch.randn(3, 5, 7, dtype=torch.float64), start(cell, 5, torch.float64)


Given = tuple[gw.RecurrentCell, Tensor, tuple[Tensor, ...]]


def weight_gradients(cell: gw.RecurrentCell, *losses: Tensor) -> list[Tensor]:
    cell.zero_grad()
    for loss in losses:
        loss.backward(retain_graph=True)
    return [parameter.grad.clone() for parameter in cell.parameters() if parameter.grad is not None]


def test_calls_of_one_graph_share_a_node_which_lives_as_long_as_it(lstm: Given) -> None:
    cell, xs, states = lstm
    gc.collect()
    before = len(cell_step._known)
    with gw.backend("llvm"):
        found = loop(cell, xs, states)
        more = loop(cell, xs[:, :2], tuple(state[:2] for state in states))  # another number of rows
        assert len(cell_step._known) == before + 1
        once = weight_gradients(cell, found[-1].sum() + more[-1].sum())
        twice = weight_gradients(cell, found[-1].sum(), more[-1].sum())
    assert_close(once, twice)
    with gw.backend("eager"):
        found, more = loop(cell, xs, states), loop(cell, xs[:, :2], tuple(state[:2] for state in states))
        assert_close(once, weight_gradients(cell, found[-1].sum() + more[-1].sum()))
    del found, more
    gc.collect()
    assert len(cell_step._known) == before


def test_only_what_is_asked_for_is_made(lstm: Given) -> None:
    cell, xs, states = lstm
    with gw.backend("llvm"):
        total = sum(state.sum() for state in loop(cell, xs, states))
        (weights,) = [each for each in cell_step._known.values() if each.parameters[0] is cell.weight_ih]
        torch.autograd.grad(total, [*states], retain_graph=True)
        assert not len(weights._gathered), "nobody asked for the weights' gradients"
        whole = torch.autograd.grad(total, [*cell.parameters()], retain_graph=True)
        assert not len(weights._gathered)
        (one,) = torch.autograd.grad(total, [cell.weight_hh])
        assert torch.equal(one, whole[1])
        cell.weight_ih.requires_grad_(False)
        cell.bias_hh.requires_grad_(False)
        some = weight_gradients(cell, sum(state.sum() for state in loop(cell, xs, states)))
        assert_close(some, [whole[1], whole[2]])
        assert cell.weight_ih.grad is None
        cell.requires_grad_(False)
        (of_state, _) = torch.autograd.grad(sum(s.sum() for s in loop(cell, xs, states)), states)
        assert of_state.any()


def test_a_backward_pass_that_fails_leaves_nothing_to_the_next(lstm: Given) -> None:
    cell, xs, states = lstm
    with gw.backend("llvm"):
        found = loop(cell, xs, states)
        expected = weight_gradients(cell, found[-1].sum())

        def fail(gradient: Tensor) -> None:
            raise KeyError("on purpose")

        hook = found[1].register_hook(fail)
        with pytest.raises(KeyError):
            found[-1].sum().backward(retain_graph=True)
        hook.remove()
        assert_close(weight_gradients(cell, found[-1].sum()), expected)


def test_a_weight_changed_in_place_is_noticed_and_one_changed_without_a_word_is_read(lstm: Given) -> None:
    cell, xs, states = lstm
    with gw.backend("llvm"):
        found = loop(cell, xs, states)
        with torch.no_grad():
            cell.weight_hh.mul_(2.0)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            found[-1].sum().backward()
        cell.weight_hh.data.mul_(0.5)  # the version that torch counts stays the same
        assert_close(loop(cell, xs, states), found)


def test_states_may_be_written_into(lstm: Given) -> None:
    cell, xs, states = lstm
    with gw.backend("llvm"):
        h, c = cell(xs[0], states)
        expected = torch.autograd.grad((h * 2).sum() + c.sum(), [*cell.parameters()], retain_graph=True)
        h.mul_(2.0)
        assert_close(torch.autograd.grad(h.sum() + c.sum(), [*cell.parameters()]), expected)


def test_derivatives_of_derivatives_and_batches_of_gradients(lstm: Given) -> None:
    cell, xs, states = lstm

    def second() -> list[Tensor]:
        first = torch.autograd.grad(
            loop(cell, xs, states)[-2].sin().sum(), [*cell.parameters()], create_graph=True
        )
        return [*first, *torch.autograd.grad(sum(g.square().sum() for g in first), [*cell.parameters()])]

    def jacobian() -> list[Tensor]:
        new = loop(cell, xs, states)[-2][:2, :3].reshape(-1)
        return list(
            torch.autograd.grad(
                new,
                [*cell.parameters(), *states],
                torch.eye(len(new), dtype=new.dtype),
                is_grads_batched=True,
            )
        )

    for ask in (second, jacobian):
        with gw.backend("llvm"):
            got = ask()
        with gw.backend("eager"):
            assert_close(got, ask())


@pytest.mark.parametrize("reentrant", [True, False])
def test_checkpoints_take_a_step_again(lstm: Given, reentrant: bool) -> None:
    cell, xs, states = lstm

    def steps(h: Tensor, c: Tensor) -> tuple[Tensor, ...]:
        return loop(cell, xs, (h, c))[-2:]

    with gw.backend("llvm"):
        expected = weight_gradients(cell, sum(state.sum() for state in steps(*steps(*states))))
        middle = checkpoint(steps, *states, use_reentrant=reentrant)
        last = checkpoint(steps, *middle, use_reentrant=reentrant)
        cell.zero_grad()
        sum(state.sum() for state in last).backward()
        assert_close([parameter.grad for parameter in cell.parameters()], expected)


def test_two_threads_go_back_at_once_through_steps_of_the_same_weights(lstm: Given) -> None:
    cell, xs, states = lstm
    found: dict[int, tuple[Tensor, ...]] = {}

    def work(number: int) -> None:
        with gw.backend("llvm"):
            for _ in range(20):
                last = loop(cell, xs * (number + 1), states)[-1]
                found[number] = torch.autograd.grad(last.sum(), [*cell.parameters()])

    threads = [threading.Thread(target=work, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number in range(2):
        with gw.backend("eager"):
            last = loop(cell, xs * (number + 1), states)[-1]
            assert_close(found[number], torch.autograd.grad(last.sum(), [*cell.parameters()]))


@pytest.mark.parametrize("isa", ["avx2", "avx512"])
def test_auto_takes_the_engine_for_steps_that_repay_its_call(
    isa: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    bounds = costs.REPAID_STEP.get(isa, costs.REPAID_ELSEWHERE)
    monkeypatch.setattr(call_plan, "repaid_from", lambda training: bounds[training])

    def taken(rows: int, units: int, input_gradient: bool | None) -> bool:
        stack = made("LSTMCell", torch.float32, units, units)._stack
        plan = call_plan.plan_cell_step.__wrapped__(stack, "auto", torch.float32, rows, input_gradient)
        return plan is not None

    assert taken(32, 256, None)
    assert taken(8, 256, True)
    assert taken(8, 256, None) == taken(8, 64, None) == (isa == "avx2")
    assert not taken(8, 64, True), "torch makes gradients of so few weights as quickly"
    assert not taken(1, 256, None), "one row does not repay bringing a block in order"


def test_an_instruction_set_has_its_own_bounds() -> None:
    isa = engine_target.host().isa
    assert costs.repaid_from(True) == costs.REPAID_ELSEWHERE[1]
    assert (costs.repaid_from(False) == costs.REPAID_ELSEWHERE[0]) == (isa != "avx512")


def test_a_step_of_auto_is_torchs_to_rounding() -> None:
    large, plain = gw.LSTMCell(200, 256), nn.LSTMCell(200, 256)
    plain.load_state_dict(large.state_dict())
    x, states = torch.randn(8, 200).t().contiguous().t(), (torch.randn(8, 256), torch.randn(8, 256))
    (h, c), (h_plain, c_plain) = large(x, states), plain(x, states)
    assert "_Step" in h.grad_fn.name(), "the input's columns stand side by side"
    assert_close((h, c), (h_plain, c_plain))
    assert_close(large(x), plain(x))
    assert_close(large(x[0]), plain(x[0]))
    wrong = torch.randn(8, 255)
    with pytest.raises(ValueError, match="rows and units"):
        large(x, (wrong, states[1]))
