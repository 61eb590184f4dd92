"""The words of the equations: what a cell's function may call.

Each takes and returns expressions of one step. `gatework.linear`, `gatework.sigmoid` and so on are these.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from inspect import isfunction
from typing import Any, Literal

from gatework.graph.builder import Expr, TraceError
from gatework.graph.node import VectorSpec, Width, is_start
from gatework.graph.ops import OPS, SCORES
from gatework.graph.tracer import Tracer, current_tracer

Operand = Any
"""An expression of the step, or a Python number."""


def _tracer(*operands: Operand) -> Tracer:
    for operand in operands:
        if isinstance(operand, Expr) and isinstance(operand.builder, Tracer):
            return operand.builder
    for operand in operands:
        if hasattr(operand, "__torch_function__"):
            raise TraceError(
                "A word of the equations is applied to a torch tensor, outside a cell.",
                "gatework.sigmoid(tensor)",
                "torch.sigmoid(tensor)            # on tensors\n"
                "@gw.cell\ndef cell(x, h):           # gatework's words are for equations\n"
                '    return sigmoid(linear("gate", x, h))',
            )
    return current_tracer()


def _expr(operand: Operand) -> Expr:
    expr = _tracer(operand).lift(operand)
    if expr.node.op == "memory":
        _ = expr + 0.0  # raises, and says why
    return expr


def _check_name(kind: str, name: object) -> str:
    if not isinstance(name, str):
        raise TraceError(
            f"The first argument of `{kind}` is {name!r}: it must be a name.",
            f"{kind}(x, h)",
            f'{kind}("forget", x, h)' if kind == "linear" else f'{kind}("name", …)',
        )
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name):
        raise TraceError(
            f"The name {name!r} holds something other than letters, digits and underscores: names become "
            "parts of parameter names.",
            f'{kind}("forget gate", …)',
            f'{kind}("forget_gate", …)',
        )
    return name


def linear(
    name: str, /, *operands: Operand, size: Width = "hidden_size", heads: int = 1, **context: Operand
) -> Expr:
    """A gate's pre-activation: a weight of this gate for each operand, summed.

    Args:
        name: the gate.
        operands: at most one that depends on inputs alone (its weight is the gate's block of `weight_ih`, with
            a bias in `bias_ih`) and at most one other (`weight_hh`, `bias_hh`).
        size: rows of the gate; 1 makes a scalar gate that broadcasts.
        heads: square blocks on the diagonal of the gate's block of `weight_hh`, which has no other weights: each head
            reads its own units of the state alone (Beck et al. 2024, "xLSTM", section 2.2). `weight_hh` is
            (rows, hidden_size / heads).
        context: further operands, or ones of another width; `context=c` lives in `weight_context`, without
            a bias.

    Returns:
        (B, size)

    Raises:
        TraceError: two positional operands of one sort, a gate named twice over one slot, or operands of
            different widths in one slot.
    """
    name = _check_name("linear", name)
    if isinstance(heads, bool) or not isinstance(heads, int) or heads < 1:
        raise TraceError(
            f"linear({name!r}, heads={heads!r}): heads is a whole number, 1 or more.",
            f'linear("{name}", x, h, heads={heads!r})',
            f'linear("{name}", x, h, heads=4)',
        )
    if not operands and not context:
        raise TraceError(f"linear({name!r}) has no operand.", f'linear("{name}")', f'linear("{name}", x, h)')
    tracer = _tracer(*operands, *context.values())
    terms: list[Expr] = []
    taken: dict[str, Operand] = {}
    for operand in operands:
        expr = _linear_operand(tracer, name, operand)
        slot = "ih" if tracer.depends_on_inputs_alone(expr) else "hh"
        if slot in taken:
            sort = "depend on inputs alone" if slot == "ih" else "depend on states"
            raise TraceError(
                f"linear({name!r}, …) has two positional operands that {sort}: they would share `weight_{slot}`.",
                f'linear("{name}", x, h, context)' if slot == "hh" else f'linear("{name}", x, d)',
                f'linear("{name}", x, h, context=context)' if slot == "hh" else f'linear("{name}", x, gap=d)',
            )
        taken[slot] = expr
        own = heads if slot == "hh" else 1
        if own > 1 and expr.width != size:
            raise TraceError(
                f"linear({name!r}, heads={heads}) makes {size} units of {expr.width}: blocks on a diagonal are square.",
                f'linear("{name}", x, h, size={size!r}, heads={heads})',
                f'linear("{name}", x, h, size={expr.width!r}, heads={heads})',
            )
        terms += [
            tracer.product(slot, name, expr, rows=size, bias=True, heads=own),
            tracer.leaf("bias", size, slot=slot, gate=name),
        ]
    if heads > 1 and "hh" not in taken:
        raise TraceError(
            f"linear({name!r}, heads={heads}) reads no state: the weights of inputs have no heads.",
            f'linear("{name}", x, heads={heads})',
            f'linear("{name}", x, h, heads={heads})',
        )
    for slot, operand in context.items():
        _check_name("linear", slot)
        if slot.split("_")[-1] in ("ih", "hh", "hr"):  # cells inside this one have theirs behind a prefix
            raise TraceError(
                f"linear({name!r}, {slot}=…) uses a slot of torch.nn's layout for a further operand: ih, hh and hr, "
                "and what ends in _ih, _hh or _hr, are those of positional operands and of `project`.",
                f'linear("{name}", x, h, {slot}=c)',
                f'linear("{name}", x, h, context=c)',
            )
        expr = _linear_operand(tracer, name, operand)
        terms.append(tracer.product(slot, name, expr, rows=size, bias=False))
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    tracer.preactivations[total.index] = name
    return total


def _linear_operand(tracer: Tracer, name: str, operand: Operand) -> Expr:
    if not isinstance(operand, Expr):
        raise TraceError(
            f"An operand of linear({name!r}, …) is {operand!r}: a weight needs a value of the step.",
            f'linear("{name}", 1.0)',
            f'vector("{name}")                 # a learned vector',
        )
    return _expr(tracer.lift(operand))


def vector(
    name: str,
    /,
    *,
    init: float | tuple[float, float] | Literal["uniform"] = "uniform",
    size: Width = "hidden_size",
) -> Expr:
    """A learned vector of `size` units (a peephole, a diagonal recurrence), the same for every row.

    Args:
        init: a number; two, between which each unit's first value is drawn uniformly; or "uniform": drawn as the layer
            draws its weights.

    Raises:
        TraceError: a start that is none of these, or a name that is taken.
    """
    tracer = current_tracer()
    name = _check_name("vector", name)
    if not is_start(init):
        raise TraceError(
            f"vector({name!r}, init={init!r}): a start is a finite number, two in ascending order, or 'uniform'.",
            f'vector("{name}", init={init!r})',
            f'vector("{name}", init=0.5)\nvector("{name}", init=(-1.0, 1.0))',
        )
    tracer.declare_vector(VectorSpec(name, size, init), f'vector("{name}")')
    return tracer.leaf("vector", size, name=name)


def layer_norm(name: str, /, *operands: Operand, epsilon: float = 1e-5) -> Any:
    """Learned normalisation over the units (Ba et al. 2016, equation 4), with a gain and a bias.

    Args:
        operands: one expression, or several gates that are normalised by their common mean and variance.

    Returns:
        One expression for one operand, a tuple for several.
    """
    name = _check_name("layer_norm", name)
    if not operands:
        raise TraceError(
            f"layer_norm({name!r}) has no operand.", 'layer_norm("cell")', 'layer_norm("cell", c)'
        )
    tracer = _tracer(*operands)
    exprs = [_expr(operand) for operand in operands]
    several = len(exprs) > 1
    results = []
    for index, expr in enumerate(exprs):
        block = f"{name}_{index}" if several else name
        gain, bias = f"norm_gain_{block}", f"norm_bias_{block}"
        tracer.declare_vector(VectorSpec(gain, expr.width, 1.0), f'layer_norm("{name}", …)')
        tracer.declare_vector(VectorSpec(bias, expr.width, 0.0), f'layer_norm("{name}", …)')
        normal = tracer.apply(
            "layer_norm", *exprs, width=expr.width, name=name, index=index, epsilon=float(epsilon)
        )
        result = normal * tracer.leaf("vector", expr.width, name=gain) + tracer.leaf(
            "vector", expr.width, name=bias
        )
        if expr.index in tracer.preactivations:
            tracer.preactivations[result.index] = tracer.preactivations[expr.index]
        results.append(result)
    return tuple(results) if several else results[0]


def project(name: str, /, operand: Operand, *, size: Width = "proj_size") -> Expr:
    """The learned product that sets a narrower state (Sak et al. 2014): `weight_hr`, without a bias."""
    name = _check_name("project", name)
    tracer = _tracer(operand)
    return tracer.product("hr", name, _linear_operand(tracer, name, operand), rows=size, bias=False)


def attend(
    name: str,
    query: Operand,
    memory: Operand,
    score: Literal["additive", "dot", "general", "location"] = "additive",
    *,
    size: Width = "hidden_size",
    filters: int = 32,
    kernel: int = 31,
) -> Expr:
    """The context that a query reads from a memory, weighted by a softmax of scores over its steps.

    Args:
        query: (B, Q), the decoder's state.
        memory: a parameter annotated `gw.Memory`, (S, B, M) with lengths.
        score: `additive` is v . tanh(W q + U m) (Bahdanau et al. 2014, appendix A.1.2); `dot` is q . m and
            `general` q . W m (Luong et al. 2015, equation 8); `location` adds features of the previous
            alignment, U f with f = F * a, to the additive score (Chorowski et al. 2015, equations 8 and 9)
            and carries the alignment as a state.
        size: width of the additive score's hidden layer.
        filters, kernel: of the location score's convolution.

    Returns:
        (B, M). The alignment itself, (B, S), is the gate `name`: on the tape, or given by a call with `emit=[name]`.
    """
    name = _check_name("attend", name)
    if score not in SCORES:
        raise TraceError(
            f"attend({name!r}, score={score!r}): no such score.",
            f'attend("{name}", s, memory, score="{score}")',
            " | ".join(f'"{known}"' for known in SCORES),
        )
    tracer = _tracer(query, memory)
    query = _expr(query)
    if not isinstance(memory, Expr) or memory.node.op != "memory":
        raise TraceError(
            f"attend({name!r}, …): what it attends to is no memory.",
            "def decoder(x, s, source): …",
            "def decoder(x, s, source: gw.Memory): …",
        )
    width = memory.width
    if score == "dot" and query.width != width:
        raise TraceError(
            f"attend({name!r}, score='dot') multiplies a query of width {query.width} by a memory of {width}.",
            f'attend("{name}", s, memory, score="dot")',
            f'attend("{name}", s, memory, score="general")',
        )
    parameters: list[VectorSpec] = []
    if score in ("additive", "location"):
        parameters = [
            VectorSpec(f"{name}_query", size, "uniform", query.width),
            VectorSpec(f"{name}_memory", size, "uniform", width),
            VectorSpec(f"{name}_energy", size),
        ]
    elif score == "general":
        parameters = [VectorSpec(f"{name}_memory", query.width, "uniform", width)]
    args = [query, memory]
    if score == "location":
        parameters += [
            VectorSpec(f"{name}_location_filter", filters, "uniform", kernel),
            VectorSpec(f"{name}_location", size, "uniform", filters),
        ]
        args.append(tracer.carry_alignment(name, memory))
    for parameter in parameters:
        tracer.declare_vector(parameter, f'attend("{name}", …)')
    alignment = tracer.apply(
        "attention_weights", *args, width=f"{memory.node.text('name')}_steps", name=name, score=score
    )
    if score == "location":
        tracer.set_alignment(name, alignment)
    tracer.name_gate(name, alignment)
    return tracer.apply("attention_context", alignment, memory, width=width)


def gate(name: str, operand: Operand) -> Expr:
    """Names a value for the tape."""
    expr = _expr(operand)
    tracer = _tracer(operand)
    tracer.name_gate(_check_name("gate", name), expr)
    tracer.named.add(name)
    return expr


def emit(name: str, operand: Operand) -> None:
    """Makes a value of the step an output beside the first state: the layer's output becomes a dict."""
    expr = _expr(operand)
    _tracer(operand).declare_output(_check_name("emit", name), expr)


def _unary(op: str, operand: Operand, **attributes: Any) -> Expr:
    expr = _expr(operand)
    tracer = _tracer(expr)
    result = tracer.apply(op, expr, **attributes)
    preactivation = tracer.preactivations.get(expr.index)
    if preactivation is not None and OPS[op].activation and preactivation not in tracer.gates:
        tracer.gates[preactivation] = result.index
    return result


def sigmoid(e: Operand) -> Expr:
    """1 / (1 + exp(-e))"""
    return _unary("sigmoid", e)


def log_sigmoid(e: Operand) -> Expr:
    """log(sigmoid(e)), exact where sigmoid underflows."""
    return _unary("log_sigmoid", e)


def tanh(e: Operand) -> Expr:
    """Hyperbolic tangent."""
    return _unary("tanh", e)


def relu(e: Operand) -> Expr:
    """max(e, 0), with gradient 0 at 0."""
    return _unary("relu", e)


def leaky_relu(e: Operand, slope: float = 0.01) -> Expr:
    """e where e > 0, slope * e elsewhere."""
    return _unary("leaky_relu", e, slope=float(slope))


def elu(e: Operand, alpha: float = 1.0) -> Expr:
    """e where e > 0, alpha * (exp(e) - 1) elsewhere (Clevert et al. 2015)."""
    return _unary("elu", e, alpha=float(alpha))


def softplus(e: Operand) -> Expr:
    """log(1 + exp(e))"""
    return _unary("softplus", e)


def softsign(e: Operand) -> Expr:
    """e / (1 + abs(e))"""
    return _unary("softsign", e)


def hard_sigmoid(e: Operand, slope: float = 1 / 6) -> Expr:
    """slope * e + 1/2, held between 0 and 1. torch has slope 1/6, ONNX and older Keras 0.2."""
    return _unary("hard_sigmoid", e, slope=float(slope))


def softmax(e: Operand) -> Expr:
    """Softmax over the units of a row."""
    return _unary("softmax", e)


def exp(e: Operand) -> Expr:
    """Exponential."""
    return _unary("exp", e)


def log(e: Operand) -> Expr:
    """Natural logarithm."""
    return _unary("log", e)


def sqrt(e: Operand) -> Expr:
    """Square root."""
    return _unary("sqrt", e)


def abs(e: Operand) -> Expr:
    """Absolute value, with gradient 0 at 0."""
    return _unary("abs", e)


def sin(e: Operand) -> Expr:
    """Sine."""
    return _unary("sin", e)


def cos(e: Operand) -> Expr:
    """Cosine."""
    return _unary("cos", e)


def stop_gradient(e: Operand) -> Expr:
    """e, through which no gradient flows."""
    return _unary("stop_gradient", e)


def where(condition: Operand, yes: Operand, no: Operand) -> Expr:
    """`yes` where the condition holds (is not zero), `no` elsewhere; no gradient to the condition."""
    tracer = _tracer(condition, yes, no)
    return tracer.apply("where", *(_expr(tracer.lift(e)) for e in (condition, yes, no)))


def maximum(a: Operand, b: Operand) -> Expr:
    """The larger of two; at a tie each has half of the gradient."""
    tracer = _tracer(a, b)
    return tracer.apply("maximum", *(_expr(tracer.lift(e)) for e in (a, b)))


def minimum(a: Operand, b: Operand) -> Expr:
    """The smaller of two; at a tie each has half of the gradient."""
    tracer = _tracer(a, b)
    return tracer.apply("minimum", *(_expr(tracer.lift(e)) for e in (a, b)))


def clip(e: Operand, low: float, high: float) -> Expr:
    """e held between two numbers; the gradient passes at the bounds themselves, as torch.clamp's does."""
    for bound in (low, high):
        if isinstance(bound, bool) or not isinstance(bound, int | float) or bound != bound:
            raise TraceError(
                f"One of the bounds of clip is {bound!r}: they must be Python numbers.",
                "clip(c, -limit, limit)           # limit is an expression",
                "maximum(-limit, minimum(c, limit))",
            )
    if low > high:
        raise TraceError(
            f"clip has its bounds the wrong way round: {low} > {high}.", "clip(c, 1, -1)", "clip(c, -1, 1)"
        )
    return _unary("clip", e, low=float(low), high=float(high))


ACTIVATIONS: dict[str, Callable[..., Expr]] = {
    op: globals()[op] for op, row in OPS.items() if row.arity == 1 and op in globals()
}
"""Functions of one expression, by name: what an option such as `activation` may be."""

WORDS = tuple(
    sorted(
        name
        for name, word in vars().items()
        if isfunction(word) and word.__module__ == __name__ and name[0] != "_"
    )
)
"""The names of all words: the functions that this module defines."""
