"""The pass `derive`: the backward step, as a graph of the same operations.

Reverse accumulation over the expanded graph. The derived graph reads what the forward step read (inputs,
states before the step) and the gradients that flow into its outputs, `cotangent` leaves named as the outputs
are. Its own outputs are

- `gradient:NAME`, of each input, static vector and state that the step read; those of a static vector are
  summed over time by whoever runs the graph;
- `weight:SLOT:GATE`, `bias:SLOT:GATE`, `vector:NAME`: `*_gradient` nodes that name what is to be summed over
  rows and time. A weight's gradient is the outer product of its two arguments, so that one large product
  after the loop gives it;
- `memory:NAME:K`, each of the parts of a memory's gradient, a row's own: summed over time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from gatework.graph.builder import Builder, Expr
from gatework.graph.expand import expand
from gatework.graph.node import Graph
from gatework.graph.rewrite import drop_dead
from gatework.graph.verify import GraphError

Gradients = Sequence[Expr | None]


def derive(graph: Graph) -> Graph:
    """The backward step of a forward graph.

    Raises:
        GraphError: the graph has a location-sensitive score; such cells run on the eager backend, whose own
            gradients serve them.
    """
    graph = expand(graph)
    if any(node.op == "align" for node in graph.nodes):
        raise GraphError(f"{graph.name} attends by location, which has no derivative in the graph yet.")
    builder = Builder(graph.nodes)
    flowing: dict[int, Expr] = {}
    of_memories: dict[str, list[Expr]] = {}

    def flow(index: int, gradient: Expr) -> None:
        if graph.nodes[index].op == "memory":
            of_memories.setdefault(graph.nodes[index].text("name"), []).append(gradient)
        else:
            flowing[index] = flowing[index] + gradient if index in flowing else gradient

    for name, index in graph.outputs:
        flow(index, builder.leaf("cotangent", graph.nodes[index].width, name=name))
    outputs: dict[str, Expr] = {}
    for index in range(len(graph.nodes) - 1, -1, -1):
        node = graph.nodes[index]
        gradient = flowing.get(index)
        if gradient is None or node.op in ("constant", "size"):
            continue
        if gradient.width != node.width:
            gradient = builder.apply("broadcast", gradient, width=node.width)
        match node.op:
            case "input" | "static" | "state":
                outputs[f"gradient:{node['name']}"] = gradient
            case "bias":
                outputs[f"bias:{node['slot']}:{node['gate']}"] = builder.apply(
                    "bias_gradient", gradient, slot=node["slot"], gate=node["gate"]
                )
            case "vector":
                summed = gradient.node.op == "energy_gradient"
                outputs[f"vector:{node['name']}"] = (
                    gradient if summed else builder.apply("vector_gradient", gradient, name=node["name"])
                )
            case _:
                args = tuple(Expr(builder, arg) for arg in node.args)
                if node.op == "product":
                    outputs[f"weight:{node['slot']}:{node['gate']}"] = builder.apply(
                        "weight_gradient",
                        gradient,
                        *args,
                        width=node.width,
                        slot=node["slot"],
                        gate=node["gate"],
                    )
                for arg, part in zip(
                    args, ADJOINTS[node.op](gradient, Expr(builder, index), *args), strict=True
                ):
                    if part is not None:
                        flow(arg.index, _sum_if_broadcast(part, arg))
    for name, parts in of_memories.items():
        outputs |= {f"memory:{name}:{number}": part for number, part in enumerate(parts)}
    derived = replace(
        graph,
        name=f"{graph.name}_backward",
        nodes=tuple(builder.nodes),
        outputs=tuple((name, expr.index) for name, expr in outputs.items()),
        gates=(),
    )
    return drop_dead(derived)


def _sum_if_broadcast(gradient: Expr, arg: Expr) -> Expr:
    """The gradient of an argument of width 1 that met a wide one is summed over the units."""
    if arg.width == 1 and gradient.width != 1:
        return gradient.builder.apply("sum", gradient)
    return gradient


def _apply(op: str, *args: Expr) -> Expr:
    return args[0].builder.apply(op, *args)


def _where(condition: Expr, yes: Expr, no: Expr) -> Expr:
    return _apply("where", condition, yes, no)


def _extremum(g: Expr, a: Expr, b: Expr, a_loses: Expr, b_loses: Expr) -> Gradients:
    """Ties share: each of two equal arguments has half of the gradient. Where one is NaN each has the whole."""
    half = 0.5 * g
    zero = g.builder.constant(0.0)
    tie = _apply("equal", a, b)
    return _where(tie, half, _where(a_loses, zero, g)), _where(tie, half, _where(b_loses, zero, g))


def _hard_sigmoid(g: Expr, y: Expr, a: Expr) -> Gradients:
    slope, zero = y.node.number("slope"), g.builder.constant(0.0)
    line = a * slope + 0.5
    # Flat at the bounds themselves, as torch.nn.functional.hardsigmoid.
    return (_where(line > 0, _where(line < 1, g * slope, zero), zero),)


def _clip(g: Expr, y: Expr, a: Expr) -> Gradients:
    # At a bound the whole gradient passes, where that of minimum would be half.
    zero = g.builder.constant(0.0)
    inside = _where(a <= y.node.number("high"), g, zero)
    return (_where(a >= y.node.number("low"), inside, zero),)


def _power(g: Expr, y: Expr, a: Expr) -> Gradients:
    exponent = y.node.number("exponent")
    return (g * (exponent * a ** (exponent - 1)) if exponent != 0 else None,)


def _largest(g: Expr, y: Expr, a: Expr) -> Gradients:
    hit = _apply("equal", a, y)
    return (g * hit / _apply("sum", hit),)


def _product(g: Expr, y: Expr, operand: Expr) -> Gradients:
    node = y.node
    return (
        g.builder.apply("product_transposed", g, width=operand.width, slot=node["slot"], gate=node["gate"]),
    )


def _memory_gradient(weights: Expr, weighed: Expr, memory: Expr) -> Expr:
    name = memory.node["name"]
    return weights.builder.apply("memory_gradient", weights, weighed, width=memory.width, name=name)


def _read(g: Expr, y: Expr, weights: Expr, memory: Expr) -> Gradients:
    of_weights = g.builder.apply("match", g, memory, width=weights.width)
    return of_weights, _memory_gradient(weights, g, memory)


def _match(g: Expr, y: Expr, query: Expr, memory: Expr) -> Gradients:
    of_query = g.builder.apply("read", g, memory, width=query.width)
    return of_query, _memory_gradient(g, query, memory)


def _soften(g: Expr, y: Expr, scores: Expr, memory: Expr) -> Gradients:
    return g.builder.apply("soften_back", y, g, memory, width=scores.width), None


def _compare(g: Expr, y: Expr, query: Expr, keys: Expr, energy: Expr) -> Gradients:
    of_query = g.builder.apply("compare_back", g, query, keys, energy, width=query.width)
    return (
        of_query,
        g.builder.apply("keys_gradient", of_query, name=keys.node["name"]),
        g.builder.apply("energy_gradient", of_query, name=energy.node["name"]),
    )


def _product_transposed(g: Expr, y: Expr, operand: Expr) -> Gradients:
    raise GraphError(
        "a derived graph is differentiated again: second derivatives go through the eager backend"
    )


ADJOINTS: dict[str, Callable[..., Gradients]] = {
    "add": lambda g, y, a, b: (g, g),
    "sub": lambda g, y, a, b: (g, -g),
    "mul": lambda g, y, a, b: (g * b, g * a),
    "div": lambda g, y, a, b: (g / b, -(g * y / b)),
    "neg": lambda g, y, a: (-g,),
    "pow": _power,
    "less": lambda g, y, a, b: (None, None),
    "less_equal": lambda g, y, a, b: (None, None),
    "equal": lambda g, y, a, b: (None, None),
    "where": lambda g, y, c, a, b: (
        None,
        _where(c, g, g.builder.constant(0.0)),
        _where(c, g.builder.constant(0.0), g),
    ),
    "maximum": lambda g, y, a, b: _extremum(g, a, b, a < b, b < a),
    "minimum": lambda g, y, a, b: _extremum(g, a, b, b < a, a < b),
    "sigmoid": lambda g, y, a: (g * (y * (1 - y)),),
    "tanh": lambda g, y, a: (g * (1 - y * y),),
    "relu": lambda g, y, a: (_where(a <= 0, g.builder.constant(0.0), g),),
    "softplus": lambda g, y, a: (g * _apply("sigmoid", a),),
    "exp": lambda g, y, a: (g * y,),
    "expm1": lambda g, y, a: (g * (y + 1),),
    "log": lambda g, y, a: (g / a,),
    "sqrt": lambda g, y, a: (g / (2 * y),),
    "abs": lambda g, y, a: (_where(a > 0, g, _where(a < 0, -g, g.builder.constant(0.0))),),
    "sin": lambda g, y, a: (g * _apply("cos", a),),
    "cos": lambda g, y, a: (-(g * _apply("sin", a)),),
    "clip": _clip,
    "hard_sigmoid": _hard_sigmoid,
    "stop_gradient": lambda g, y, a: (None,),
    "broadcast": lambda g, y, a: (g,),
    "sum": lambda g, y, *args: tuple(g for _ in args),
    "largest": _largest,
    "product": _product,
    "product_transposed": _product_transposed,
    "read": _read,
    "match": _match,
    "soften": _soften,
    "compare": _compare,
}
"""op -> (gradient of the result, the result, the arguments) -> gradients of the arguments, None for none."""
