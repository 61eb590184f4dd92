"""The backward loop: a step graph that runs from the last step to the first.

`derive` gives the gradients of one step. Here they become a loop: the gradient of each state is a state of the
backward loop, the gradient of the output comes in as a stream, and what backward needs of the forward pass is
either saved by it or computed again, where that is cheap.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from gatework.graph.builder import Builder, Expr
from gatework.graph.derive import derive
from gatework.graph.node import Graph, InputSpec, Node, StateSpec
from gatework.graph.ops import OPS, is_transcendental
from gatework.graph.rewrite import drop_dead
from gatework.graph.simplify import differentiated, simplify

SAVED = "saved_"
GRADIENT = "gradient_"


@dataclass(frozen=True)
class WeightGradient:
    """A sum of outer products over rows and steps: the gradient of one block.

    Attributes:
        slot, gate: the block.
        gradient: name of the stream of the product's gradient.
        operand: name of the stream of the product's operand.
    """

    slot: str
    gate: str
    gradient: str
    operand: str


@dataclass(frozen=True)
class MemoryGradient:
    """A sum of outer products over steps, for each row: a part of the gradient of a memory.

    Attributes:
        name: the memory.
        weights: name of the stream of weights, (R, S).
        weighed: name of the stream of what they weigh, (R, M).
    """

    name: str
    weights: str
    weighed: str


@dataclass(frozen=True)
class Backward:
    """The two loops of training.

    Attributes:
        forward: the forward step, which also emits what backward reads (`saved_0`, …).
        loop: the backward step. Its inputs are the streams `gradient_output`, `gradient_emit_NAME`, the saved
            ones, and what the forward step read (a state's history by the state's name); its states are
            `gradient_STATE`; it emits the gradient of each input as `gradient_NAME`, and further streams.
        saved: names of the saved streams, with those that are new states as they stand after the step.
        histories: states whose values before the step backward reads.
        weights: gradients of blocks, from streams that the loop emits or reads.
        biases: (slot, gate) to the stream whose sum over rows and steps is its gradient.
        vectors: the same of learned vectors.
        statics: static inputs to the stream whose sum over steps is its gradient.
        memories: gradients of memories, from streams.
        keys, energies: memories and learned vectors whose gradients the loop sums itself.
    """

    forward: Graph
    loop: Graph
    saved: tuple[str, ...]
    histories: tuple[str, ...]
    weights: tuple[WeightGradient, ...]
    biases: tuple[tuple[str, str, str], ...]
    vectors: tuple[tuple[str, str], ...]
    statics: tuple[tuple[str, str], ...]
    memories: tuple[MemoryGradient, ...] = ()
    keys: tuple[str, ...] = ()
    energies: tuple[str, ...] = ()


def backward(graph: Graph) -> Backward:
    """The training loops of an expanded forward step.

    Raises:
        GraphError: the graph has no derivative here (attention by location).
    """
    graph = simplify(graph)
    derived = differentiated(simplify(derive(graph)))
    graph = differentiated(graph)
    flows: list[bool] = []
    for node in derived.nodes:
        flows.append(node.op == "cotangent" or any(flows[arg] for arg in node.args))
    saved = _choose_saved(graph, derived, flows)
    loop = _Loop(graph, derived, saved)
    return loop.result()


def _choose_saved(graph: Graph, derived: Graph, flows: list[bool]) -> dict[int, str]:
    """Nodes of the derived graph that the forward pass must hand over, by their names."""
    used = {arg for i, node in enumerate(derived.nodes) if flows[i] for arg in node.args if not flows[arg]}
    news = _positions(graph, derived)
    saved: dict[int, str] = {}
    at_hand: set[int] = {i for i, node in enumerate(derived.nodes) if OPS[node.op].sort == "leaf"}

    def computed_again(index: int) -> bool:
        """Whether a value follows from what is at hand by cheap operations, or by one that is not."""
        node = derived.nodes[index]
        if index in at_hand:
            return True
        if is_transcendental(node):
            return all(arg in at_hand for arg in node.args)
        return (_is_cheap(node) or node.op == "broadcast") and all(computed_again(arg) for arg in node.args)

    for index, state in news.items():
        if index in _ancestors(derived, used):
            saved[index] = f"new_{state}"
            at_hand.add(index)
    forward, backward_ = _numbered(graph, derived)
    known = set(forward)

    def ensure(index: int) -> None:
        if computed_again(index):
            return
        if backward_[index] in known:
            saved[index] = f"{SAVED}{len(saved)}"
            at_hand.add(index)
        else:  # 1 - y * y, say, of a gate y: the gate is what the forward pass has
            for arg in derived.nodes[index].args:
                ensure(arg)

    for index in sorted(used):
        ensure(index)
    needed = _ancestors(derived, used, stop=set(saved))
    return {index: name for index, name in saved.items() if index in needed or index in used}


def _is_cheap(node: Node) -> bool:
    """Whether an operation costs about as much as reading its result back from memory would."""
    return OPS[node.op].sort == "elementwise" and not is_transcendental(node)


def _positions(graph: Graph, derived: Graph) -> dict[int, str]:
    """Where the new values of states stand among the nodes of the derived graph."""
    forward, backward_ = _numbered(graph, derived)
    places = {number: index for index, number in reversed(list(enumerate(backward_)))}
    found = {}
    for state in graph.states:
        place = places.get(forward[graph.output(f"state:{state.name}")])
        if place is not None and OPS[derived.nodes[place].op].sort != "leaf":
            found[place] = state.name
    return found


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
    found: set[int] = set()
    waiting = list(nodes)
    while waiting:
        index = waiting.pop()
        if index in found:
            continue
        found.add(index)
        if stop is None or index not in stop:
            waiting += graph.nodes[index].args
    return found


class _Loop:
    """Rewrites a derived graph into the backward loop."""

    def __init__(self, graph: Graph, derived: Graph, saved: dict[int, str]) -> None:
        self.graph = graph
        self.derived = derived
        self.saved = saved
        self.builder = Builder()
        self.inputs: dict[str, InputSpec] = {}
        self.emitted: dict[str, Expr] = {}
        self.histories: list[str] = []

    def read(self, name: str, width: str | int) -> Expr:
        self.inputs.setdefault(name, InputSpec(name, "input", width))
        return self.builder.leaf("input", width, name=name)

    def place(self, index: int, node: Node, args: tuple[Expr, ...]) -> Expr:
        """What stands for a node of the derived graph."""
        if index in self.saved:
            return self.read(self.saved[index], node.width)
        match node.op:
            case "cotangent":
                kind, _, name = node.text("name").partition(":")
                if kind == "emit":
                    return self.read(f"{GRADIENT}emit_{name}", node.width)
                carried = self.builder.leaf("state", node.width, name=f"{GRADIENT}{name}")
                if name == self.graph.states[0].name:
                    return carried + self.read(f"{GRADIENT}output", node.width)
                return carried
            case "state":
                name = node.text("name")
                if name not in self.histories:
                    self.histories.append(name)
                return self.read(f"old_{name}", node.width)
            case "input":
                return self.read(node.text("name"), node.width)
            case "static" | "memory" as kind:
                self.inputs.setdefault(node.text("name"), InputSpec(node.text("name"), kind, node.width))
                return self.builder.leaf(kind, node.width, name=node.text("name"))
            case _:
                return self.builder.intern(replace(node, args=tuple(arg.index for arg in args)))

    def emit(self, expr: Expr, wish: str) -> str:
        """A stream with a value: one that is read already, or a new one."""
        node = expr.node
        if node.op == "input":
            return node.text("name")
        for name, other in self.emitted.items():
            if other.index == expr.index:
                return name
        self.emitted[wish] = expr
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
        kinds = {spec.name: spec.kind for spec in self.graph.inputs}
        for key, index in self.derived.outputs:
            kind, _, name = key.partition(":")
            node = self.derived.nodes[index]
            if kind == "gradient":
                value = placed[index]
                if name not in kinds:
                    states[name] = value
                elif kinds[name] == "static":
                    statics.append((name, self.emit(value, f"{GRADIENT}{name}")))
                else:
                    self.emitted[f"{GRADIENT}{name}"] = value
                continue
            if node.op == "keys_gradient":
                keys.append(node.text("name"))
                continue
            if node.op == "energy_gradient":
                energies.append(node.text("name"))
                continue
            value = placed[node.args[0]]
            label = name.replace(":", "_")
            if kind == "memory":
                of, weighed = self.emit(value, f"weights_{label}"), placed[node.args[1]]
                memories.append(MemoryGradient(node.text("name"), of, self.emit(weighed, f"weighed_{label}")))
                continue
            stream = self.emit(value, f"flow_{label}")
            if kind == "weight":
                operand = self.emit(placed[node.args[1]], f"operand_{label}")
                weights.append(WeightGradient(node.text("slot"), node.text("gate"), stream, operand))
            elif kind == "bias":
                biases.append((node.text("slot"), node.text("gate"), stream))
            else:
                vectors.append((node.text("name"), stream))
        outputs = {f"emit:{name}": expr.index for name, expr in self.emitted.items()}
        carried = []
        for state in self.graph.states:
            name = f"{GRADIENT}{state.name}"
            carried.append(StateSpec(name, state.size))
            if state.name not in states:
                zero = self.builder.constant(0.0)
                states[state.name] = self.builder.apply("broadcast", zero, width=state.size)
            outputs[f"state:{name}"] = states[state.name].index
        loop = replace(
            self.derived,
            name=f"{self.graph.name}_backward",
            nodes=tuple(self.builder.nodes),
            inputs=tuple(self.inputs.values()),
            states=tuple(carried),
            outputs=tuple(outputs.items()),
            gates=(),
        )
        used = set(self.inputs)
        return Backward(
            forward=self.forward(used),
            loop=drop_dead(loop),
            saved=tuple(name for name in self.saved.values() if name in used),
            histories=tuple(self.histories),
            weights=tuple(weights),
            biases=tuple(biases),
            vectors=tuple(vectors),
            statics=tuple(statics),
            memories=tuple(memories),
            keys=tuple(keys),
            energies=tuple(energies),
        )

    def forward(self, used: set[str]) -> Graph:
        """The forward step with the saved values among its outputs."""
        forward, derived = _numbered(self.graph, self.derived)
        places = {number: index for index, number in reversed(list(enumerate(forward)))}
        outputs = self.graph.outputs
        for index, name in self.saved.items():
            if name.startswith(SAVED) and name in used:
                outputs += ((f"emit:{name}", places[derived[index]]),)
        return replace(self.graph, outputs=outputs)
