"""Tracing: from a function of one step to its graph."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from gatework.graph.builder import Builder, Expr, TraceError
from gatework.graph.keys import ArrayKey, Kind
from gatework.graph.node import (
    MASK_PREFIXES,
    Block,
    Graph,
    InputSpec,
    Node,
    StateSpec,
    VectorSpec,
    Width,
)
from gatework.graph.ops import depends_on_step


@dataclass(frozen=True, slots=True)
class State:
    """Annotates a parameter of a cell as a state of another width or start: `h: gw.State(size="proj_size")`."""

    size: Width = "hidden_size"
    init: float = 0.0


@dataclass(frozen=True, slots=True)
class Input:
    """Annotates a parameter as a further sequence input, one vector a step: `gap: gw.Input`.

    `size` defaults to a size of the parameter's own name, `gap_size`.
    """

    size: Width | None = None


@dataclass(frozen=True, slots=True)
class Static:
    """Annotates a parameter as one vector for the whole sequence: `speaker: gw.Static`."""

    size: Width | None = None


@dataclass(frozen=True, slots=True)
class Memory:
    """Annotates a parameter as a sequence to attend to, with its lengths: `memory: gw.Memory`."""

    size: Width | None = None


_KINDS: dict[type, Kind] = {Input: "input", Static: "static", Memory: "memory"}
_current: ContextVar[Tracer | None] = ContextVar("gatework_tracer", default=None)


def current_tracer() -> Tracer:
    """The trace that is going on.

    Raises:
        TraceError: none is.
    """
    tracer = _current.get()
    if tracer is None:
        raise TraceError(
            "A word of the equations is used outside a cell.",
            'h = linear("candidate", x, h)',
            '@gw.cell\ndef my_cell(x, h):\n    return tanh(linear("candidate", x, h))',
        )
    return tracer


class Tracer(Builder):
    """The builder of a cell's graph: nodes, and what the equations declare on the way."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name
        self.inputs: list[InputSpec] = []
        self.states: list[StateSpec] = []
        self.blocks: list[Block] = []
        self.vectors: dict[str, VectorSpec] = {}
        self._declared_by: dict[str, str] = {}
        self.gates: dict[str, int] = {}
        self.named: set[str] = set()  # gates that the equations name by `gate`
        self.outputs: dict[ArrayKey, int] = {}
        self.preactivations: dict[int, str] = {}
        self._depends_on_step: list[bool] = []
        self._prefixes: set[str] = set()

    def depends_on_inputs_alone(self, expr: Expr) -> bool:
        """Whether a value needs neither a state nor a memory, so that it can leave the loop over time."""
        known = self._depends_on_step
        self._depends_on_step = depends_on_step(self.nodes[len(known) :], known)
        return not self._depends_on_step[expr.index]

    def product(
        self, slot: str, gate: str, operand: Expr, *, rows: Width, bias: bool, heads: int = 1
    ) -> Expr:
        """The product of a gate's block in a slot with an operand."""
        for block in self.blocks:
            if block.slot != slot:
                continue
            if block.gate == gate:
                raise TraceError(
                    f"The gate {gate!r} is named twice over `weight_{slot}`: two products would share a block.",
                    f'a = sigmoid(linear("{gate}", x, h))\nb = tanh(linear("{gate}", x, h))',
                    f'a = sigmoid(linear("{gate}", x, h))\nb = tanh(linear("other", x, h))',
                )
            if block.columns != operand.width:
                raise TraceError(
                    f"The operands of {block.gate!r} and {gate!r} have widths {block.columns} and {operand.width}, "
                    f"and both would be blocks of `weight_{slot}`.",
                    f'linear("{block.gate}", x, h)\nlinear("{gate}", x, wide)',
                    f'linear("{block.gate}", x, h)\nlinear("{gate}", x, wide=wide)    # a slot of its own',
                )
            if block.heads != heads:
                raise TraceError(
                    f"The gates {block.gate!r} and {gate!r} have {block.heads} and {heads} heads in `weight_{slot}`, "
                    "which has one shape.",
                    f'linear("{block.gate}", x, h, heads={block.heads})\nlinear("{gate}", x, h, heads={heads})',
                    f'linear("{block.gate}", x, h, heads={heads})\nlinear("{gate}", x, h, heads={heads})',
                )
        self.blocks.append(Block(slot, gate, rows, operand.width, bias, heads))
        return self.apply("gate_matmul", operand, width=rows, slot=slot, gate=gate)

    def declare_vector(self, spec: VectorSpec, by: str) -> None:
        """A learned vector of the cell; `by` is the code that makes it."""
        first = self._declared_by.setdefault(spec.name, by)
        if spec.name not in self.vectors:
            self.vectors[spec.name] = spec
            return
        if first == by:
            raise TraceError(
                f"The learned vector {spec.name!r} is declared twice, by `{by}`.",
                f"a = {by}\nb = {by}",
                f"p = {by}    # used where it is needed, or two names\na = p * c\nb = p * h",
            )
        raise TraceError(
            f"The learned vector {spec.name!r} is declared twice, by `{first}` and by `{by}`: each makes vectors whose "
            "names begin with, or end in, the name that it is given.",
            f"{first}\n{by}",
            f"{first}\n{by.replace(chr(34), chr(34) + 'other_', 1)}",
        )

    def declare_output(self, name: str, expr: Expr) -> None:
        key = ArrayKey("emit", name)
        if key in self.outputs or name == "output":
            raise TraceError(
                f"emit({name!r}, …) stands twice"
                + (": `output` is the first state." if name == "output" else "."),
                f'emit("{name}", a)\nemit("{name}", b)',
                f'emit("{name}", a)\nemit("{name}_2", b)',
            )
        self.outputs[key] = expr.index

    def name_gate(self, name: str, expr: Expr) -> None:
        if self.gates.get(name, expr.index) != expr.index and name not in self.preactivations.values():
            raise TraceError(
                f"The gate name {name!r} is given to two values.",
                f'a = gate("{name}", sigmoid(p))\nb = gate("{name}", sigmoid(q))',
                f'a = gate("{name}", sigmoid(p))\nb = gate("{name}_2", sigmoid(q))',
            )
        self.gates[name] = expr.index

    def carry_alignment(self, name: str, memory: Expr) -> Expr:
        """The alignment of the previous step, as a state of the attention's own."""
        size = f"{memory.node.text('name')}_steps"
        taken = [spec.name for spec in self.inputs] + [state.name for state in self.states]
        if f"{name}_alignment" in taken:
            raise TraceError(
                f"{name}_alignment is a parameter of the cell, and the name of the state in which `attend` by location "
                "carries its alignment from step to step.",
                f'def my_cell(x, h, {name}_alignment): … attend("{name}", h, memory, score="location")',
                f'def my_cell(x, h, own_alignment): … attend("{name}", h, memory, score="location")',
            )
        self.states.append(StateSpec(f"{name}_alignment", size))
        return self.leaf("state", size, name=f"{name}_alignment")

    def set_alignment(self, name: str, alignment: Expr) -> None:
        self.outputs[ArrayKey("state", f"{name}_alignment")] = alignment.index

    def inline(self, graph: Graph, prefix: str, args: tuple[Any, ...]) -> tuple[Expr, ...]:
        """A cell used inside this one: its nodes with its gates, slots and vectors under a prefix."""
        if prefix in self._prefixes:
            raise TraceError(
                f"The name {prefix!r} is used twice, for two cells: their gates and weights would share names.",
                f'h1 = {graph.name}("{prefix}", x, h1)\nh2 = {graph.name}("{prefix}", h1, h2)',
                f'h1 = {graph.name}("{prefix}", x, h1)\nh2 = {graph.name}("{prefix}_2", h1, h2)',
            )
        self._prefixes.add(prefix)
        declared = [state for state in graph.states if not graph.counts_steps(state.size)]
        parameters: list[InputSpec | StateSpec] = _signature_order(graph, declared)
        if len(args) != len(parameters):
            names = ", ".join(parameter.name for parameter in parameters)
            raise TraceError(
                f"The cell {graph.name} takes ({names}) and was given {len(args)} values.",
                f'{graph.name}("{prefix}", x)',
                f'{graph.name}("{prefix}", {names})',
            )
        values: dict[str, Expr] = {}
        widths: dict[str, Width] = {}
        for parameter, arg in zip(parameters, args, strict=True):
            expr = self.lift(arg)
            values[parameter.name] = expr
            if isinstance(parameter.size, str):
                known = widths.setdefault(parameter.size, expr.width)
                if known != expr.width:
                    raise TraceError(
                        f"In {graph.name}({prefix!r}, …), {parameter.name} has width {expr.width} where "
                        f"{parameter.size} is {known} already.",
                        f'{graph.name}("{prefix}", x, h, x)',
                        f'{graph.name}("{prefix}", x, h, c)',
                    )

        def width(of: Width) -> Width:
            return widths.get(of, of) if isinstance(of, str) else of

        def named(name: str) -> str:
            return f"{prefix}_{name}"

        placed: list[Expr] = []
        for node in graph.nodes:
            if node.op in ("input", "static", "state", "memory"):
                name = node.text("name")
                if name not in values:  # an alignment that the inner cell carries
                    memory = values[str(node.width).removesuffix("_steps")]
                    values[name] = self.carry_alignment(named(name.removesuffix("_alignment")), memory)
                placed.append(values[name])
                continue
            attributes = dict(node.attributes)
            for key in ("gate", "slot", "name"):
                if key in attributes:
                    attributes[key] = _vector_name(prefix, str(attributes[key]))
            args_ = tuple(placed[arg].index for arg in node.args)
            of = width(node.width)
            if node.op == "attention_weights":
                of = (
                    self.nodes[args_[2]].width
                    if len(args_) == 3
                    else f"{self.nodes[args_[1]].text('name')}_steps"
                )
            placed.append(self.intern(Node(node.op, args_, tuple(sorted(attributes.items())), of)))
        for block in graph.blocks:
            self.blocks.append(
                Block(
                    named(block.slot),
                    named(block.gate),
                    width(block.rows),
                    width(block.columns),
                    block.bias,
                    block.heads,
                )
            )
        for vector in graph.vectors:
            columns = None if vector.columns is None else width(vector.columns)
            self.declare_vector(
                VectorSpec(_vector_name(prefix, vector.name), width(vector.size), vector.init, columns),
                f'{graph.name}("{prefix}", …)',
            )
        for name, index in graph.gates:
            self.name_gate(named(name), placed[index])
        for name, index in graph.emits().items():
            self.declare_output(named(name), placed[index])
        for state in graph.states:
            if state not in declared:
                self.set_alignment(
                    named(state.name.removesuffix("_alignment")), placed[graph.next_state(state.name)]
                )
        return tuple(placed[graph.next_state(state.name)] for state in declared)


def _vector_name(prefix: str, name: str) -> str:
    """A parameter's name under a prefix; a normalisation keeps its word in front."""
    for word in ("norm_gain_", "norm_bias_"):
        if name.startswith(word):
            return f"{word}{prefix}_{name.removeprefix(word)}"
    return f"{prefix}_{name}"


def _signature_order(graph: Graph, states: list[StateSpec]) -> list[InputSpec | StateSpec]:
    """The parameters as a call gives them: the input, the states, then the further inputs."""
    return [graph.inputs[0], *states, *graph.inputs[1:]]


@contextmanager
def _tracing(tracer: Tracer) -> Iterator[None]:
    token = _current.set(tracer)
    try:
        yield
    finally:
        _current.reset(token)


def trace(function: Callable[..., Any], options: Mapping[str, Any], shown: Mapping[str, str]) -> Graph:
    """The graph of a cell's function, as written.

    Args:
        function: the step; its signature says what is input and what is state.
        options: values of its keyword-only parameters.
        shown: the same as text, kept with the graph.

    Raises:
        TraceError: the function is no equation.
    """
    tracer = Tracer(function.__name__)
    values = []
    names = []
    for parameter in _parameters(function):
        spec = _declare(tracer, parameter)
        names.append(parameter.name)
        op = "state" if isinstance(spec, StateSpec) else spec.kind
        values.append(tracer.leaf(op, spec.size, name=spec.name))
    declared = list(tracer.states)
    with _tracing(tracer):
        returned = function(*values, **options)
    returned = returned if isinstance(returned, tuple) else (returned,)
    states = [state.name for state in declared]
    if len(returned) != len(states) or any(
        value is None for value in returned
    ):  # `in` would ask expressions for equality
        count = "nothing" if returned[0] is None else f"{len(returned)} value" + "s" * (len(returned) != 1)
        raise TraceError(
            f"The cell {function.__name__} has the states ({', '.join(states)}) and returns {count}: it must return "
            "the new value of each, in their order.",
            f"def {function.__name__}({', '.join(names)}):\n    …\n    return {states[0]}"
            if len(states) > 1
            else f"def {function.__name__}({', '.join(names)}):\n    …",
            f"def {function.__name__}({', '.join(names)}):\n    …\n    return {', '.join(states)}",
        )
    outputs: dict[ArrayKey, int] = {}
    for state, value in zip(declared, returned, strict=True):
        expr = tracer.lift(value)
        if expr.width != state.size:
            raise TraceError(
                f"The new value of the state {state.name} has width {expr.width}; the state has {state.size}.",
                f'{state.name} = linear("candidate", x, {state.name}, size=1)',
                f'{state.name} = linear("candidate", x, {state.name})',
            )
        outputs[ArrayKey("state", state.name)] = expr.index
    _check_gates_of_states(tracer, outputs)
    graph = Graph(
        name=function.__name__,
        nodes=tuple(tracer.nodes),
        inputs=tuple(tracer.inputs),
        states=tuple(tracer.states),
        blocks=tuple(tracer.blocks),
        vectors=tuple(tracer.vectors.values()),
        outputs=tuple({**outputs, **tracer.outputs}.items()),
        gates=tuple(tracer.gates.items()),
        doc=inspect.getdoc(function) or "",
        options=tuple(shown.items()),
    )
    _check_vectors(graph)
    return graph


def _check_gates_of_states(tracer: Tracer, outputs: Mapping[ArrayKey, int]) -> None:
    """A recording has one value of each name at every step: a state's name is that of its new value."""
    for name in tracer.named:
        if outputs.get(ArrayKey("state", name), tracer.gates[name]) != tracer.gates[name]:
            raise TraceError(
                f"The gate name {name!r} is also a state's, and the gate is not the new value of that state: a "
                "recording could not tell them apart.",
                f'g = gate("{name}", e)',
                f'g = gate("{name}_candidate", e)',
            )


def _check_vectors(graph: Graph) -> None:
    """No learned vector has the name of a packed weight or bias."""
    taken = graph.weight_names()
    for vector in graph.vectors:
        if vector.name in taken:
            raise TraceError(
                f"The learned vector {vector.name!r} has the name of the packed parameter of the slot "
                f"{taken[vector.name]!r}, which `linear` and `project` make. Taken in this cell: "
                f"{', '.join(taken)}.",
                f'vector("{vector.name}")',
                f'vector("own_{vector.name}")',
            )


def _parameters(function: Callable[..., Any]) -> list[inspect.Parameter]:
    try:
        signature = inspect.signature(function, eval_str=True)
    except NameError as error:
        raise TraceError(
            f"An annotation of {function.__name__} cannot be evaluated: {error}.",
            "def my_cell(x, h: State): …",
            "import gatework as gw\ndef my_cell(x, h: gw.State): …",
        ) from error
    positional = []
    for parameter in signature.parameters.values():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise TraceError(
                f"The cell {function.__name__} has a parameter {parameter}: the graph needs every state by name.",
                f"def {function.__name__}(x, *states): …",
                f"def {function.__name__}(x, h, c): …",
            )
        if parameter.kind != parameter.KEYWORD_ONLY:
            if parameter.default is not parameter.empty:
                raise TraceError(
                    f"The parameter {parameter.name} of {function.__name__} has a default: options are keyword-only.",
                    f"def {function.__name__}(x, h, {parameter.name}={parameter.default!r}): …",
                    f"def {function.__name__}(x, h, *, {parameter.name}={parameter.default!r}): …",
                )
            positional.append(parameter)
    return positional


def _declare(tracer: Tracer, parameter: inspect.Parameter) -> InputSpec | StateSpec:
    annotation = parameter.annotation
    if isinstance(annotation, type) and issubclass(annotation, State | Input | Static | Memory):
        annotation = annotation()
    first = not tracer.inputs
    if first and not isinstance(annotation, Input):
        annotation = Input("input_size")
    if isinstance(annotation, Input | Static | Memory):
        for prefix in MASK_PREFIXES:
            if parameter.name.startswith(prefix):
                raise TraceError(
                    f"The input {parameter.name!r} begins with {prefix!r}: recurrent dropout, zoneout and reset give "
                    "their masks to a cell under such names.",
                    f"def my_cell(x, h, {parameter.name}: gw.{type(annotation).__name__}): …",
                    f"def my_cell(x, h, own_{parameter.name}: gw.{type(annotation).__name__}): …",
                )
        size = annotation.size or ("input_size" if first else f"{parameter.name}_size")
        spec = InputSpec(parameter.name, _KINDS[type(annotation)], size)
        tracer.inputs.append(spec)
        return spec
    declared = annotation if isinstance(annotation, State) else State()
    state = StateSpec(parameter.name, declared.size, float(declared.init))
    tracer.states.append(state)
    return state
