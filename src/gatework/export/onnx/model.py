"""A network as ONNX models: whole sequences, and one step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gatework.export.cell import Array, width_of
from gatework.export.maps import VectorMap
from gatework.export.network import Network
from gatework.export.onnx.layers import Reads, native_kind, native_layer, scanned_cell, stepped_cell, steps_of
from gatework.export.onnx.operations import Rendered
from gatework.export.onnx.writer import IR_VERSION, OPSET, Writer, onnx
from gatework.graph.keys import ArrayKey
from gatework.graph.node import resolve
from gatework.layers.structure import suffix


@dataclass(frozen=True)
class StateName:
    """A state of one layer and direction, as a model names it.

    Attributes:
        units: of it; None for an alignment.
    """

    cell: int
    name: str
    units: int | None
    init: float
    steps: str

    @property
    def after(self) -> str:
        """As an output."""
        return f"next_{self.name}"


def state_names(network: Network) -> list[StateName]:
    """The states: cell by cell, in the order of the cell's."""
    names = []
    for number, (pair, cell) in enumerate(zip(network.stack.pairs, network.cells, strict=True)):
        for state in network.graph.states:
            units = width_of(cell, state.size)
            steps = f"{state.size}" if units is None else ""
            names.append(StateName(number, state.name + suffix(*pair), units, state.init, steps))
    return names


class ModelWriter:
    """A model under construction.

    Args:
        step: one step, (B, ·), instead of a sequence, (T, B, ·).
        native: whether ONNX's own recurrent operators may stand for layers.
    """

    def __init__(self, network: Network, *, step: bool, int8: bool, native: bool = True) -> None:
        self.network, self.step = network, step
        self.native = native and not step and native_kind(network) is not None
        self.writer = Writer(int8=int8)
        self.inputs: list[Any] = []
        self.outputs: list[Any] = []

    def made(self) -> Any:
        """The ModelProto."""
        e, network = self.writer, self.network
        value = self._first()
        reads = self._reads()
        states = [
            self._input(state.name, ["batch", state.steps or state.units]) for state in state_names(network)
        ]
        read_first, emits = value, {}
        after: list[str] = []
        count, ways = len(network.graph.states), network.stack.directions
        for layer in range(network.stack.num_layers):
            below, numbers = value, range(layer * ways, (layer + 1) * ways)
            own = [states[number * count : (number + 1) * count] for number in numbers]
            if self.native:
                value, finals = self._native(layer, below, own, reads.lengths)
            else:
                run = stepped_cell if self.step else scanned_cell
                made = [
                    run(e, network, n, below, given, reads) for n, given in zip(numbers, own, strict=True)
                ]
                value = _joined(e, [each[0] for each in made])
                finals = [final for each in made for final in each[1]]
                emits = {name: _joined(e, [each[2][name] for each in made]) for name in made[0][2]}
            if network.stack.residual and layer:
                value = e.node("Add", [value, below])
            after += finals
        if network.head is not None:
            known = {"output": value, "x": read_first, **emits}
            leaves = {spec.key: known[spec.name] for spec in network.head.graph.inputs}
            given = Rendered(e, network.head, network.head.graph, leaves).outputs()
            value = given[ArrayKey("emit", "output")]
            if not self.step:
                value = e.node("Where", [self._live(value, reads.lengths), value, e.array([0.0])])
        self._output("output", value, network.output_size)
        for name, emitted in emits.items():
            self._output(name, emitted, None)
        for state, final in zip(state_names(network), after, strict=True):
            e.node("Identity", [final], [state.after])
            self.outputs.append(e.value(state.after, ["batch", state.steps or state.units]))
        return self._model()

    # -- inputs and outputs

    @property
    def _leading(self) -> list[int | str | None]:
        return ["batch"] if self.step else ["steps", "batch"]

    def _input(self, name: str, shape: list[int | str | None], kind: str = "FLOAT") -> str:
        self.inputs.append(self.writer.value(name, shape, kind))
        return name

    def _output(self, name: str, value: str, units: int | None) -> None:
        self.writer.node("Identity", [value], [name])
        self.outputs.append(self.writer.value(name, [*self._leading, units]))

    def _first(self) -> str:
        """What the layers read: the input, or a token's row of the table."""
        network, e = self.network, self.writer
        if network.table is None:
            return self._input("x", [*self._leading, network.stack.input_size])
        tokens = self._input("tokens", self._leading, "INT64")
        return str(e.node("Gather", [e.weight(network.table), tokens], axis=0))

    def _reads(self) -> Reads:
        network, e = self.network, self.writer
        graph, sizes = network.graph, network.cells[0].sizes
        inputs = {
            spec.name: self._input(spec.name, [*self._leading, resolve(spec.size, sizes)])
            for spec in graph.inputs_of_kind("input")[1:]
        }
        statics = {
            spec.name: self._input(spec.name, ["batch", resolve(spec.size, sizes)])
            for spec in graph.inputs_of_kind("static")
        }
        memories, masks = {}, {}
        for spec in graph.inputs_of_kind("memory"):
            memories[spec.name], masks[spec.name] = self._memory(spec.name, resolve(spec.size, sizes))
        keys = [{name: memories[memory] for name, (memory, _) in cell.keys.items()} for cell in network.cells]
        for memory in memories:
            projections = projections_of(network, memory)
            if self.step and projections:
                made = self._given_keys(memory, [projection for _, _, projection in projections])
            else:
                made = [
                    e.node("MatMul", [memories[memory], e.weight(projection, transposed=True)])
                    for _, _, projection in projections
                ]
            for (number, name, _), each in zip(projections, made, strict=True):
                keys[number][name] = each
        lengths = "" if self.step else self._input("lengths", ["batch"], "INT64")
        return Reads(inputs, statics, memories, tuple(keys), masks, lengths)

    def _given_keys(self, memory: str, projections: list[Array]) -> list[str]:
        """The keys of a memory, (B, S, A) each, which were computed before the first step."""
        e, sizes = self.writer, [len(projection) for projection in projections]
        given = self._input(f"{memory}_keys", [f"{memory}_steps", "batch", sum(sizes)])
        rows = str(e.node("Transpose", [given], perm=[1, 0, 2]))
        return e.node("Split", [rows, e.numbers(*sizes)], len(sizes), axis=-1) if len(sizes) > 1 else [rows]

    def _memory(self, name: str, size: int) -> tuple[str, str]:
        """A memory, (B, S, M), 0 past its length, and which of its steps exist, (B, S)."""
        e = self.writer
        given = self._input(name, [f"{name}_steps", "batch", size])
        lengths = self._input(f"{name}_lengths", ["batch"], "INT64")
        steps = steps_of(e, given)
        exists = e.node("Less", [steps, e.node("Unsqueeze", [lengths, e.numbers(1)])])
        rows = e.node("Transpose", [given], perm=[1, 0, 2])
        kept = e.node("Where", [e.node("Unsqueeze", [exists, e.numbers(2)]), rows, e.array([0.0])])
        return str(kept), str(e.node("Cast", [exists], to=onnx().TensorProto.FLOAT))

    def _live(self, value: str, lengths: str) -> str:
        """(T, B, 1): which steps exist of a sequence, (T, B, ·)."""
        e = self.writer
        steps = e.node("Unsqueeze", [steps_of(e, value), e.numbers(1)])
        return str(e.node("Unsqueeze", [e.node("Less", [steps, lengths]), e.numbers(2)]))

    def _native(self, layer: int, x: str, states: list[list[str]], lengths: str) -> tuple[str, list[str]]:
        """A layer by ONNX's own operator; its states are those of its directions, one after the other."""
        e = self.writer
        rows = [[e.node("Unsqueeze", [name, e.numbers(0)]) for name in own] for own in states]
        joined = [
            each[0] if len(each) == 1 else e.node("Concat", each, axis=0)
            for each in map(list, zip(*rows, strict=True))
        ]
        output, finals = native_layer(e, self.network, layer, x, joined, lengths)
        after = []
        for direction in range(len(states)):
            for final in finals:
                after.append(e.node("Gather", [final, e.array(direction, "int64")], axis=0))
        return output, after

    def _model(self) -> Any:
        operator = str(native_kind(self.network)) if self.native else "scan"
        about = {"cell": self.network.graph.name, "operator": operator}
        return finished(self.writer, self.network.name, self.inputs, self.outputs, about)


def projections_of(network: Network, memory: str) -> list[tuple[int, str, Array]]:
    """What a memory is projected by: a cell's number, the name of the keys there, and (A, M)."""
    return [
        (number, name, projection)
        for number, cell in enumerate(network.cells)
        for name, (of, projection) in cell.keys.items()
        if of == memory and projection is not None
    ]


def attend_model(network: Network, *, int8: bool) -> Any | None:
    """The ModelProto that projects memories once, for all steps: `NAME`, (S, B, M), to `NAME_keys`, (S, B, A), those of
    all projections one after another; None where nothing is projected.
    """
    e = Writer(int8=int8)
    inputs, outputs = [], []
    for spec in network.graph.inputs_of_kind("memory"):
        projections = [projection for _, _, projection in projections_of(network, spec.name)]
        if not projections:
            continue
        steps, units = [f"{spec.name}_steps", "batch"], sum(map(len, projections))
        inputs.append(e.value(spec.name, [*steps, resolve(spec.size, network.cells[0].sizes)]))
        outputs.append(e.value(f"{spec.name}_keys", [*steps, units]))
        made = [e.node("MatMul", [spec.name, e.weight(each, transposed=True)]) for each in projections]
        e.node("Identity", [_joined(e, made)], [f"{spec.name}_keys"])
    return finished(e, f"{network.name}_attend", inputs, outputs, {}) if inputs else None


def map_model(part: VectorMap, *, int8: bool) -> Any:
    """The ModelProto of a map of vectors: (B, size) of what it reads to (B, size) of what it gives, as `NAME_out`, or
    `output` where that is all."""
    e = Writer(int8=int8)
    inputs = [e.value(name, ["batch", size]) for name, size in part.reads.items()]
    leaves = {ArrayKey("input", name): name for name in part.reads}
    made = Rendered(e, part.cell, part.cell.graph, leaves).outputs()
    outputs = []
    for name, size in part.gives.items():
        given = name if list(part.gives) == ["output"] else f"{name}_out"
        e.node("Identity", [made[ArrayKey("emit", name)]], [given])
        outputs.append(e.value(given, ["batch", size]))
    return finished(e, part.name, inputs, outputs, {})


def finished(
    writer: Writer, name: str, inputs: list[Any], outputs: list[Any], about: Mapping[str, str]
) -> Any:
    """The ModelProto of what a writer has written, checked."""
    package = onnx()
    graph = package.helper.make_graph(writer.nodes, name, inputs, outputs, writer.arrays)
    versions = [package.helper.make_opsetid("", OPSET)]
    model = package.helper.make_model(
        graph, opset_imports=versions, ir_version=IR_VERSION, producer_name="gatework"
    )
    package.helper.set_model_props(model, dict(about))
    package.checker.check_model(model)
    return model


def _joined(writer: Writer, parts: list[str]) -> str:
    """Both directions' units, one after the other."""
    return parts[0] if len(parts) == 1 else str(writer.node("Concat", parts, axis=-1))
