"""Recurrent layers in ONNX: as standard operators, as a Scan over a cell's graph, or as one step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from gatework.backends.torch_fused import fused_kind
from gatework.export.cell import Cell
from gatework.export.network import Network
from gatework.export.onnx.operations import Rendered
from gatework.export.onnx.writer import Writer, onnx
from gatework.graph.hoist import hoist
from gatework.graph.keys import ArrayKey
from gatework.graph.node import Graph

# Gates of ONNX's operators in their order, as positions in torch's: input, output, forget, candidate; update, reset.
_NATIVE = {
    "lstm": ("LSTM", (0, 3, 1, 2)),
    "gru": ("GRU", (1, 0, 2)),
    "rnn_tanh": ("RNN", (0,)),
    "rnn_relu": ("RNN", (0,)),
}


@dataclass(frozen=True)
class Reads:
    """What layers read beside their input.

    Attributes:
        inputs: further inputs, (T, B, size), or (B, size) for a step; by name.
        statics: (B, size)
        memories: (B, S, size)
        keys: of each cell, in its order: (B, S, A) by the name of the memory of keys.
        masks: (B, S) by the name of the memory, and of its keys.
        lengths: (B,) whole numbers; empty for a step.
    """

    inputs: Mapping[str, str]
    statics: Mapping[str, str]
    memories: Mapping[str, str]
    keys: tuple[Mapping[str, str], ...]
    masks: Mapping[str, str]
    lengths: str = ""

    def leaves(self, number: int) -> dict[ArrayKey, str]:
        """Of one cell, but for the inputs of each step."""
        found = {ArrayKey("static", name): value for name, value in self.statics.items()}
        memories = {**self.memories, **self.keys[number]}
        return found | {ArrayKey("memory", name): value for name, value in memories.items()}


def native_kind(network: Network) -> str | None:
    """Which of ONNX's operators computes the layers; None where none does."""
    kind = fused_kind(network.graph)
    return None if kind is None or len(network.graph.slots()) != 2 or kind not in _NATIVE else kind


def native_layer(
    writer: Writer, network: Network, layer: int, x: str, states: list[str], lengths: str
) -> tuple[str, list[str]]:
    """A layer in all its directions by ONNX's own operator.

    Args:
        x: (T, B, I); states: (D, B, H) each.

    Returns:
        (T, B, D * H), and the states after each row's last step.
    """
    kind, ways = native_kind(network), network.stack.directions
    op, order = _NATIVE[str(kind)]
    cells = network.cells[layer * ways : (layer + 1) * ways]
    blocks = network.graph.slots()
    size = cells[0].weights["hh", blocks["hh"][0].gate].shape[1]

    def packed(cell: Cell, slot: str) -> np.ndarray:
        return np.concatenate([cell.weights[slot, blocks[slot][place].gate] for place in order])

    def biases(cell: Cell, slot: str) -> np.ndarray:
        missing = np.zeros(size, np.float32)
        return np.concatenate([cell.biases.get((slot, blocks[slot][place].gate), missing) for place in order])

    given = [x]
    for slot in ("ih", "hh"):
        rows = [writer.weight(packed(cell, slot)) for cell in cells]
        parts = [writer.node("Unsqueeze", [each, writer.numbers(0)]) for each in rows]
        given.append(parts[0] if len(parts) == 1 else writer.node("Concat", parts, axis=0))
    given.append(
        writer.array([np.concatenate([biases(cell, slot) for slot in ("ih", "hh")]) for cell in cells])
    )
    given += [writer.node("Cast", [lengths], to=onnx().TensorProto.INT32), *states]
    attributes = {"direction": "bidirectional" if ways == 2 else "forward", "hidden_size": size}
    if op == "GRU":
        attributes["linear_before_reset"] = 1
    if kind == "rnn_relu":
        attributes["activations"] = ["Relu"] * ways
    output, *finals = writer.node(op, given, 3 if op == "LSTM" else 2, **attributes)
    turned = writer.node("Transpose", [output], perm=[0, 2, 1, 3])  # (T, B, D, H)
    return writer.node("Reshape", [turned, writer.numbers(0, 0, ways * size)]), finals


def scanned_cell(
    writer: Writer, network: Network, number: int, x: str, states: list[str], reads: Reads
) -> tuple[str, list[str], dict[str, str]]:
    """One layer in one direction as a Scan; what needs no state is computed for all steps before it.

    Args:
        x: (T, B, I); states: (B, size) each.

    Returns:
        (T, B, H), zero past a row's length; the states after its last step; and what it emits, by name.
    """
    cell, reverse = network.cells[number], number % network.stack.directions
    sequences = {ArrayKey("input", network.graph.inputs[0].name): x}
    sequences |= {ArrayKey("input", name): value for name, value in reads.inputs.items()}
    if reverse:
        sequences = {key: _turned(writer, value, reads.lengths) for key, value in sequences.items()}
    split = hoist(cell.graph)
    fixed = reads.leaves(number)
    if split.hoisted is not None:
        before_loop = Rendered(writer, cell, split.hoisted, {**sequences, **fixed}).outputs()
        timed = _of_inputs(split.hoisted)
        sequences |= {key: name for key, name in before_loop.items() if key in timed}
        fixed |= {key: name for key, name in before_loop.items() if key not in timed}
    sequences = {spec.key: sequences[spec.key] for spec in split.loop.inputs if spec.key in sequences}
    body = Writer(writer)
    time = steps_of(writer, x)
    before = {state.name: body.name("before") for state in split.loop.states}
    now, step = {key: body.name("now") for key in sequences}, body.name("step")
    leaves = {
        **fixed,
        **now,
        **{ArrayKey("state", each): name for each, name in before.items()},
    }
    made = Rendered(body, cell, split.loop, leaves, reads.masks).outputs()
    live = body.node("Unsqueeze", [body.node("Less", [step, reads.lengths]), body.numbers(1)])
    after = [body.node("Where", [live, made[ArrayKey("state", name)], old]) for name, old in before.items()]
    nothing = body.array([0.0])
    emits = [key for key in made if key.kind == "emit"]
    gives = [body.node("Where", [live, made[key], nothing]) for key in (network_output(network), *emits)]
    outs = [body.node("Identity", [name]) for name in (*after, *gives)]  # each is the body's own
    graph = onnx().helper.make_graph(
        body.nodes,
        f"{network.name}_step_{number}",
        [
            *(body.value(name, None) for name in before.values()),
            body.value(step, [], "INT64"),
            *(body.value(name, None) for name in now.values()),
        ],
        [body.value(name, None) for name in outs],
    )
    results = writer.node(
        "Scan",
        [*states, time, *sequences.values()],
        len(outs),
        body=graph,
        num_scan_inputs=1 + len(sequences),
    )
    results = [results] if isinstance(results, str) else results
    finals, values = results[: len(states)], results[len(states) :]
    if reverse:
        values = [_turned(writer, value, reads.lengths) for value in values]
    return values[0], finals, dict(zip((key.name for key in emits), values[1:], strict=True))


def _of_inputs(graph: Graph) -> set[ArrayKey]:
    """The outputs of a graph that differ from step to step: they are computed from inputs."""
    timed: list[bool] = []
    for node in graph.nodes:
        timed.append(node.op == "input" or any(timed[arg] for arg in node.args))
    return {key for key, index in graph.outputs if timed[index]}


def network_output(network: Network) -> ArrayKey:
    """The key of a cell's output: its first state."""
    return ArrayKey("state", network.graph.states[0].name)


def stepped_cell(
    writer: Writer, network: Network, number: int, x: str, states: list[str], reads: Reads
) -> tuple[str, list[str], dict[str, str]]:
    """One layer's step: (B, H), the new states, and what it emits.

    Args:
        x: (B, I); states: (B, size) each.
    """
    cell = network.cells[number]
    leaves = {ArrayKey("input", network.graph.inputs[0].name): x, **reads.leaves(number)}
    leaves |= {ArrayKey("input", name): value for name, value in reads.inputs.items()}
    leaves |= {
        ArrayKey("state", state.name): name for state, name in zip(network.graph.states, states, strict=True)
    }
    made = Rendered(writer, cell, cell.graph, leaves, reads.masks).outputs()
    finals = [made[ArrayKey("state", state.name)] for state in network.graph.states]
    return finals[0], finals, {key.name: name for key, name in made.items() if key.kind == "emit"}


def steps_of(writer: Writer, x: str) -> str:
    """The numbers of the steps of a sequence, (T, …): 0 to T - 1."""
    shape = writer.node("Shape", [x], start=0, end=1)
    count = writer.node("Squeeze", [shape, writer.numbers(0)])
    return str(writer.node("Range", [writer.array(0, np.int64), count, writer.array(1, np.int64)]))


def _turned(writer: Writer, value: str, lengths: str) -> str:
    """Each row reversed within its own length."""
    return str(writer.node("ReverseSequence", [value, lengths], batch_axis=1, time_axis=0))
