"""The pass `derive`: the backward step, as a graph of the same operations.

Reverse accumulation over the expanded graph. The derived graph reads what the forward step read (inputs,
states before the step) and the gradients that flow into its outputs, `cotangent` leaves with the outputs' keys.
Its own outputs are, by their kinds (`keys.py`),

- `input_gradient`, `static_gradient`, `state_gradient` of each input, static vector and state that the step read;
  those of a static vector are summed over time by whoever runs the graph;
- `weight_gradient`, `bias_gradient`, `vector_gradient`: `*_gradient` nodes that name what is to be summed over
  rows and time. A weight's gradient is the outer product of its two arguments, so that one large product
  after the loop gives it;
- `memory_gradient`, each of the parts of a memory's gradient, a row's own: summed over time.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

from gatework.graph.adjoints import sum_over_units
from gatework.graph.builder import Builder, Expr
from gatework.graph.expand import expand
from gatework.graph.keys import ArrayKey
from gatework.graph.node import Attribute, Graph
from gatework.graph.ops import OPS
from gatework.graph.rewrite import drop_dead
from gatework.graph.verify import GraphError


def derive(graph: Graph) -> Graph:
    """The backward step of a forward graph.

    Raises:
        GraphError: an operation has no derivative.
    """
    graph = expand(graph)
    builder = Builder(graph.nodes)
    flowing: dict[int, Expr] = {}
    of_memories: dict[str, list[Expr]] = {}

    def flow(index: int, gradient: Expr) -> None:
        if graph.nodes[index].op == "memory":
            of_memories.setdefault(graph.nodes[index].text("name"), []).append(gradient)
        else:
            flowing[index] = flowing[index] + gradient if index in flowing else gradient

    for key, index in graph.outputs:
        flow(index, builder.leaf("cotangent", graph.nodes[index].width, kind=key.kind, name=key.name))
    outputs: dict[ArrayKey, Expr] = {}
    for index in range(len(graph.nodes) - 1, -1, -1):
        node = graph.nodes[index]
        gradient = flowing.get(index)
        if gradient is None or node.op in ("constant", "size"):
            continue
        if gradient.width != node.width:
            gradient = builder.apply("broadcast", gradient, width=node.width)
        match node.op:
            case "input" | "static" | "state" | "array":
                outputs[node.key.gradient] = gradient
            case "bias":
                key = ArrayKey("bias_gradient", node.text("gate"), node.text("slot"))
                outputs[key] = builder.apply("bias_gradient", gradient, slot=node["slot"], gate=node["gate"])
            case "vector":
                summed = gradient.node.op == "energy_gradient"
                outputs[ArrayKey("vector_gradient", node.text("name"))] = (
                    gradient if summed else builder.apply("vector_gradient", gradient, name=node["name"])
                )
            case _:
                args = tuple(Expr(builder, arg) for arg in node.args)
                if node.op == "gate_matmul":
                    key = ArrayKey("weight_gradient", node.text("gate"), node.text("slot"))
                    outputs[key] = builder.apply(
                        "weight_gradient",
                        gradient,
                        *args,
                        width=node.width,
                        slot=node["slot"],
                        gate=node["gate"],
                    )
                adjoint = OPS[node.op].adjoint
                if adjoint is None:
                    raise GraphError(
                        f"{graph.name}: the operation {node.op} has no derivative in the graph; a second derivative "
                        "goes through the eager backend."
                    )
                for arg, part in zip(args, adjoint(gradient, Expr(builder, index), *args), strict=True):
                    if part is not None:
                        flow(arg.index, _sum_if_broadcast(part, arg))
    for name, parts in of_memories.items():
        outputs |= {ArrayKey("memory_gradient", name, str(number)): part for number, part in enumerate(parts)}
    derived = replace(
        graph,
        name=f"{graph.name}_backward",
        nodes=tuple(builder.nodes),
        outputs=tuple((key, expr.index) for key, expr in outputs.items()),
        gates=(),
    )
    return drop_dead(derived)


@lru_cache(maxsize=1024)
def operations_of_adjoint(
    op: str, attributes: tuple[tuple[str, Attribute], ...], count: int
) -> frozenset[str]:
    """The operations in which the adjoint of an operation of so many arguments is written: none where it has none."""
    adjoint = OPS[op].adjoint
    if adjoint is None:
        return frozenset()
    builder = Builder()
    args = [builder.leaf("static", 1, name=f"argument_{place}") for place in range(count)]
    result = builder.apply(op, *args, width=1, **dict(attributes))
    before = len(builder.nodes)
    adjoint(builder.leaf("static", 1, name="gradient"), result, *args)
    return frozenset(node.op for node in builder.nodes[before:])


def _sum_if_broadcast(gradient: Expr, arg: Expr) -> Expr:
    """The gradient of an argument of width 1 that met a wide one is summed over the units."""
    if arg.width == 1 and gradient.width != 1:
        return sum_over_units(gradient)
    return gradient
