"""Variants of a cell, as graphs: without biases, with recurrent dropout, with zoneout, with gates that are scaled, with
states that begin anew, and with what a tape keeps.

The layer draws the masks and passes them in as further inputs, so that a kernel never draws a random number
and a run repeats.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache

from gatework.errors import nearest
from gatework.graph.builder import Builder, Expr
from gatework.graph.keys import ArrayKey
from gatework.graph.node import MASK_PREFIXES, Graph, InputSpec, Node
from gatework.graph.rewrite import drop_dead, rebuild
from gatework.graph.simplify import simplify

DROPOUT, ZONEOUT, _RESET = MASK_PREFIXES
RESET = f"{_RESET}states"
"""The input of a graph with resets: 1 where a row's states are those of the cell's start, (T, B, 1)."""

TAPE, PUSH, SKIP = "tape.", "push.", "skip."
"""What the names of outputs and inputs begin with that are a tape's: no name that a cell gives holds a dot."""


@lru_cache(maxsize=256)
def variant(
    graph: Graph,
    *,
    bias: bool = True,
    recurrent_dropout: bool = False,
    zoneout: tuple[tuple[str, float], ...] = (),
    training: bool = False,
    emitted: tuple[str, ...] = (),
    reset: bool = False,
    taped: tuple[str, ...] | None = None,
    pushed: bool = False,
    skipped: bool = False,
    scaled: tuple[tuple[str, float], ...] = (),
) -> Graph:
    """The graph that a layer runs in its present mode.

    Args:
        zoneout: states and their rates.
        training: draw zoneout's masks rather than take its expected value.
        emitted: gates and states that are outputs too.
        reset: states may begin anew inside a sequence.
        taped: gates and states that a tape keeps; those of them that the cell does not have are left out. None: no
            tape records.
        pushed: the tape keeps the gradient at every state as well.
        skipped: steps may be left out.
        scaled: gates and what they are multiplied by; those of them that the cell does not have are left out.

    Raises:
        ValueError: there is no such gate or state, or the cell emits its name already.
    """
    if not bias:
        graph = without_bias(graph)
    if recurrent_dropout:
        graph = with_recurrent_dropout(graph)
    if zoneout:
        graph = with_zoneout(graph, dict(zoneout), training=training)
    if scaled:
        graph = with_scaled(graph, dict(scaled))
    if skipped:
        graph = with_skips(graph)
    if pushed:
        graph = with_pushes(graph)
    if taped is not None:
        graph = with_taped(graph, taped)
    if emitted:
        graph = with_emitted(graph, emitted)
    if reset:
        graph = with_reset(graph)
    return graph


def with_emitted(graph: Graph, names: Sequence[str]) -> Graph:
    """The cell with some gates, and new values of states, among its outputs; a state is meant before a gate."""
    known = values_by_name(graph)
    for name in names:
        if name not in known:
            raise ValueError(f"{graph.name} has no gate or state {name!r} to emit. {nearest(name, known)}")
        if name == "output" or name in graph.emits():
            raise ValueError(
                f"{graph.name} gives another value by the name of its gate {name!r} already: record it on a tape."
            )
    new = tuple((ArrayKey("emit", name), known[name]) for name in dict.fromkeys(names))
    return replace(graph, outputs=graph.outputs + new)


def values_by_name(graph: Graph) -> dict[str, int]:
    """The nodes of a cell's gates and of its states' new values; a state is meant before a gate."""
    return {**dict(graph.gates), **{state.name: graph.next_state(state.name) for state in graph.states}}


def with_taped(graph: Graph, names: Sequence[str]) -> Graph:
    """The cell with gates, and new values of states, among its outputs, by names of a tape's own."""
    known = values_by_name(graph)
    new = tuple((ArrayKey("emit", f"{TAPE}{name}"), known[name]) for name in names if name in known)
    return replace(graph, outputs=graph.outputs + new)


def is_taped(key: ArrayKey) -> bool:
    """Whether an output is a tape's, which only reads it."""
    return key.kind == "emit" and key.name.startswith(TAPE)


def with_scaled(graph: Graph, factors: Mapping[str, float]) -> Graph:
    """The cell with some gates multiplied by a number, wherever they are read: 0 switches a gate off."""
    own = {graph.nodes[index]: factors[name] for name, index in graph.gates if name in factors}

    def rule(builder: Builder, node: Node, args: tuple[Expr, ...]) -> Expr | None:
        if node not in own:
            return None
        return own[node] * builder.intern(replace(node, args=tuple(arg.index for arg in args)))

    return rebuild(graph, rule)


def with_skips(graph: Graph) -> Graph:
    """The cell with an input for each state that leaves steps out: where it is 1 the state stays as it was.

    Its gradient at 0 is what leaving a unit of a step out would do to the loss, to first order. Alignments, whose size
    a call decides, go on as ever.
    """
    builder = Builder(graph.nodes)
    outputs, skips = dict(graph.outputs), []
    for state in graph.states:
        if graph.counts_steps(state.size):
            continue
        skips.append(InputSpec(f"{SKIP}{state.name}", "input", state.size))
        new = Expr(builder, outputs[ArrayKey("state", state.name)])
        old = builder.leaf("state", state.size, name=state.name)
        mixed = new + builder.leaf("input", state.size, name=skips[-1].name) * (old - new)
        outputs[ArrayKey("state", state.name)] = mixed.index
    inputs = (*graph.inputs, *skips)
    return replace(graph, nodes=tuple(builder.nodes), outputs=tuple(outputs.items()), inputs=inputs)


def with_pushes(graph: Graph) -> Graph:
    """The cell with an input of zeros that is added to each state's new value, wherever that is read.

    The gradient of such an input is the total derivative at the state: through what the same step makes of it, through
    the output and through all later steps. Alignments, whose size a call decides, have none.
    """
    pushes = [
        (graph.nodes[graph.next_state(state.name)], InputSpec(f"{PUSH}{state.name}", "input", state.size))
        for state in graph.states
        if not graph.counts_steps(state.size)
    ]

    def pushed(builder: Builder, node: Node, value: Expr) -> Expr:
        for own, spec in pushes:
            if own == node:
                value = value + builder.leaf("input", spec.size, name=spec.name)
        return value

    def rule(builder: Builder, node: Node, args: tuple[Expr, ...]) -> Expr | None:
        if not args or all(own != node for own, _ in pushes):
            return None
        return pushed(builder, node, builder.intern(replace(node, args=tuple(arg.index for arg in args))))

    rebuilt = rebuild(graph, rule)
    builder = Builder(rebuilt.nodes)
    outputs = dict(rebuilt.outputs)
    for key, index in graph.outputs:  # a state that is handed on as it was, or an input that becomes one
        if key.kind == "state" and not (leaf := graph.nodes[index]).args:
            outputs[key] = pushed(builder, leaf, Expr(builder, outputs[key])).index
    inputs = (*rebuilt.inputs, *(spec for _, spec in pushes))
    return replace(rebuilt, nodes=tuple(builder.nodes), outputs=tuple(outputs.items()), inputs=inputs)


def without_pushes(graph: Graph) -> Graph:
    """The steps of a cell whose pushes are known to be zeros: none of them is read. They stay declared inputs."""
    if not any(is_push(spec.name) for spec in graph.inputs):
        return graph

    def rule(builder: Builder, node: Node, args: tuple[Expr, ...]) -> Expr | None:
        if node.op == "input" and is_push(node.text("name")):
            return builder.constant(0.0)
        return None

    return simplify(rebuild(graph, rule))


def is_push(name: str) -> bool:
    """Whether an input is a tape's zeros, of which only the gradient is of use."""
    return name.startswith(PUSH)


def with_reset(graph: Graph) -> Graph:
    """The cell with states that begin anew where an input says so (`RESET`): it reads the start in place of a state.

    The start is selected, not multiplied in: what stands in the old state, infinity and NaN too, has no effect, and
    no gradient flows to it.
    """
    starts = {state.name: state.init for state in graph.states}

    def rule(builder: Builder, node: Node, args: tuple[Expr, ...]) -> Expr | None:
        if node.op != "state":
            return None
        begins = builder.leaf("input", 1, name=RESET)
        return builder.apply(
            "where", begins, builder.constant(starts[node.text("name")]), builder.intern(node)
        )

    return replace(rebuild(graph, rule), inputs=(*graph.inputs, InputSpec(RESET, "input", 1)))


def without_bias(graph: Graph) -> Graph:
    """The cell with no bias in its linear maps; normalisations and vectors keep theirs."""

    def rule(builder: Builder, node: Node, args: tuple[Expr, ...]) -> Expr | None:
        return builder.constant(0.0) if node.op == "bias" else None

    bare = rebuild(graph, rule)
    return simplify(replace(bare, blocks=tuple(replace(block, bias=False) for block in bare.blocks)))


def with_recurrent_dropout(graph: Graph) -> Graph:
    """A mask, one for the whole sequence, on each operand of the recurrent products (Gal & Ghahramani 2016).

    Adds a static input `dropout_mask_WIDTH` for each width of recurrent operands: 0 or 1 / (1 - p) a unit.
    """
    masks: dict[str, InputSpec] = {}

    def rule(builder: Builder, node: Node, args: tuple[Expr, ...]) -> Expr | None:
        if node.op != "gate_matmul" or node.text("slot").split("_")[-1] != "hh":
            return None
        width = args[0].width
        name = f"{DROPOUT}{width}"
        masks[name] = InputSpec(name, "static", width)
        masked = args[0] * builder.leaf("static", width, name=name)
        return builder.intern(replace(node, args=(masked.index,)))

    dropped = rebuild(graph, rule)
    return replace(dropped, inputs=dropped.inputs + tuple(masks.values()))


def with_zoneout(graph: Graph, rates: Mapping[str, float], *, training: bool) -> Graph:
    """States that keep their previous value at random (Krueger et al. 2016).

    Args:
        rates: state names to the probability that a unit keeps its value.
        training: draw (an input `zoneout_mask_STATE`, 1 where a unit is kept, a step), or take the expected
            value, rate * old + (1 - rate) * new.
    """
    builder = Builder(graph.nodes)
    outputs = dict(graph.outputs)
    masks = []
    for state in graph.states:
        rate = rates.get(state.name, 0.0)
        if rate == 0:
            continue
        old = builder.leaf("state", state.size, name=state.name)
        new = Expr(builder, outputs[ArrayKey("state", state.name)])
        if training:
            name = f"{ZONEOUT}{state.name}"
            masks.append(InputSpec(name, "input", state.size))
            mixed = builder.apply("where", builder.leaf("input", state.size, name=name), old, new)
        else:
            mixed = rate * old + (1 - rate) * new
        outputs[ArrayKey("state", state.name)] = mixed.index
    zoned = replace(
        graph, nodes=tuple(builder.nodes), outputs=tuple(outputs.items()), inputs=graph.inputs + tuple(masks)
    )
    return drop_dead(zoned)
