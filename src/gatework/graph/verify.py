"""What a legal graph is.

Everything that reads a graph may rely on what is checked here: it runs on every traced cell, on every graph
read from a file, and after every pass in the tests.
"""

from __future__ import annotations

import math
import re
from collections import Counter

from gatework.errors import GateworkError
from gatework.graph.keys import CELL_KINDS, KINDS, ArrayKey
from gatework.graph.node import MASK_PREFIXES, RESULT, Graph, Node, OnMemory, Width, is_start
from gatework.graph.ops import OPS, SCORES, VARIADIC

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*\Z")
_STRINGS = ("gate", "kind", "slot", "name", "score", "of")
_LARGEST_SIZE = 2**31


class GraphError(GateworkError, ValueError):
    """A graph that is not legal: what is wrong, and at which node."""


def verify(graph: Graph, *, forward: bool = False) -> None:
    """Checks that a graph is legal.

    Args:
        forward: it must be a forward step: a new value for every state, no operation of derived graphs.

    Raises:
        GraphError: it is not; the message names the node and the rule.
    """
    _check_declarations(graph)
    declared = _leaf_widths(graph)
    for index, node in enumerate(graph.nodes):
        try:
            _check_node(graph, index, node)
            _check_names(graph, declared, node)
        except GraphError as error:
            raise GraphError(f"{graph.name}, node {index} ({node.op}): {error}") from None
    _check_outputs(graph)
    if forward:
        _check_forward(graph)


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise GraphError(message)


def _check_name(what: str, name: object) -> None:
    _require(isinstance(name, str) and bool(_NAME.match(name)), f"the {what} {name!r} is no name")


def _check_width(what: str, width: object) -> None:
    if isinstance(width, str):
        _check_name(f"size of {what}", width)
    else:
        _require(
            isinstance(width, int) and not isinstance(width, bool) and 0 < width < _LARGEST_SIZE,
            f"the size {width!r} of {what} is neither a name nor a positive number",
        )


def _check_unique(what: str, names: list[str]) -> None:
    for name, count in Counter(names).items():
        _require(count == 1, f"the {what} {name!r} is declared {count} times")


def _check_declarations(graph: Graph) -> None:
    _check_name("cell's name", graph.name)
    _require(bool(graph.inputs), f"{graph.name} declares no input")
    made = any(spec.kind not in CELL_KINDS for spec in graph.inputs)  # by a pass, which has kinds of its own
    _require(
        made or graph.inputs[0].kind == "input",
        f"the first input of {graph.name} is no sequence input, of one vector a step",
    )
    _require(bool(graph.states), f"{graph.name} declares no state")
    for spec in graph.inputs:
        if spec.kind in CELL_KINDS:
            _check_name("input", spec.name)
        _require(spec.kind in KINDS, f"the input {spec.name} is of an unknown kind, {spec.kind!r}")
        _check_width(spec.name, spec.size)
    for state in graph.states:
        _check_name("state", state.name)
        _check_width(state.name, state.size)
        _require(
            isinstance(state.init, int | float) and not math.isnan(state.init),
            f"the start of the state {state.name} is no number",
        )
    names = [":".join(spec.key) if made else spec.name for spec in graph.inputs]
    _check_unique("input or state", names + [state.name for state in graph.states])
    for block in graph.blocks:
        _check_name("slot", block.slot)
        _check_name("gate", block.gate)
        _check_width(block.gate, block.rows)
        _check_width(block.gate, block.columns)
        _require(
            isinstance(block.bias, bool), f"the bias of {block.slot}.{block.gate} is neither true nor false"
        )
        _require(
            isinstance(block.heads, int) and not isinstance(block.heads, bool) and block.heads >= 1,
            f"the heads of {block.slot}.{block.gate} are no whole number from 1 on",
        )
        _require(
            block.heads == 1 or block.rows == block.columns,
            f"{block.slot}.{block.gate} has heads and is not square",
        )
    _check_unique("block", [f"{block.slot}.{block.gate}" for block in graph.blocks])
    for slot, blocks in graph.slots().items():
        columns = {block.columns for block in blocks}
        _require(
            len(columns) == 1,
            f"the blocks of weight_{slot} have different widths: {sorted(map(str, columns))}",
        )
        _require(
            len({block.heads for block in blocks}) == 1, f"the blocks of weight_{slot} have different heads"
        )
        _require(
            len({block.bias for block in blocks}) == 1,
            f"some blocks of weight_{slot} have a bias and some have none",
        )
    for vector in graph.vectors:
        _check_name("vector", vector.name)
        _check_width(vector.name, vector.size)
        if vector.columns is not None:
            _check_width(vector.name, vector.columns)
        init = vector.init
        _require(
            is_start(init),
            f"the start {init!r} of the vector {vector.name} is neither a number, nor two in ascending order, nor "
            "'uniform'",
        )
    _check_unique("vector", [vector.name for vector in graph.vectors])
    taken = graph.weight_names()
    for vector in graph.vectors:
        _require(
            vector.name not in taken, f"the vector {vector.name!r} has the name of a slot's packed parameter"
        )


def _check_node(graph: Graph, index: int, node: Node) -> None:
    op = OPS.get(node.op)
    if op is None:
        raise GraphError("there is no such operation")
    if op.arity == VARIADIC:
        _require(bool(node.args), "it has no argument")
    else:
        _require(len(node.args) == op.arity, f"it takes {op.arity} arguments and has {len(node.args)}")
    for arg in node.args:
        _require(isinstance(arg, int) and 0 <= arg < index, f"its argument {arg!r} is no earlier node")
    names = tuple(name for name, _ in node.attributes)
    _require(names == op.attributes, f"its attributes are {names}, and should be {op.attributes}")
    for name, value in node.attributes:
        if name in _STRINGS:
            _require(isinstance(value, str | int), f"its {name} is {value!r}")
        else:
            _require(isinstance(value, int | float), f"its {name} is {value!r}, no number")
    _check_width("its result", node.width)
    _CHECKS.get(op.sort, lambda graph, node: None)(graph, node)


_Declared = dict[tuple[str, ...], Width]


def _leaf_widths(graph: Graph) -> _Declared:
    """What leaves may name, with its width."""
    declared: _Declared = {(spec.kind, spec.name): spec.size for spec in graph.inputs}
    declared |= {("state", state.name): state.size for state in graph.states}
    declared |= {("vector", vector.name): vector.size for vector in graph.vectors}
    declared |= {("vector", v.name, "columns"): v.columns for v in graph.vectors if v.columns is not None}
    declared |= {("bias", block.slot, block.gate): block.rows for block in graph.blocks if block.bias}
    declared |= {("block", block.slot, block.gate, "rows"): block.rows for block in graph.blocks}
    declared |= {("block", block.slot, block.gate, "columns"): block.columns for block in graph.blocks}
    return declared


def _check_names(graph: Graph, declared: _Declared, node: Node) -> None:
    """What a node names is declared, and has the widths that it is used with."""
    match node.op:
        case "constant" | "size":
            _require(node.width == 1, f"a {node.op} has width 1, not {node.width}")
            if node.op == "size":
                _check_width("a size", node["of"])
        case "input" | "static" | "memory" | "state" | "vector":
            _check_declared(declared, (node.op, str(node["name"])), node.width)
        case "array":
            _check_declared(declared, (node.key.kind, node.key.name), node.width)
        case "bias":
            _check_declared(declared, ("bias", str(node["slot"]), str(node["gate"])), node.width)
        case "gate_matmul" | "gate_matmul_transposed":
            block = "block", str(node["slot"]), str(node["gate"])
            takes, gives = ("columns", "rows") if node.op == "gate_matmul" else ("rows", "columns")
            operand = graph.nodes[node.args[0]]
            _require(operand.op != "memory", "a memory is multiplied by a weight outside attend")
            _check_declared(declared, (*block, gives), node.width)
            _check_declared(declared, (*block, takes), operand.width, "its operand's")
        case "attention_weights" | "attention_context":
            _check_attention(graph, declared, node)
        case _:
            on_memory = OPS[node.op].on_memory
            if on_memory is not None:
                _check_on_memory(graph, node, on_memory)


def _check_declared(declared: _Declared, key: tuple[str, ...], width: Width, whose: str = "its") -> None:
    name = ".".join(key[1:3])
    _require(key in declared, f"{name!r} is not declared")
    _require(width == declared[key], f"{whose} width is {width}; {name} has {declared[key]}")


def _check_elementwise(graph: Graph, node: Node) -> None:
    widths = {graph.nodes[arg].width for arg in node.args} - {1}
    _require(len(widths) <= 1, f"its arguments have different widths: {sorted(map(str, widths))}")
    for arg in node.args:
        _require(graph.nodes[arg].op != "memory", "a memory takes part in arithmetic")
    if node.op == "layer_norm":
        position = node["index"]
        _require(
            isinstance(position, int) and 0 <= position < len(node.args),
            f"its index {position!r} is no argument",
        )
    width = widths.pop() if widths else 1
    _require(node.width == width, f"its width is {node.width}; its arguments have {width}")


def _check_broadcast(graph: Graph, node: Node) -> None:
    _require(graph.nodes[node.args[0]].op != "memory", "a memory is no value of the step")
    _require(graph.nodes[node.args[0]].width == 1, "its argument is wide already")


def _check_reduction(graph: Graph, node: Node) -> None:
    for arg in node.args:
        _require(graph.nodes[arg].op != "memory", "a memory is summed outside attend")
    _require(node.width == 1, f"its width is {node.width}; a reduction over the units has 1")


def _check_attention(graph: Graph, declared: _Declared, node: Node) -> None:
    args = [graph.nodes[arg] for arg in node.args]
    memory = args[1] if len(args) > 1 else None
    if memory is None or memory.op != "memory":
        raise GraphError("its second argument is no memory")
    if node.op == "attention_context":
        over = {f"{spec.name}_steps" for spec in graph.inputs_of_kind("memory")}
        _require(args[0].width in over, "its first argument is no alignment over a memory")
        _require(node.width == memory.width, f"its width is {node.width}; the memory has {memory.width}")
        return
    score = node["score"]
    _require(score in SCORES, f"its score is {score!r}")
    arity = 3 if score == "location" else 2
    _require(len(args) == arity, f"the score {score!r} takes {arity} arguments, and it has {len(args)}")
    steps = f"{memory['name']}_steps"
    _require(node.width == steps, f"its width is {node.width}, not the steps of the memory")
    if score == "location":
        _require(args[2].width == steps, "its third argument is no alignment over the memory")
    for (name, part), size in _score_parameters(node, args[0].width, memory.width, declared).items():
        _check_declared(declared, ("vector", name, part) if part else ("vector", name), size)


def _check_on_memory(graph: Graph, node: Node, widths: OnMemory) -> None:
    args = [graph.nodes[arg] for arg in node.args]
    memory = args[widths.memory]
    _require(memory.op == "memory", f"its argument {widths.memory} is no memory")
    for (
        place
    ) in widths.counts_steps:  # keys are a memory of their own, with the steps of the one that they stand for
        width = (node if place == RESULT else args[place]).width
        _require(graph.counts_steps(width), f"a value has width {width}, not the steps of a memory")
    for place in widths.as_wide:
        width = (node if place == RESULT else args[place]).width
        _require(width == memory.width, f"a value has width {width}; {memory['name']} has {memory.width}")
    if widths.energy is not None:
        _require(args[widths.energy].op == "vector", "its energy is no learned vector")
    if widths.kernel is not None:
        kernel = args[widths.kernel]
        _require(kernel.op == "memory", f"its argument {widths.kernel} is no memory")
        _require(kernel.width == memory.width, f"its kernel has width {kernel.width}, not {memory.width}")


def _score_parameters(
    node: Node, query: Width, memory: Width, declared: _Declared
) -> dict[tuple[str, str], Width]:
    """The parameters that a score needs, with their sizes; its hidden layer and its filters may have any."""
    name, score = node.text("name"), node["score"]
    if score == "dot":
        return {}
    if score == "general":
        return {(f"{name}_memory", ""): query, (f"{name}_memory", "columns"): memory}
    hidden = declared.get(("vector", f"{name}_energy"), "hidden_size")
    needed = {(f"{name}_{part}", ""): hidden for part in ("energy", "query", "memory")}
    needed |= {(f"{name}_query", "columns"): query, (f"{name}_memory", "columns"): memory}
    if score == "location":
        filters = declared.get(("vector", f"{name}_location_filter"), 1)
        kernel = declared.get(("vector", f"{name}_location_filter", "columns"), 1)
        needed |= {(f"{name}_location_filter", ""): filters, (f"{name}_location_filter", "columns"): kernel}
        needed |= {(f"{name}_location", ""): hidden, (f"{name}_location", "columns"): filters}
    return needed


_CHECKS = {
    "elementwise": _check_elementwise,
    "composite": _check_elementwise,
    "broadcast": _check_broadcast,
    "reduction": _check_reduction,
}


def _check_forward(graph: Graph) -> None:
    outputs = {key for key, _ in graph.outputs}
    for state in graph.states:
        _require(
            ArrayKey("state", state.name) in outputs,
            f"{graph.name} gives no new value to the state {state.name}",
        )
    for key in outputs:
        _require(key.kind in ("state", "emit"), f"{key} is no output of a forward step")
    for spec in graph.inputs:
        _require(spec.kind in CELL_KINDS, f"the input {spec.name} is of an unknown kind, {spec.kind!r}")
        _require(
            not spec.name.startswith(MASK_PREFIXES), f"the input {spec.name!r} has the name of a layer's mask"
        )
    _check_unique("attention", [node.text("name") for node in graph.nodes if node.op == "attention_weights"])
    for node in graph.nodes:
        _require(OPS[node.op].traced, f"{node.op} belongs to a graph that passes have made")
        if node.op == "attention_context":
            weights, memory = (graph.nodes[arg] for arg in node.args)
            _require(weights.width == f"{memory['name']}_steps", "its weights are those of another memory")


def _check_outputs(graph: Graph) -> None:
    outputs = [(":".join(key), index) for key, index in graph.outputs]
    for what, pairs in (("output", outputs), ("gate", list(graph.gates))):
        for name, index in pairs:
            _require(
                isinstance(index, int) and 0 <= index < len(graph.nodes),
                f"the {what} {name!r} is at no node: {index!r}",
            )
        _check_unique(what, [name for name, _ in pairs])
    if not any(key.kind == "state" for key, _ in graph.outputs):
        return  # a derived graph
    names = dict(graph.outputs)
    for state in graph.states:
        key = ArrayKey("state", state.name)
        _require(key in names, f"{graph.name} gives no new value to the state {state.name}")
        width = graph.nodes[names[key]].width
        _require(
            width == state.size,
            f"the new value of {state.name} has width {width}; the state has {state.size}",
        )
