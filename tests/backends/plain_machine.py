"""A second machine: it runs each command with torch's operators, and knows nothing of processors.

It proves that what `gatework.backends.compiled` writes is enough for any machine. It is stricter than the first:
scratch memory begins as NaN, every access is inside its array, and a program reads the parameters that were bound.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from operator import attrgetter
from typing import Any, ClassVar

import torch
from torch import Tensor

from gatework.backends import teams
from gatework.backends.attention_reference import (
    additive_score,
    alignment,
    attention_context,
    dot_score,
    location,
    mask_of,
)
from gatework.backends.compiled import both_directions, sequence, single_step, stack, stream_step
from gatework.backends.compiled.commands import (
    UNIT,
    Address,
    Base,
    Best,
    Bind,
    BoundProgram,
    Command,
    CommandList,
    Copy,
    Outer,
    OuterOfRows,
    Run,
    Scratch,
    Softmax,
    parameter,
)
from gatework.backends.compiled.dense.maps import Maps
from gatework.backends.compiled.forward_backward import ATTENDED_ROWS
from gatework.backends.compiled.machine import Sharing
from gatework.backends.compiled.refusal import not_lowered
from gatework.backends.compiled.spans import Affine, Number, chunks, extent
from gatework.backends.program import Piece
from gatework.backends.storage import stored
from gatework.graph.keys import ArrayKey
from gatework.graph.node import Graph, Node, resolve
from gatework.graph.ops import OPS
from gatework.graph.parameters import gate_rows

Known = Mapping[str, int]
"""The quantities of a batch and a chunk by their names, as `Affine` numbers have them."""


@dataclass(frozen=True)
class PlainMachine:
    """See `gatework.backends.compiled.machine.Machine`."""

    forward_rows: ClassVar[int] = 5  # small, so that every batch has several chunks
    backward_rows: ClassVar[int] = 4
    chunk_bytes: ClassVar[int] = 1 << 20
    padding: ClassVar[int] = 8

    @property
    def supports(self) -> frozenset[str]:
        return frozenset(row.code for row in OPS.values() if row.code)

    def workers(self) -> int:
        return 1

    def team(self, work: teams.Work, size: int, most: int | None = None) -> teams.Team:
        return teams.CALLER

    def sharing(self, graph: Graph, work: int, rows: int, most: int) -> Sharing:
        return Sharing(teams.CALLER, 0, 2)

    def backward_sharing(self, forward: Sharing, weights: int) -> Sharing:
        return forward

    def empty(self, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        return torch.full(tuple(shape), torch.nan, dtype=dtype)

    def prepare(self, *lists: CommandList, team: int = 1, parts: int = 1) -> list[PlainList]:
        return [PlainList(list.dtype, [(command, {}) for command in list.first]) for list in lists]

    def prepare_ragged(self, list: CommandList, *, team: int = 1, parts: int = 1) -> PlainRaggedList:
        return PlainRaggedList(list)


@dataclass
class PlainMemory:
    """Scratch memory, and the parameters of the programs that were bound."""

    dtype: torch.dtype
    scratch: dict[Scratch, Tensor] = field(default_factory=dict)
    parameters: dict[BoundProgram, dict[str, Tensor]] = field(default_factory=dict)

    def of(self, base: Scratch) -> Tensor:
        return self.scratch.setdefault(base, torch.full((base.size,), torch.nan, dtype=self.dtype))

    def view(self, place: Address, shape: tuple[int, ...]) -> Tensor:
        assert isinstance(place.base, Scratch)
        assert isinstance(place.offset, int)
        return self.of(place.base)[place.offset :][: prod(shape)].view(shape)


class PlainList:
    """See `gatework.backends.compiled.machine.ReadyList`."""

    workspace = 1

    def __init__(self, dtype: torch.dtype, commands: list[tuple[Command, Known]]) -> None:
        self.dtype, self.commands = dtype, commands
        touched = (base for command, _ in commands for base in bases_of(command))
        self.bases = tuple(dict.fromkeys(b for b in touched if not isinstance(b, Scratch) and b != UNIT))
        self.rows: int | None = None

    def memory(self) -> PlainMemory:
        return PlainMemory(self.dtype)

    def call(self, tensors: Mapping[Base, Tensor], team: int, memory: Any = None) -> None:
        pass_ = Pass(tensors, memory or self.memory(), self.rows)
        with torch.no_grad():
            for command, known in self.commands:
                pass_.do(command, known)

    def fixed(
        self, tensors: Mapping[Base, Tensor], given: Sequence[Base], team: int, memory: PlainMemory
    ) -> Callable[..., None]:
        kept = dict(tensors)
        return lambda *own: self.call({**kept, **dict(zip(given, own, strict=True))}, team, memory)

    def resize(self, rows: int, *, by_units: bool) -> None:
        self.rows = rows


class PlainRaggedList:
    """See `gatework.backends.compiled.machine.ReadyRaggedList`."""

    def __init__(self, list: CommandList) -> None:
        self.list = list
        self.bases = self.of(((0, 1, 1),)).bases

    def of(self, pieces: tuple[Piece, ...]) -> PlainList:
        made, cut = self.list, self.list.cut
        assert cut is not None
        batch = {f"batch.{name}": int(value) for name, value in extent(pieces)._asdict().items()}
        known = list(chunks(pieces, cut.chunk_rows, cut.units_up_to, backward=cut.backward))
        every = [
            batch | {f"chunk.{name}": value for name, value in chunk._asdict().items()} for chunk in known
        ]
        commands: list[tuple[Command, Known]] = [(command, batch) for command in made.first]
        commands += [
            (command, own) for own in (every[::-1] if cut.backward else every) for command in made.chunk
        ]
        commands += [(command, batch) for command in made.last]
        return PlainList(made.dtype, commands)


def bases_of(command: Command) -> Iterator[Base]:
    """The bases that a command reads or writes."""
    if isinstance(command, Bind):
        yield from (parameter(name, command.bound.layer) for name in parameters_of(command.bound))
    elif isinstance(command, Run):
        yield from (command.arrays[key].base for key in arrays_of(command.bound.program))
    else:
        values = (getattr(command, name) for name in getattr(command, "__dataclass_fields__", ()))
        yield from (value.base for value in values if isinstance(value, Address))


def parameters_of(bound: BoundProgram) -> list[str]:
    """The parameters that a program reads."""
    names = []
    for node in bound.program.nodes:
        if node.op == "vector":
            names.append(node.text("name"))
        elif node.op == "bias":
            names.append(f"bias_{node['slot']}")
        elif OPS[node.op].sort == "matmul":
            names.append(f"weight_{node['slot']}")
    return names


def arrays_of(program: Graph) -> list[ArrayKey]:
    """The arrays that a program reads or writes beside parameters."""
    keys = [key for key, _ in program.outputs]
    for node in program.nodes:
        if node.op in ("input", "static", "memory", "state", "array"):
            keys.append(node.key)
        if node.op == "memory":
            keys += [ArrayKey("lengths", node.text("name")), ATTENDED_ROWS]
        if node.op in ("additive_score_gradient", "location_score_gradient"):
            keys += gathered_by(program, node)
    return keys


def gathered_by(program: Graph, node: Node) -> list[ArrayKey]:
    """The gradients that a step adds to itself: of keys, of the vector that they are compared with, of a kernel."""
    keys, energy, *kernel = (program.nodes[arg].text("name") for arg in (*node.args[2:4], *node.args[5:]))
    return [
        ArrayKey("memory_gradient", keys),
        ArrayKey("vector_gradient", energy),
        *(ArrayKey("memory_gradient", each) for each in kernel),
    ]


class Pass:
    """One call of a list."""

    def __init__(self, tensors: Mapping[Base, Tensor], memory: PlainMemory, rows: int | None) -> None:
        self.tensors, self.memory, self.rows = tensors, memory, rows

    def do(self, command: Command, known: Known) -> None:
        self.known = known
        name = type(command).__name__.lower()
        getattr(self, f"_{name}")(command)

    def number(self, number: Number) -> int:
        if isinstance(number, Affine):
            return number.constant + sum(factor * self.known[name] for name, factor in number.terms)
        return number

    def at(self, place: Address, shape: Sequence[Number], strides: Sequence[Number] = ()) -> Tensor:
        """A view of an array from an address on."""
        base = place.base
        if base == UNIT:
            flat = torch.ones(1, dtype=self.memory.dtype)
        else:
            flat = self.memory.of(base) if isinstance(base, Scratch) else self.tensors[base].view(-1)
        sizes = [self.number(size) for size in shape]
        steps = [self.number(stride) for stride in strides] or [
            prod(sizes[n + 1 :]) for n in range(len(sizes))
        ]
        begin = self.number(place.offset)
        last = begin + sum((size - 1) * step for size, step in zip(sizes, steps, strict=True))
        assert 0 not in sizes
        assert 0 <= begin <= last < flat.numel(), f"{place}: {begin} to {last} of {flat.numel()}"
        return flat.as_strided(sizes, steps, begin + flat.storage_offset())

    def _bind(self, command: Bind) -> None:
        bound = command.bound
        found = {name: self.tensors[parameter(name, bound.layer)].clone() for name in parameters_of(bound)}
        self.memory.parameters[bound] = {
            name: stored(value, bound.storage) if name.startswith("weight_") else value
            for name, value in found.items()
        }

    def _copy(self, command: Copy) -> None:
        rows = self.number(command.rows) if self.rows is None else self.rows
        if rows:
            to = self.at(command.to, (rows, command.numbers))
            to.zero_() if command.source is None else to.copy_(self.at(command.source, to.shape))

    def _outer(self, command: Outer) -> None:
        depth, columns = self.number(command.depth), self.number(command.columns)
        if not depth or not columns:
            return
        left = self.at(command.left, (command.rows, depth), command.left_strides)
        right = self.at(command.right, (depth, columns), command.right_strides)
        result = self.at(command.result, (command.rows, columns), (self.number(command.result_row), 1))
        result.copy_(left @ right if command.from_scratch else result + left @ right)

    def _outerofrows(self, command: OuterOfRows) -> None:
        count, rows, columns = (self.number(size) for size in command.shape)
        depth = self.number(command.depth)
        if not depth or not count:
            return
        left = self.at(command.left, (depth, count, rows), (command.left_stride, rows, 1))
        right = self.at(command.right, (depth, count, columns), (command.right_stride, columns, 1))
        self.at(command.result, (count, rows, columns)).add_(torch.einsum("kbm,kbn->bmn", left, right))

    def _softmax(self, command: Softmax) -> None:
        table = self.at(command.table, (command.units, command.columns))
        logits = table + self.at(command.bias, (command.units, 1))
        self.at(command.normaliser, (command.columns,)).copy_(logits.logsumexp(0))
        self.at(command.mean, (command.columns,)).copy_(logits.mean(0))
        if command.gradient:
            table.copy_(torch.softmax(logits, 0) - self.at(command.floor, (1,)))

    def _best(self, command: Best) -> None:
        columns = (command.units, 1)
        logits = self.at(command.table, (command.units, command.columns)) + self.at(command.bias, columns)
        logits = torch.log_softmax(logits, 0) + self.at(command.allowed, columns)
        values, places = logits.topk(command.count, 0)
        self.at(command.values, values.shape).copy_(values)
        self.at(command.places, places.shape).copy_(places)

    def _barrier(self, command: Command) -> None:
        """Commands follow one another anyway."""

    def _run(self, command: Run) -> None:
        rows = self.number(command.rows) if self.rows is None else self.rows
        if rows:
            for step in range(*(self.number(step) for step in command.steps)):
                Step(self, command, rows, step).run()


class Step:
    """One step of a program."""

    def __init__(self, owner: Pass, command: Run, rows: int, step: int) -> None:
        self.owner, self.command, self.rows, self.step = owner, command, rows, step
        self.bound = command.bound
        self.parameters = owner.memory.parameters[command.bound]
        self.values: list[Tensor] = []

    def run(self) -> None:
        program = self.bound.program
        for node in program.nodes:
            self.values.append(self.value(node, [self.values[arg] for arg in node.args]))
        for key, index in program.outputs:
            to = self.array(key, resolve(program.nodes[index].width, self.bound.sizes), new=True)
            to.copy_(self.values[index])

    def array(self, key: ArrayKey, width: int, *, new: bool = False) -> Tensor:
        """(B, width) of an array at this step."""
        command, row = self.command, 0
        if key.kind == "state":
            row = (self.step + new) & command.masks[key.name]
        elif key.kind != "static":
            row = self.owner.number(command.begin) + self.step * command.direction
        place = command.arrays[key].at(row * self.rows * width)
        return self.owner.at(place, (self.rows, width))

    def value(self, node: Node, args: list[Tensor]) -> Tensor:
        sizes, dtype = self.bound.sizes, self.owner.memory.dtype
        eager = OPS[node.op].eager
        if eager is not None:
            function = attrgetter(eager)(torch) if isinstance(eager, str) else eager
            return function(*args, *(value for _, value in node.attributes))
        match node.op:
            case "constant":
                return torch.tensor(node.number("value"), dtype=dtype)
            case "size":
                return torch.tensor(float(resolve(node["of"], sizes)), dtype=dtype)  # type: ignore[arg-type]
            case "input" | "static" | "state" | "array":
                return self.array(node.key, resolve(node.width, sizes)).clone()
            case "memory":
                return torch.empty(0)  # `memory` reads it
            case "vector":
                return self.parameters[node.text("name")]
            case "bias":
                return self.block(node, "bias")
            case "gate_matmul":
                return args[0] @ self.block(node, "weight").T
            case "gate_matmul_transposed":
                return args[0] @ self.block(node, "weight")
            case "broadcast":
                return args[0].expand(*args[0].shape[:-1], resolve(node.width, sizes))
            case _:
                return self.on_memory(node, args)

    def block(self, node: Node, kind: str) -> Tensor:
        """A gate's rows of a parameter."""
        slot = node.text("slot")
        first, last = gate_rows(self.bound.graph, slot, self.bound.sizes)[node.text("gate")]
        return self.parameters[f"{kind}_{slot}"][first:last]

    def memory(self, node: Node, place: int, kind: Any = "memory") -> tuple[Tensor, Tensor, Tensor]:
        """An array of a memory's shape, (B', S, M); the rows that are read of it, (B,); their mask, (B, S)."""
        leaf = self.bound.program.nodes[node.args[place]]
        name, width = leaf.text("name"), resolve(leaf.width, self.bound.sizes)
        steps, of = self.bound.sizes[f"{name}_steps"], self.owner
        own = of.at(self.command.arrays[ATTENDED_ROWS], (self.rows,)).long()
        count = int(own.max()) + 1
        values = of.at(self.command.arrays[ArrayKey(kind, name)], (count, steps, width))
        lengths = of.at(self.command.arrays[ArrayKey("lengths", name)], (count,))[own]
        return values, own, mask_of(lengths, steps)

    def told(self, node: Node, alignment: Tensor, place: int) -> Tensor:
        """(S, B, A), what an alignment tells each step by the kernel that an argument is."""
        return location(alignment, self.memory(node, place)[0][0])

    def untold(self, node: Node, alignment: Tensor, place: int, flow: Tensor) -> tuple[Tensor, Tensor]:
        """The gradients of an alignment, (B, S), and of its kernel for each row, (B, K, A)."""
        kernel = self.memory(node, place)[0][0]
        steps, count = alignment.shape[1], len(kernel)
        of_before, of_kernel = torch.zeros_like(alignment), kernel.new_zeros(len(alignment), *kernel.shape)
        for step in range(steps):
            for k in range(count):
                at = step + k - count // 2
                if 0 <= at < steps:
                    of_before[:, at] += flow[step] @ kernel[k]
                    of_kernel[:, k] += alignment[:, at, None] * flow[step]
        return of_before, of_kernel

    def on_memory(self, node: Node, args: list[Tensor]) -> Tensor:
        of = OPS[node.op].on_memory
        values, own, mask = self.memory(node, of.memory if of else 1)
        steps = values[own].masked_fill(~mask[..., None], 0.0).transpose(0, 1)  # (S, B, M)

        def filled(value: Tensor) -> Tensor:
            return value.expand(self.rows, value.shape[-1])

        match node.op:
            case "dot_score":
                return dot_score(filled(args[0]), steps)
            case "additive_score":
                return additive_score(args[0], steps, args[2])
            case "masked_softmax":
                return alignment(args[0], mask)
            case "attention_context":
                return attention_context(args[0].masked_fill(~mask, 0.0), steps)
            case "masked_softmax_gradient":
                weights, flow = (value.masked_fill(~mask, 0.0) for value in args[:2])
                return weights * (flow - (weights * flow).sum(-1, keepdim=True))
            case "location_score":
                return additive_score(args[0], steps + self.told(node, args[3], 4), args[2])
            case "additive_score_gradient" | "location_score_gradient" | "location_gradient":
                flow, query, energy = args[0].masked_fill(~mask, 0.0), args[1], args[3]
                located = len(args) > 4
                told = self.told(node, args[4], 5) if located else 0.0
                hidden = torch.tanh(steps + query + told)  # (S, B, A)
                inner = flow.t()[..., None] * energy * (1 - hidden * hidden)
                if located:
                    of_before, of_kernel = self.untold(node, args[4], 5, inner)
                    if node.op == "location_gradient":
                        return of_before
                    self.memory(node, 5, "memory_gradient")[0].index_add_(0, own, of_kernel)
                of_keys = self.memory(node, 2, "memory_gradient")[0]
                of_keys.index_add_(0, own, inner.transpose(0, 1).masked_fill(~mask[..., None], 0.0))
                of_energy = self.command.arrays[gathered_by(self.bound.program, node)[1]]
                gathered = torch.einsum("bs,sba->ba", flow, hidden)
                rows = int(own.max()) + 1
                self.owner.at(of_energy, (rows, gathered.shape[-1])).index_add_(0, own, gathered)
                return inner.sum(0)
            case _:
                raise NotImplementedError(node.op)


class PlainBackend:
    """The backend of the machine; see `gatework.backends.program.Backend`."""

    name = "plain"
    ragged = gathers = plain_tensors = both_directions = True
    whole_stack = "one direction"
    ragged_stacks = ()
    machine = PlainMachine()

    @classmethod
    def refusal(cls, graph: Any, sizes: Any, request: Any) -> Any:
        return request.obstacle or not_lowered(graph, cls.machine.supports)

    @classmethod
    def run(cls, graph: Any, parameters: Any, given: Any) -> Any:
        result = single_step.run_step(cls.machine, graph, parameters, given) if given.memories else None
        return result or sequence.run_sequence(cls.machine, graph, parameters, given)

    @classmethod
    def run_both(cls, *args: Any) -> Any:
        return both_directions.run_both(cls.machine, *args)

    @classmethod
    def run_stack(cls, *args: Any) -> Any:
        return stack.run_stack(cls.machine, *args)

    @staticmethod
    def step_operator(graph: Any) -> None:
        return None

    @staticmethod
    def chain_operator() -> None:
        return None

    @classmethod
    def prepare_stepper(cls, snapshot: Any) -> Any:
        return stream_step.Stepper(cls.machine, snapshot)

    @classmethod
    def dense_backend(cls) -> Maps:
        return Maps(cls.machine)
