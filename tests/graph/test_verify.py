"""The verifier refuses every illegal graph: each rule is broken once in an otherwise legal graph."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

import gatework as gw
from gatework.graph import Block, Graph, GraphError, InputSpec, Node, StateSpec, VectorSpec, verify
from gatework.graph.keys import ArrayKey
from gatework.graph.ops import OPS

PEEPHOLE = gw.cells.get("peephole_lstm").graph
NORMED = gw.cells.get("layer_norm_lstm").graph


@gw.cell
def attending(x, h, memory: gw.Memory):
    return gw.tanh(gw.linear("candidate", x, h, context=gw.attend("source", h, memory)))


@gw.cell
def locating(x, h, memory: gw.Memory):
    return gw.tanh(gw.linear("candidate", x, h, context=gw.attend("source", h, memory, score="location")))


def with_node(graph: Graph, op: str, **changes: Any) -> Graph:
    """The graph with the first node of an operation changed; attributes by their own names."""
    index = next(i for i, node in enumerate(graph.nodes) if node.op == op)
    node = graph.nodes[index]
    fields = {key: changes.pop(key) for key in ("args", "width") if key in changes}
    fields["op"] = changes.pop("new_op", op)
    attributes = dict(node.attributes) | changes
    changed = replace(node, attributes=tuple(sorted(attributes.items())), **fields)
    return replace(graph, nodes=(*graph.nodes[:index], changed, *graph.nodes[index + 1 :]))


def plus_node(graph: Graph, node: Node) -> Graph:
    return replace(graph, nodes=(*graph.nodes, node))


def at(graph: Graph, op: str) -> int:
    return next(i for i, node in enumerate(graph.nodes) if node.op == op)


ILLEGAL: dict[str, tuple[Callable[[], Graph], str]] = {
    "name of the cell": (lambda: replace(PEEPHOLE, name="../etc"), "no name"),
    "no input": (lambda: replace(PEEPHOLE, inputs=()), "no input"),
    "first input a memory": (
        lambda: replace(PEEPHOLE, inputs=(InputSpec("x", "memory", "input_size"),)),
        "first input",
    ),
    "kind of input": (
        lambda: replace(PEEPHOLE, inputs=(*PEEPHOLE.inputs, InputSpec("y", "stream", 1))),  # type: ignore[arg-type]
        "unknown kind",
    ),
    "no state": (lambda: replace(PEEPHOLE, states=()), "no state"),
    "state declared twice": (lambda: replace(PEEPHOLE, states=PEEPHOLE.states * 2), "2 times"),
    "state named as the input": (
        lambda: replace(PEEPHOLE, states=(*PEEPHOLE.states, StateSpec("x", "hidden_size"))),
        "2 times",
    ),
    "start of a state": (
        lambda: replace(PEEPHOLE, states=(replace(PEEPHOLE.states[0], init="zero"), PEEPHOLE.states[1])),
        "no number",
    ),
    "start of a state not a number": (
        lambda: replace(PEEPHOLE, states=(replace(PEEPHOLE.states[0], init=math.nan), PEEPHOLE.states[1])),
        "no number",
    ),
    "size zero": (lambda: replace(PEEPHOLE, inputs=(InputSpec("x", "input", 0),)), "neither a name"),
    "size true": (lambda: replace(PEEPHOLE, inputs=(InputSpec("x", "input", True),)), "neither a name"),
    "block declared twice": (lambda: replace(PEEPHOLE, blocks=PEEPHOLE.blocks * 2), "2 times"),
    "block missing": (lambda: replace(PEEPHOLE, blocks=PEEPHOLE.blocks[1:]), "not declared"),
    "widths in a slot": (
        lambda: replace(PEEPHOLE, blocks=(replace(PEEPHOLE.blocks[0], columns=9), *PEEPHOLE.blocks[1:])),
        "different widths",
    ),
    "bias in part of a slot": (
        lambda: replace(PEEPHOLE, blocks=(replace(PEEPHOLE.blocks[0], bias=False), *PEEPHOLE.blocks[1:])),
        "bias",
    ),
    "bias no truth value": (
        lambda: replace(PEEPHOLE, blocks=(replace(PEEPHOLE.blocks[0], bias=1), *PEEPHOLE.blocks[1:])),
        "neither true nor false",
    ),
    "slot's name": (
        lambda: replace(PEEPHOLE, blocks=(*PEEPHOLE.blocks, Block("a.b", "gate", 1, 1, False))),
        "no name",
    ),
    "vector declared twice": (lambda: replace(PEEPHOLE, vectors=PEEPHOLE.vectors * 2), "2 times"),
    "vector named as a weight": (
        lambda: replace(PEEPHOLE, vectors=(*PEEPHOLE.vectors, VectorSpec("weight_hh", "hidden_size"))),
        "packed parameter",
    ),
    "vector named as a bias": (
        lambda: replace(PEEPHOLE, vectors=(*PEEPHOLE.vectors, VectorSpec("bias_ih", "hidden_size"))),
        "packed parameter",
    ),
    "vector missing": (lambda: replace(PEEPHOLE, vectors=PEEPHOLE.vectors[1:]), "not declared"),
    "start of a vector": (
        lambda: replace(PEEPHOLE, vectors=(*PEEPHOLE.vectors, VectorSpec("v", 1, float("nan")))),
        "neither a number",
    ),
    "unknown operation": (lambda: with_node(PEEPHOLE, "tanh", new_op="system"), "no such operation"),
    "too many arguments": (lambda: with_node(PEEPHOLE, "tanh", args=(0, 1)), "takes 1 arguments"),
    "argument of itself": (
        lambda: with_node(PEEPHOLE, "tanh", args=(at(PEEPHOLE, "tanh"),)),
        "no earlier node",
    ),
    "negative argument": (lambda: with_node(PEEPHOLE, "tanh", args=(-1,)), "no earlier node"),
    "argument no index": (lambda: with_node(PEEPHOLE, "tanh", args=(0.0,)), "no earlier node"),
    "attribute too many": (lambda: with_node(PEEPHOLE, "tanh", slope=0.1), "attributes"),
    "attribute missing": (
        lambda: plus_node(PEEPHOLE, Node("constant")),
        "attributes",
    ),
    "attribute no number": (
        lambda: plus_node(PEEPHOLE, Node("constant", (), (("value", "1"),))),
        "no number",
    ),
    "wide constant": (lambda: plus_node(PEEPHOLE, Node("constant", (), (("value", 1.0),), 4)), "width 1"),
    "unknown input": (lambda: with_node(PEEPHOLE, "input", name="y"), "not declared"),
    "unknown state": (lambda: with_node(PEEPHOLE, "state", name="y"), "not declared"),
    "width of an input": (lambda: with_node(PEEPHOLE, "input", width="hidden_size"), "width"),
    "width of a result": (lambda: with_node(PEEPHOLE, "tanh", width=1), "width"),
    "widths of operands": (
        lambda: plus_node(
            PEEPHOLE, Node("add", (at(PEEPHOLE, "input"), at(PEEPHOLE, "state")), (), "hidden_size")
        ),
        "different widths",
    ),
    "unknown block": (lambda: with_node(PEEPHOLE, "gate_matmul", gate="nothing"), "not declared"),
    "width of a product": (lambda: with_node(PEEPHOLE, "gate_matmul", width=3), "width"),
    "operand of a product": (
        lambda: with_node(PEEPHOLE, "gate_matmul", args=(at(PEEPHOLE, "state"),)),
        "operand",
    ),
    "wide reduction": (
        lambda: plus_node(PEEPHOLE, Node("sum", (at(PEEPHOLE, "tanh"),), (), "hidden_size")),
        "reduction",
    ),
    "empty reduction": (lambda: plus_node(PEEPHOLE, Node("sum")), "no argument"),
    "norm of no argument": (lambda: with_node(NORMED, "layer_norm", index=7), "no argument"),
    "norm of a fraction": (lambda: with_node(NORMED, "layer_norm", index=0.5), "no argument"),
    "memory in arithmetic": (
        lambda: plus_node(attending.graph, Node("tanh", (at(attending.graph, "memory"),), (), "memory_size")),
        "memory",
    ),
    "memory in a reduction": (
        lambda: plus_node(attending.graph, Node("sum", (at(attending.graph, "memory"),), (), 1)),
        "memory",
    ),
    "attention to no memory": (
        lambda: with_node(attending.graph, "attention_weights", args=(at(attending.graph, "state"),) * 2),
        "no memory",
    ),
    "unknown score": (lambda: with_node(attending.graph, "attention_weights", score="cosine"), "score"),
    "score without its arguments": (
        lambda: with_node(attending.graph, "attention_weights", score="location"),
        "takes 3",
    ),
    "score without its parameters": (lambda: replace(attending.graph, vectors=()), "not declared"),
    "width of a context": (
        lambda: with_node(attending.graph, "attention_context", width="hidden_size"),
        "width",
    ),
    "width of an alignment": (
        lambda: with_node(attending.graph, "attention_weights", width=1),
        "width|alignment",
    ),
    "previous alignment of another width": (
        lambda: with_node(
            locating.graph,
            "attention_weights",
            args=(
                *locating.graph.nodes[at(locating.graph, "attention_weights")].args[:2],
                at(locating.graph, "state"),
            ),
        ),
        "alignment|width",
    ),
    "state without a new value": (lambda: replace(PEEPHOLE, outputs=PEEPHOLE.outputs[:1]), "no new value"),
    "width of a new value": (
        lambda: replace(
            PEEPHOLE, outputs=((ArrayKey("state", "h"), at(PEEPHOLE, "input")), PEEPHOLE.outputs[1])
        ),
        "new value",
    ),
    "output at no node": (
        lambda: replace(PEEPHOLE, outputs=(*PEEPHOLE.outputs, (ArrayKey("emit", "e"), 999))),
        "no node",
    ),
    "output given twice": (lambda: replace(PEEPHOLE, outputs=PEEPHOLE.outputs * 2), "2 times"),
    "gate at no node": (lambda: replace(PEEPHOLE, gates=(("g", -1),)), "no node"),
    "gate given twice": (lambda: replace(PEEPHOLE, gates=PEEPHOLE.gates * 2), "2 times"),
}


@pytest.mark.parametrize("rule", ILLEGAL)
def test_an_illegal_graph_is_refused(rule: str) -> None:
    make, message = ILLEGAL[rule]
    with pytest.raises(GraphError, match=message):
        verify(make())


@pytest.mark.parametrize("name", gw.cells.names())
@pytest.mark.parametrize("stage", gw.graph.PASS_NAMES)
def test_every_pass_leaves_a_legal_graph(name: str, stage: Any) -> None:
    verify(gw.graph.lower(gw.cells.get(name).graph, stage))


def test_an_attention_by_location_is_legal_after_every_pass() -> None:
    for stage in gw.graph.PASS_NAMES:
        verify(gw.graph.lower(locating.graph, stage))
    lowered = gw.graph.lower(locating.graph, "expand")
    node = lowered.nodes[at(lowered, "location_score")]
    with pytest.raises(GraphError, match="its kernel has width memory_size"):
        verify(with_node(lowered, "location_score", args=(*node.args[:4], at(lowered, "memory"))))


@gw.cell
def two_memories(x: Any, h: Any, a: gw.Memory, b: gw.Memory) -> Any:
    first = gw.attend("first", h, a, score="general")
    return h + gw.linear("read", x, h, first=first, second=gw.attend("second", h, b))


def test_a_stranger_may_not_read_one_memory_by_the_weights_of_another() -> None:
    graph = two_memories.graph
    verify(graph, forward=True)
    first, second = (i for i, node in enumerate(graph.nodes) if node.op == "attention_context")
    alignment, _ = graph.nodes[first].args
    nodes = list(graph.nodes)
    nodes[second] = replace(nodes[second], args=(alignment, nodes[second].args[1]))
    with pytest.raises(GraphError, match="another memory"):
        verify(replace(graph, nodes=tuple(nodes)), forward=True)


def test_a_stranger_may_not_attend_twice_by_one_name() -> None:
    graph = two_memories.graph
    nodes = tuple(
        replace(node, attributes=(("name", "second"), ("score", "additive")))
        if node.op == "attention_weights"
        else node
        for node in graph.nodes
    )
    vectors = tuple(vector for vector in graph.vectors if vector.name != "first_memory")
    sizes = {spec.name: spec.size for spec in graph.inputs}
    same = tuple(replace(spec, size=sizes["b"]) if spec.name == "a" else spec for spec in graph.inputs)
    nodes = tuple(
        replace(node, width=sizes["b"])
        if node.op in ("memory", "attention_context") and node.width == sizes["a"]
        else node
        for node in nodes
    )
    blocks = tuple(replace(b, columns=sizes["b"]) if b.columns == sizes["a"] else b for b in graph.blocks)
    with pytest.raises(GraphError, match="declared 2 times"):
        verify(replace(graph, nodes=nodes, vectors=vectors, inputs=same, blocks=blocks), forward=True)


@pytest.mark.parametrize("name", ["dropout_mask_hidden_size", "zoneout_mask_h"])
def test_a_stranger_may_not_read_a_layers_mask(name: str) -> None:
    graph = replace(PEEPHOLE, inputs=(*PEEPHOLE.inputs, InputSpec(name, "static", "hidden_size")))
    verify(graph)
    with pytest.raises(GraphError, match="mask"):
        verify(graph, forward=True)


@pytest.mark.parametrize("op", ["dot_score", "additive_score", "masked_softmax"])
def test_what_passes_make_of_an_attention_is_not_read_from_a_file(op: str) -> None:
    lowered = gw.graph.lower(two_memories.graph, "expand")
    assert any(node.op == op for node in lowered.nodes)
    verify(lowered)
    with pytest.raises(GraphError, match="passes have made"):
        verify(lowered, forward=True)
    with pytest.raises(GraphError, match="width"):
        verify(with_node(lowered, op, width="hidden_size"))


@pytest.mark.parametrize("op", ["additive_score", "masked_softmax"])
def test_a_row_of_a_memory_has_its_widths(op: str) -> None:
    lowered = gw.graph.lower(attending.graph, "expand")
    verify(lowered)
    node = lowered.nodes[at(lowered, op)]
    wrong = at(lowered, "input")
    with pytest.raises(GraphError, match="has width"):
        verify(with_node(lowered, op, args=(wrong, *node.args[1:])))
    with pytest.raises(GraphError, match="no memory"):
        verify(with_node(lowered, op, args=(node.args[0], wrong, *node.args[2:])))


def test_what_passes_make_to_work_on_a_memory_states_its_widths() -> None:
    for op, row in OPS.items():
        assert (row.on_memory is not None) == (row.sort == "attention" and not row.traced), op
