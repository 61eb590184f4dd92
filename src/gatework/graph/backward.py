"""The backward loop: a step graph that runs from the last step to the first.

`derive` gives the gradients of one step. Here they become a loop: the gradient of each state is a state of the
backward loop, the gradient of the output is read step by step, and what backward needs of the forward pass is
either saved by it or computed again, where that is cheap.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import cast

from gatework.graph.builder import Builder, Expr
from gatework.graph.derive import derive
from gatework.graph.keys import CELL_KINDS, ArrayKey, Kind
from gatework.graph.node import Graph, InputSpec, Node, StateSpec, Width
from gatework.graph.ops import OPS, is_transcendental
from gatework.graph.rewrite import drop_dead
from gatework.graph.simplify import differentiated, simplify
from gatework.graph.variants import without_pushes


@dataclass(frozen=True)
class WeightGradient:
    """A sum of outer products over rows and steps: the gradient of one block.

    Attributes:
        slot, gate: the block.
        gradient: key of the array of the product's gradient, one vector a step.
        operand: key of the array of the product's operand.
    """

    slot: str
    gate: str
    gradient: ArrayKey
    operand: ArrayKey


@dataclass(frozen=True)
class MemoryGradient:
    """A sum of outer products over steps, for each row: a part of the gradient of a memory.

    Attributes:
        name: the memory.
        weights: key of the array of weights, (R, S).
        weighed: key of the array of what they weigh, (R, M).
    """

    name: str
    weights: ArrayKey
    weighed: ArrayKey


@dataclass(frozen=True)
class Backward:
    """The two loops of training.

    Attributes:
        forward: the forward step, which also gives what backward reads, of the kind `saved`.
        loop: the backward step. Its inputs are gradients of the outputs (`output_gradient`, `emit_gradient`,
            `hoisted_gradient`), what the forward step saved (`saved`, `new`), and what it read (`old` of a state);
            its states are the gradients of the forward step's, `gradient_NAME`; it gives the gradient of each
            input, and the arrays that the sums below are made from.
        saved: keys of the saved arrays, with those that are new states as they stand after the step.
        weights: gradients of blocks, from arrays that the loop gives or reads.
        biases: (slot, gate) to the array whose sum over rows and steps is its gradient.
        vectors: the same of learned vectors.
        statics: static inputs to the array whose sum over steps is its gradient.
        memories: gradients of memories.
        keys, energies: memories and learned vectors whose gradients the loop sums itself.
    """

    forward: Graph
    loop: Graph
    saved: tuple[ArrayKey, ...]
    weights: tuple[WeightGradient, ...]
    biases: tuple[tuple[str, str, ArrayKey], ...]
    vectors: tuple[tuple[str, ArrayKey], ...]
    statics: tuple[tuple[str, ArrayKey], ...]
    memories: tuple[MemoryGradient, ...] = ()
    keys: tuple[str, ...] = ()
    energies: tuple[str, ...] = ()


def backward(graph: Graph) -> Backward:
    """The training loops of an expanded forward step."""
    graph = simplify(graph)
    derived = differentiated(without_pushes(simplify(derive(graph))))
    graph = differentiated(without_pushes(graph))
    flows: list[bool] = []
    for node in derived.nodes:
        flows.append(node.op == "cotangent" or any(flows[arg] for arg in node.args))
    saved = _choose_saved(graph, derived, flows)
    loop = _Loop(graph, derived, saved)
    return loop.result()


def _choose_saved(graph: Graph, derived: Graph, flows: list[bool]) -> dict[int, ArrayKey]:
    """Nodes of the derived graph whose values the forward pass must save, and the keys of their arrays."""
    used = {arg for i, node in enumerate(derived.nodes) if flows[i] for arg in node.args if not flows[arg]}
    news = _positions(graph, derived)
    saved: dict[int, ArrayKey] = {}
    at_hand: set[int] = {i for i, node in enumerate(derived.nodes) if OPS[node.op].sort == "leaf"}
    of_parameters = _of_parameters(derived)

    def computed_again(index: int) -> bool:
        """Whether a value follows from what is at hand by cheap operations or by one that is not, or is one for all
        rows."""
        node = derived.nodes[index]
        if index in at_hand or of_parameters[index]:
            return True
        if is_transcendental(node):
            return all(arg in at_hand for arg in node.args)
        return (_is_cheap(node) or node.op == "broadcast") and all(computed_again(arg) for arg in node.args)

    for index, state in news.items():
        if index in _ancestors(derived, used):
            saved[index] = ArrayKey("new", state)
            at_hand.add(index)
    forward, backward_ = _numbered(graph, derived)
    known = set(forward)

    def ensure(index: int) -> None:
        if computed_again(index):
            return
        if backward_[index] in known:
            saved[index] = ArrayKey("saved", str(len(saved)))
            at_hand.add(index)
        else:  # 1 - y * y, say, of a gate y: the gate is what the forward pass has
            for arg in derived.nodes[index].args:
                ensure(arg)

    for index in sorted(used):
        ensure(index)
    needed = _ancestors(derived, used, stop=set(saved))
    return {index: key for index, key in saved.items() if index in needed or index in used}


def _of_parameters(graph: Graph) -> list[bool]:
    """For each node, whether it follows from learned vectors and numbers alone by elementwise operations.

    Such a value is the same for every row and step: an array over time of it costs more than to compute it again.
    """
    known: list[bool] = []
    for node in graph.nodes:
        leaf = node.op in ("vector", "constant")
        known.append(
            leaf or (OPS[node.op].sort == "elementwise" and all(known[argument] for argument in node.args))
        )
    return known


def _is_cheap(node: Node) -> bool:
    """Whether an operation costs about as much as reading its result back from memory would."""
    return OPS[node.op].sort == "elementwise" and not is_transcendental(node)


def _positions(graph: Graph, derived: Graph) -> dict[int, str]:
    """Where the new values of states stand among the nodes of the derived graph."""
    forward, backward_ = _numbered(graph, derived)
    places = {number: index for index, number in reversed(list(enumerate(backward_)))}
    positions = {}
    for state in graph.states:
        place = places.get(forward[graph.next_state(state.name)])
        if place is not None and OPS[derived.nodes[place].op].sort != "leaf":
            positions[place] = state.name
    return positions


def _numbered(*graphs: Graph) -> list[list[int]]:
    """Numbers for the nodes of several graphs, equal where the values are."""
    builder = Builder()
    numbers = []
    for graph in graphs:
        own: list[int] = []
        for node in graph.nodes:
            own.append(builder.intern(replace(node, args=tuple(own[arg] for arg in node.args))).index)
        numbers.append(own)
    return numbers


def _ancestors(graph: Graph, nodes: set[int], stop: set[int] | None = None) -> set[int]:
    ancestors: set[int] = set()
    waiting = list(nodes)
    while waiting:
        index = waiting.pop()
        if index in ancestors:
            continue
        ancestors.add(index)
        if stop is None or index not in stop:
            waiting += graph.nodes[index].args
    return ancestors


def carried(state: str) -> str:
    """The name of the backward loop's state that carries the gradient of a state."""
    return f"gradient_{state}"


class _Loop:
    """Rewrites a derived graph into the backward loop."""

    def __init__(self, graph: Graph, derived: Graph, saved: dict[int, ArrayKey]) -> None:
        self.graph = graph
        self.derived = derived
        self.saved = saved
        self.builder = Builder()
        self.inputs: dict[ArrayKey, InputSpec] = {}
        self.written: dict[ArrayKey, Expr] = {}

    def read(self, key: ArrayKey, width: Width) -> Expr:
        """A value that the loop reads from an array."""
        self.inputs.setdefault(key, InputSpec(key.name, key.kind, width))
        if key.kind in CELL_KINDS:
            return self.builder.leaf(key.kind, width, name=key.name)
        return self.builder.leaf("array", width, kind=key.kind, name=key.name)

    def place(self, index: int, node: Node, args: tuple[Expr, ...]) -> Expr:
        """What stands for a node of the derived graph."""
        if index in self.saved:
            return self.read(self.saved[index], node.width)
        match node.op:
            case "cotangent":
                output = ArrayKey(cast(Kind, node["kind"]), node.text("name"))
                if output.kind != "state":
                    return self.read(output.gradient, node.width)
                gradient = self.builder.leaf("state", node.width, name=carried(output.name))
                if output.name == self.graph.states[0].name:
                    return gradient + self.read(ArrayKey("output_gradient", output.name), node.width)
                return gradient
            case "state":
                return self.read(ArrayKey("old", node.text("name")), node.width)
            case "input" | "static" | "memory" | "array":
                return self.read(node.key, node.width)
            case _:
                return self.builder.intern(replace(node, args=tuple(arg.index for arg in args)))

    def give(self, expr: Expr, wish: ArrayKey) -> ArrayKey:
        """The array that holds a value at every step: one that is read or given already, or a new one."""
        node = expr.node
        if node.op in ("input", "array"):
            return node.key
        for key, other in self.written.items():
            if other.index == expr.index:
                return key
        self.written[wish] = expr
        return wish

    def result(self) -> Backward:
        needed = _ancestors(self.derived, {i for _, i in self.derived.outputs}, stop=set(self.saved))
        placed: dict[int, Expr] = {}
        for index, node in enumerate(self.derived.nodes):
            if index in needed and OPS[node.op].sort != "gradient":
                args = () if index in self.saved else tuple(placed[arg] for arg in node.args)
                placed[index] = self.place(index, node, args)
        weights, biases, vectors, statics = [], [], [], []
        memories, keys, energies = [], [], []
        states: dict[str, Expr] = {}
        for key, index in self.derived.outputs:
            node = self.derived.nodes[index]
            match key.kind:
                case "state_gradient":
                    states[key.name] = placed[index]
                    continue
                case "static_gradient":
                    flow = self.give(placed[index], ArrayKey("static_flow", key.name))
                    statics.append((key.name, flow))
                    continue
                case "input_gradient" | "hoisted_gradient":
                    self.written[key] = placed[index]
                    continue
                case _:
                    pass
            if node.op == "keys_gradient":
                keys.append(node.text("name"))
                continue
            if node.op == "energy_gradient":
                energies.append(node.text("name"))
                continue
            value = placed[node.args[0]]
            match key.kind:
                case "memory_gradient":
                    of = self.give(value, key._replace(kind="memory_weights"))
                    weighed = self.give(placed[node.args[1]], key._replace(kind="memory_values"))
                    memories.append(MemoryGradient(key.name, of, weighed))
                case "weight_gradient":
                    flow = self.give(value, key._replace(kind="weight_flow"))
                    operand = self.give(placed[node.args[1]], key._replace(kind="operand"))
                    weights.append(WeightGradient(key.slot, key.name, flow, operand))
                case "bias_gradient":
                    biases.append((key.slot, key.name, self.give(value, key._replace(kind="bias_flow"))))
                case _:
                    vectors.append((key.name, self.give(value, key._replace(kind="vector_flow"))))
        outputs = {key: expr.index for key, expr in self.written.items()}
        specs = []
        for state in self.graph.states:
            name = carried(state.name)
            specs.append(StateSpec(name, state.size))
            if state.name not in states:
                zero = self.builder.constant(0.0)
                states[state.name] = self.builder.apply("broadcast", zero, width=state.size)
            outputs[ArrayKey("state", name)] = states[state.name].index
        loop = replace(
            self.derived,
            name=f"{self.graph.name}_backward",
            nodes=tuple(self.builder.nodes),
            inputs=tuple(self.inputs.values()),
            states=tuple(specs),
            outputs=tuple(outputs.items()),
            gates=(),
        )
        used = set(self.inputs)
        return Backward(
            forward=self.forward(used),
            loop=drop_dead(loop),
            saved=tuple(key for key in self.saved.values() if key in used),
            weights=tuple(weights),
            biases=tuple(biases),
            vectors=tuple(vectors),
            statics=tuple(statics),
            memories=tuple(memories),
            keys=tuple(keys),
            energies=tuple(energies),
        )

    def forward(self, used: set[ArrayKey]) -> Graph:
        """The forward step with the saved values among its outputs."""
        forward, derived = _numbered(self.graph, self.derived)
        places = {number: index for index, number in reversed(list(enumerate(forward)))}
        outputs = self.graph.outputs
        for index, key in self.saved.items():
            if key.kind == "saved" and key in used:
                outputs += ((key, places[derived[index]]),)
        return replace(self.graph, outputs=outputs)
