"""What autograd may ask of a layer beside a gradient: its memory back, batches of gradients, outputs that change."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import gatework as gw
from gatework.backends import BACKENDS
from gatework.layers.softmax import Softmax
from tests.tolerances import EXACT, GRADIENTS, assert_close

STEPS, ROWS, INPUT, HIDDEN = 5, 3, 4, 6

LAYERS: dict[str, Callable[[], Any]] = {
    "stack": lambda: gw.GRU(INPUT, HIDDEN, num_layers=2),
    "lstm": lambda: gw.LSTM(INPUT, HIDDEN),
    "both_directions": lambda: gw.GRU(INPUT, HIDDEN, bidirectional=True),
    "no_operator_of_torch": lambda: gw.Recurrent("layer_norm_lstm", INPUT, HIDDEN, bidirectional=True),
    "attends": lambda: gw.Recurrent("bahdanau_lstm", INPUT, HIDDEN, sizes={"memory_size": 4}),
}
layers = pytest.mark.parametrize("name", LAYERS)


def output_of(layer: gw.Recurrent, x: Tensor, lengths: list[int] | None = None) -> Tensor:
    """What the layer gives first."""
    memory = (
        {"memory": torch.ones(3, x.shape[1], 4, dtype=x.dtype)}
        if layer.cell.graph.inputs_of_kind("memory")
        else {}
    )
    output: Any = layer(x, lengths=lengths, **memory)[0]
    return torch.cat(list(output.values()), -1) if isinstance(output, dict) else output


# -- memory


MEASURE = """
import os, torch, gatework as gw
from torch import nn
from torch.utils.checkpoint import checkpoint

torch.set_num_threads(1)

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

def summed_losses(layer):
    x, total = torch.randn(50, 32, 64), 0.0
    for step in range(42):
        if step == 2:  # what is made once is there
            before = resident()
        loss = layer(x)[0].square().mean()
        loss.backward()
        total = total + loss
    return resident() - before

def checkpointed(layer, use):
    x = torch.randn(50, 32, 64, requires_grad=True)
    for _ in range(2):  # what is made and imported once is there
        loss = checkpoint(lambda x: layer(x)[0], x, use_reentrant=False).sum()
        loss.backward()
        loss = layer(x)[0].sum()
        loss.backward()
        del loss
    before, total = resident(), 0.0
    for _ in range(30):
        output = checkpoint(lambda x: layer(x)[0], x, use_reentrant=False) if use else layer(x)[0]
        total = total + output[:, :, :1].sum()
        del output
    held = resident() - before
    total.backward()
    return held
"""


def measured(code: str) -> list[int]:
    """Bytes that a program of its own prints, one a line."""
    done = subprocess.run([sys.executable, "-c", MEASURE + code], capture_output=True, text=True, check=True)
    return [int(line) for line in done.stdout.split()]


@pytest.mark.skipif(sys.platform != "linux", reason="a process reads what memory it holds on Linux alone")
@pytest.mark.parametrize("layer", ["gw.GRU(64, 128)", "gw.GRU(64, 64, bidirectional=True)"])
def test_a_sum_of_losses_holds_no_activations(layer: str) -> None:
    """After backward() what was saved is free, though the losses live on; held, it was 213 MiB here."""
    [held] = measured(f"print(summed_losses({layer}))")
    assert held < 32 << 20


@pytest.mark.skipif(sys.platform != "linux", reason="a process reads what memory it holds on Linux alone")
def test_a_checkpoint_saves_memory() -> None:
    [plain] = measured("print(checkpointed(gw.GRU(64, 128), False))")
    [saved] = measured("print(checkpointed(gw.GRU(64, 128), True))")
    assert saved < plain / 3


@layers
def test_everything_that_is_saved_passes_the_hooks_for_saved_tensors(name: str) -> None:
    """A layer whose saved tensors are taken away and given back by hooks has the same gradients."""
    layer, x = LAYERS[name](), torch.randn(STEPS, ROWS, INPUT, requires_grad=True)
    expected = torch.autograd.grad(output_of(layer, x).square().sum(), [x, *layer.parameters()])
    seen: list[Tensor] = []

    def pack(value: Tensor) -> int:
        seen.append(value.detach().clone())
        return len(seen) - 1

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda index: seen[index]):
        loss = output_of(layer, x).square().sum()
    found = torch.autograd.grad(loss, [x, *layer.parameters()])
    for a, b in zip(found, expected, strict=True):
        assert_close(a, b, EXACT)


@layers
@pytest.mark.parametrize("lengths", [None, [STEPS, *[2] * (ROWS - 1)]], ids=["dense", "ragged"])
def test_a_hook_may_give_saved_tensors_back_with_other_strides(name: str, lengths: list[int] | None) -> None:
    """What hooks for saved tensors give back need not be laid out in memory as what they took."""
    layer, x = LAYERS[name](), torch.randn(STEPS, ROWS, INPUT, requires_grad=True)
    expected = torch.autograd.grad(output_of(layer, x, lengths).square().sum(), [x, *layer.parameters()])

    def turned(value: Tensor) -> Tensor:
        return value.detach().movedim(0, -1).contiguous()

    with torch.autograd.graph.saved_tensors_hooks(turned, lambda value: value.movedim(-1, 0)):
        loss = output_of(layer, x, lengths).square().sum()
    found = torch.autograd.grad(loss, [x, *layer.parameters()])
    for a, b in zip(found, expected, strict=True):
        assert_close(a, b, EXACT)


def test_a_hook_that_changes_a_dtype_is_refused() -> None:
    """It crashed the process."""

    def halved(value: Tensor) -> Tensor:
        return value.half() if value.is_floating_point() else value

    layer, x = gw.GRU(INPUT, HIDDEN), torch.randn(STEPS, ROWS, INPUT, requires_grad=True)
    for lengths in (None, [STEPS, *[2] * (ROWS - 1)]):
        with torch.autograd.graph.saved_tensors_hooks(halved, lambda value: value):
            loss = output_of(layer, x, lengths).square().sum().float()
        with pytest.raises(TypeError, match="float16"), gw.backend("llvm"):
            loss.backward()


@layers
def test_a_checkpoint_has_the_same_gradients(name: str) -> None:
    layer, x = LAYERS[name](), torch.randn(STEPS, ROWS, INPUT, requires_grad=True)
    expected = torch.autograd.grad(output_of(layer, x).square().sum(), [x, *layer.parameters()])
    output = checkpoint(lambda x: output_of(layer, x).mul_(1.0), x, use_reentrant=False)
    found = torch.autograd.grad(output.square().sum(), [x, *layer.parameters()])
    for a, b in zip(found, expected, strict=True):
        assert_close(a, b, EXACT)


# -- outputs that change in place


@layers
@pytest.mark.parametrize("lengths", [None, [2, 5, 3]])
def test_an_output_may_be_changed_in_place(name: str, lengths: list[int] | None) -> None:
    layer, x = LAYERS[name](), torch.randn(STEPS, ROWS, INPUT, requires_grad=True)

    def grow(y: Tensor) -> Tensor:
        y += 0.5
        return y

    def begin_with_zero(y: Tensor) -> Tensor:
        y[0] = 0
        return y

    changes: list[tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]] = [
        (nn.ReLU(inplace=True), torch.relu),
        (grow, lambda y: y + 0.5),
        (begin_with_zero, lambda y: torch.cat([torch.zeros_like(y[:1]), y[1:]])),
    ]
    for in_place, out_of_place in changes:
        wanted = [x, *layer.parameters()]
        expected = torch.autograd.grad(out_of_place(output_of(layer, x, lengths)).square().sum(), wanted)
        found = torch.autograd.grad(in_place(output_of(layer, x, lengths)).square().sum(), wanted)
        for a, b in zip(found, expected, strict=True):
            torch.testing.assert_close(a, b)


def test_states_may_be_changed_in_place() -> None:
    for layer in (gw.LSTM(INPUT, HIDDEN, num_layers=2), gw.LSTM(INPUT, HIDDEN, bidirectional=True)):
        x = torch.randn(STEPS, ROWS, INPUT, requires_grad=True)
        _, (h, c) = layer(x)
        expected = torch.autograd.grad((h * 2).square().sum() + (c + 1).square().sum(), x)[0]
        _, (h, c) = layer(x)
        h *= 2
        c += 1
        torch.testing.assert_close(torch.autograd.grad(h.square().sum() + c.square().sum(), x)[0], expected)


@pytest.mark.parametrize("steps", [1, 2])
@pytest.mark.parametrize("backend", ["auto", *BACKENDS])
def test_an_output_and_the_final_states_have_memory_of_their_own(backend: str, steps: int) -> None:
    """As those of torch.nn: what is written into one leaves the other as it was, with gradients and without."""
    for layer in (
        gw.LSTM(INPUT, HIDDEN),
        gw.GRU(INPUT, HIDDEN, num_layers=2),
        gw.RNN(INPUT, HIDDEN, bidirectional=True),
    ):
        for training in (True, False):
            with gw.backend(backend), torch.set_grad_enabled(training):
                output, state = layer(torch.randn(steps, ROWS, INPUT))
                states = [each.clone() for each in (state if isinstance(state, tuple) else (state,))]
                before = output.clone()
                output += 1
                for own, kept in zip(state if isinstance(state, tuple) else (state,), states, strict=True):
                    assert torch.equal(own, kept)
                    own *= 2
                assert torch.equal(output, before + 1)


# -- batches of gradients


@layers
@pytest.mark.parametrize("lengths", [None, [2, 5, 3]])
@pytest.mark.filterwarnings("ignore:There is a performance drop")
def test_gradients_come_in_batches(name: str, lengths: list[int] | None) -> None:
    layer, x = LAYERS[name](), torch.randn(STEPS, ROWS, INPUT, requires_grad=True)
    output = output_of(layer, x, lengths)
    towards = torch.randn(4, *output.shape)
    wanted = [x, *layer.parameters()]
    batched = torch.autograd.grad(output, wanted, towards, is_grads_batched=True, retain_graph=True)
    for index, one in enumerate(towards):
        alone = torch.autograd.grad(output, wanted, one, retain_graph=True)
        for a, b in zip(batched, alone, strict=True):
            assert_close(a[index], b, GRADIENTS)


@pytest.mark.filterwarnings("ignore:There is a performance drop")
@pytest.mark.parametrize("module", [Softmax(HIDDEN, 11), gw.Linear(HIDDEN, 7)])
def test_gradients_of_a_vocabulary_come_in_batches(module: nn.Module) -> None:
    hidden = torch.randn(9, HIDDEN, requires_grad=True)
    output = module.loss(hidden, torch.arange(9)) if isinstance(module, Softmax) else module(hidden)
    towards = torch.randn(4, *output.shape)
    batched = torch.autograd.grad(output, hidden, towards, is_grads_batched=True, retain_graph=True)[0]
    for index, one in enumerate(towards):
        torch.testing.assert_close(
            batched[index], torch.autograd.grad(output, hidden, one, retain_graph=True)[0]
        )


@pytest.mark.filterwarnings("ignore:There is a performance drop")
def test_a_vectorised_jacobian_is_the_jacobian() -> None:
    layer, x = gw.LSTM(2, 3), torch.randn(3, 2, 2)
    plain = torch.autograd.functional.jacobian(lambda x: layer(x)[0], x)
    vectorised = torch.autograd.functional.jacobian(lambda x: layer(x)[0], x, vectorize=True)
    torch.testing.assert_close(vectorised, plain)


@layers
@pytest.mark.filterwarnings("ignore:There is a performance drop")
def test_gradcheck_with_batches(name: str) -> None:
    layer = LAYERS[name]().double()
    x = torch.randn(2, 1, INPUT, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: output_of(layer, x), x, check_batched_grad=True)


# -- derivatives of derivatives


@pytest.mark.parametrize("name", ["stack", "lstm", "both_directions", "no_operator_of_torch"])
@pytest.mark.parametrize("backend", ["auto", "llvm", "eager"])
def test_second_derivatives_are_the_references(name: str, backend: str) -> None:
    """torch's cuDNN layers have none (pytorch#5261)."""
    layer = LAYERS[name]().double()
    x = torch.randn(STEPS, ROWS, INPUT, dtype=torch.float64, requires_grad=True)

    def second() -> tuple[Tensor, ...]:
        (first,) = torch.autograd.grad(output_of(layer, x).sin().sum(), x, create_graph=True)
        return torch.autograd.grad(first.square().sum(), [x, *layer.parameters()])

    with gw.backend("eager"):
        expected = second()
    with gw.backend(backend):
        found = second()
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("lengths", [None, [STEPS, *[1] * (ROWS - 1)]], ids=["dense", "ragged"])
def test_first_derivatives_to_be_derived_again_are_those_of_each_call_of_a_layer(
    lengths: list[int] | None,
) -> None:
    """The input of the second call is computed from the same weights: its gradients are not the second call's too."""
    layer = gw.LSTM(INPUT, INPUT).double()
    x = torch.randn(STEPS, ROWS, INPUT, dtype=torch.float64)
    total = output_of(layer, output_of(layer, x, lengths), lengths).sin().sum()
    expected = torch.autograd.grad(total, [*layer.parameters()], retain_graph=True)
    assert_close(torch.autograd.grad(total, [*layer.parameters()], create_graph=True), expected)


def test_first_derivatives_to_be_derived_again_are_those_of_a_softmax_with_tied_weights() -> None:
    softmax = Softmax(INPUT, 11).double()
    hidden, targets = softmax.weight[torch.tensor([1, 4, 4])], torch.tensor([0, 3, 10])
    total = softmax.loss(hidden, targets)
    expected = torch.autograd.grad(total, [*softmax.parameters()], retain_graph=True)
    assert_close(torch.autograd.grad(total, [*softmax.parameters()], create_graph=True), expected)
