"""What every cell must pass: `check_cell(cell)` raises AssertionError at the first property that fails.

It runs over the whole catalogue, and over any cell of a user (`tests.contracts.cell_contract.check_cell`).
Each property is a function of a layer, so that a test can hand it a layer with a fault planted
and see it caught. Everything runs in float64 on the eager backend: the reference.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

import gatework as gw
from gatework.graph import lower
from gatework.graph.node import resolve
from tests.contracts.derivative import check_derivative
from tests.tensors import flat
from tests.tolerances import FINITE_DIFFERENCES, assert_close

RAGGED = (7, 0, 3, 7, 1)

Layer = Callable[..., Any]

ALONE = [
    name for name in gw.cells.names() if all(spec.kind == "input" for spec in gw.cells.get(name).graph.inputs)
]
"""The catalogue's cells that read sequences and states alone; the decoders are in tests/cells/test_decoders.py."""


def check_cell(cell: gw.Cell, multiple: int = 1) -> None:
    """Gradients to second order, splitting, padding, batch order, streams, recording, JSON, derived backward.

    Args:
        cell: one that takes sequences and states alone.
        multiple: of what its hidden sizes are, as of the heads of a weight.

    Raises:
        AssertionError: a property does not hold; the message says which.
    """
    check_graph_round_trip(cell, 4 * multiple)
    check_derivative(cell.graph, lower(cell.graph, "derive"))
    for input_size, hidden_size, options in (
        (3, 4, {}),
        (1, 7, {"num_layers": 2}),
        (7, 1, {}),
        (2, 3, {"bidirectional": True, "num_layers": 2}),
        (2, 3, {"bias": False}),
        (3, 3, {"residual": True, "num_layers": 2}),
    ):
        hidden_size *= multiple
        if not fits(cell, input_size, hidden_size, **options):
            continue
        layer, input_size = side_by_side(reference_layer(cell, input_size, hidden_size, **options))
        check_rows_alone(layer, input_size)
        check_padding(layer, input_size)
        check_batch_order(layer, input_size)
        check_recording(layer, input_size)
        if not options.get("bidirectional"):
            check_split(layer, input_size)
            check_stream(layer, input_size)
    for options in ({}, {"bidirectional": True}):
        check_gradients(*side_by_side(reference_layer(cell, 2, 3 * multiple, **options)))


def fits(
    cell: gw.Cell,
    input_size: int,
    hidden_size: int,
    num_layers: int = 1,
    bidirectional: bool = False,
    **_: Any,
) -> bool:
    """Whether layers may stand on one another: not where a further input or a state has the width of what the first
    layer reads, and the layers above it read another one."""
    graph = cell.graph
    specs = [*graph.inputs[1:], *graph.states]
    as_wide = any(spec.size == "input_size" for spec in specs)
    return num_layers == 1 or not as_wide or input_size == hidden_size * (1 + bidirectional)


class SideBySide(nn.Module):
    """A layer whose further inputs stand beside its input in one tensor: (T, B, the sum of their sizes)."""

    def __init__(self, layer: gw.Recurrent) -> None:
        super().__init__()
        self.layer = layer
        sizes = layer.stack.layer_sizes(0)
        self.widths = {spec.name: resolve(spec.size, sizes) for spec in layer.cell.graph.inputs}

    def forward(self, x: Tensor, hx: Any = None, **options: Any) -> Any:
        x, inputs = self._apart(x)
        return self.layer(x, hx, inputs=inputs, **options)

    def stream(self, batch_size: int) -> Any:
        return StreamSideBySide(self.layer.stream(batch_size), self._apart)

    def _apart(self, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        first, *rest = x.split(list(self.widths.values()), dim=-1)
        return first, dict(zip(list(self.widths)[1:], rest, strict=True))


class StreamSideBySide:
    """The stream of such a layer."""

    def __init__(self, stream: Any, apart: Callable[[Tensor], tuple[Tensor, dict[str, Tensor]]]) -> None:
        self.stream, self.apart, self.reset = stream, apart, stream.reset

    @property
    def state(self) -> Any:
        return self.stream.state

    def step(self, x: Tensor) -> Any:
        return self.stream.step(*self.apart(x))


def side_by_side(layer: gw.Recurrent) -> tuple[Any, int]:
    """The layer and the width of what it reads; as `SideBySide` where that is more than its input."""
    if len(layer.cell.graph.inputs) == 1:
        return layer, layer.input_size
    joined = SideBySide(layer).eval()
    return joined, sum(joined.widths.values())


def reference_layer(cell: gw.Cell, input_size: int, hidden_size: int, **options: Any) -> gw.Recurrent:
    """A float64 layer whose every weight is random: biases, gains and peepholes too."""
    torch.manual_seed(11)
    if "proj_size" in cell.graph.sizes():
        options["proj_size"] = max(1, hidden_size - 1)
    layer = gw.Recurrent(cell, input_size, hidden_size, dtype=torch.float64, **options)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(0.6 * torch.randn_like(parameter) + 0.1)
    return layer.eval()


def like(state: Any, tensors: Iterator[Tensor]) -> Any:
    """The tensors in the structure of `state`."""
    return next(tensors) if isinstance(state, Tensor) else tuple(like(part, tensors) for part in state)


def mapped(state: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """The state with each of its tensors changed."""
    return like(state, iter([change(tensor) for tensor in flat(state)]))


def assert_same(what: str, got: Any, expected: Any) -> None:
    """Both hold the same tensors up to rounding; NaN equals nothing."""
    mine, theirs = flat(got), flat(expected)
    assert len(mine) == len(theirs), f"{what}: {len(mine)} tensors, not {len(theirs)}"
    for a, b in zip(mine, theirs, strict=True):
        # Rounding differs where torch's products differ in shape (one step, the whole sequence, one row).
        assert_close(a, b, what=what)


def sequence(steps: int, batch: int, input_size: int, seed: int = 1) -> Tensor:
    """A random input, (T, B, I)."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(steps, batch, input_size, generator=generator, dtype=torch.float64)


def reached_state(layer: Layer, batch: int, input_size: int) -> Any:
    """A state that the layer reaches by itself: a cell may have states that not every number can be."""
    with torch.no_grad():
        return run(layer, sequence(3, batch, input_size, seed=2))[1]


def run(layer: Layer, *args: Any, **options: Any) -> Any:
    with gw.backend("eager"):
        return layer(*args, **options)


def gradients(layer: nn.Module, x: Tensor, **options: Any) -> list[Tensor]:
    """Gradients of a sum that weighs outputs and states differently: of the input, then the parameters."""
    x = x.clone().requires_grad_()
    values = flat(run(layer, x, **options))
    loss = torch.stack(
        [(v * torch.linspace(0.5, 1.5, v.numel(), dtype=v.dtype).view_as(v)).sum() for v in values]
    )
    wanted = [x, *layer.parameters()]
    found = torch.autograd.grad(loss.sum(), wanted, allow_unused=True)
    return [torch.zeros_like(w) if g is None else g for w, g in zip(wanted, found, strict=True)]


def check_gradients(layer: gw.Recurrent, input_size: int) -> None:
    """Analytic first and second derivatives are the numeric ones, in input, state and parameters."""
    lengths = torch.tensor([3, 1, 0])
    x = sequence(3, 3, input_size)
    state = reached_state(layer, 3, input_size)
    names = [name for name, _ in layer.named_parameters()]
    values = [x, *flat(state), *(p.detach() for p in layer.parameters())]
    values = [v.clone().requires_grad_() for v in values]

    def outputs(*values: Tensor) -> tuple[Tensor, ...]:
        x, *rest = values
        count = len(flat(state))
        start = like(state, iter(rest[:count]))
        weights = dict(zip(names, rest[count:], strict=True))
        with gw.backend("eager"):
            return tuple(flat(functional_call(layer, weights, (x, start), {"lengths": lengths})))

    torch.manual_seed(4)
    relative, absolute = FINITE_DIFFERENCES[torch.float64]
    assert torch.autograd.gradcheck(outputs, values, rtol=relative, atol=absolute, fast_mode=True), (
        "first derivatives"
    )
    assert torch.autograd.gradgradcheck(outputs, values, fast_mode=True), "second derivatives"


def check_split(layer: Layer, input_size: int) -> None:
    """A sequence in two calls, the state carried, is the sequence in one."""
    for steps, batch in ((7, 5), (2, 1)):
        x = sequence(steps, batch, input_size)
        whole, last = run(layer, x)
        for cut in {1, steps - 1}:
            first, state = run(layer, x[:cut])
            second, state = run(layer, x[cut:], state)
            assert_same(f"split at {cut} of {steps}", torch.cat([first, second]), whole)
            assert_same(f"state after a split at {cut} of {steps}", state, last)


def check_rows_alone(layer: Layer, input_size: int) -> None:
    """Each row of a ragged batch is what it is alone, at its own length; an empty one keeps its state."""
    x, lengths = sequence(max(RAGGED), len(RAGGED), input_size), torch.tensor(RAGGED)
    start = reached_state(layer, len(RAGGED), input_size)
    output, last = run(layer, x, start, lengths=lengths)
    for row, length in enumerate(RAGGED):
        own = mapped(start, lambda s, row=row: s[:, row : row + 1])
        state = mapped(last, lambda s, row=row: s[:, row : row + 1])
        assert not output[length:, row].any(), "outputs past the length are not zero"
        if length == 0:
            assert_same("the state of an empty sequence", state, own)
            continue
        alone, state_alone = run(layer, x[:length, row : row + 1], own)
        assert_same(f"a row of {length} steps", output[:length, row : row + 1], alone)
        assert_same(f"the state of a row of {length} steps", state, state_alone)


def check_padding(layer: nn.Module, input_size: int) -> None:
    """What stands in the padding, NaN too, reaches no output, no state and no gradient."""
    lengths = torch.tensor(RAGGED)
    clean = sequence(max(RAGGED), len(RAGGED), input_size)
    past = (torch.arange(max(RAGGED))[:, None] >= lengths)[..., None]  # (T, B, 1)
    expected, expected_gradients = (
        run(layer, clean, lengths=lengths),
        gradients(layer, clean, lengths=lengths),
    )
    assert not expected_gradients[0].masked_select(past).any(), "the padding has a gradient"
    for filling in (float("nan"), float("inf"), 1e30):
        spoiled = clean.masked_fill(past, filling)
        assert_same(f"{filling} in the padding", run(layer, spoiled, lengths=lengths), expected)
        assert_same(
            f"gradients with {filling} in the padding",
            gradients(layer, spoiled, lengths=lengths),
            expected_gradients,
        )


def check_batch_order(layer: Layer, input_size: int) -> None:
    """Rows in another order give the same rows in that order."""
    order = torch.tensor([3, 0, 4, 2, 1])
    x, lengths = sequence(7, 5, input_size), torch.tensor(RAGGED)
    for options in ({}, {"lengths": lengths}):
        output, state = run(layer, x, **options)
        moved = {key: value[order] for key, value in options.items()}
        got, got_state = run(layer, x[:, order], **moved)
        assert_same("rows in another order", got, output[:, order])
        assert_same("states in another order", got_state, mapped(state, lambda s: s[:, order]))


def check_stream(layer: gw.Recurrent, input_size: int) -> None:
    """A stream, step by step, is the sequence; a reset starts it again."""
    for batch in (1, 5):
        x = sequence(7, batch, input_size)
        with torch.no_grad():
            output, state = run(layer, x)
        stream = layer.stream(batch_size=batch)
        for _ in range(2):
            steps = [stream.step(step).clone() for step in x]
            assert_same("a stream", torch.stack(steps), output)
            assert_same("a stream's state", stream.state, state)
            stream.reset()


def check_recording(layer: gw.Recurrent, input_size: int) -> None:
    """Recording changes no number and no gradient."""
    x, lengths = sequence(7, 5, input_size), torch.tensor(RAGGED)
    expected, expected_gradients = run(layer, x, lengths=lengths), gradients(layer, x, lengths=lengths)
    with gw.record(layer):
        assert_same("recording", run(layer, x, lengths=lengths), expected)
    with gw.record(layer):
        assert_same("gradients while recording", gradients(layer, x, lengths=lengths), expected_gradients)


def check_graph_round_trip(cell: gw.Cell, hidden_size: int = 4) -> None:
    """The graph survives JSON, and so does what it computes."""
    again = gw.Cell.from_json(cell.to_json())
    assert again.graph == cell.graph, "graph -> JSON -> graph"
    assert again.equations() == cell.equations()
    read, written = (side_by_side(reference_layer(one, 3, hidden_size)) for one in (again, cell))
    x = sequence(3, 2, written[1])
    assert_same("a cell read from JSON", run(read[0], x), run(written[0], x))
