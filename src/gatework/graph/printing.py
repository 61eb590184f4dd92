"""Graphs as text and as LaTeX.

One walk serves both: it decides which values get a name (gates, new states, values used twice) and which are
written out where they stand. What an operation looks like stands in the two tables of styles.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from gatework.graph.node import Graph, Node, Width
from gatework.graph.ops import OPS

COMPARE, ADD, MULTIPLY, UNARY, POWER, ATOM = range(6)
"""How tightly a piece of text binds: what stands inside something tighter needs brackets."""

Piece = tuple[str, int]
Format = Callable[[Node, list[Piece]], Piece]


@dataclass(frozen=True)
class Style:
    """How one target writes names and operations."""

    formats: dict[str, Format]
    call: Callable[[Node, list[Piece]], Piece]
    name: Callable[[str], str]
    old_state: Callable[[str], str]
    new_state: Callable[[str], str]
    line: Callable[[str, str], str]


def _inside(piece: Piece, tightness: int) -> str:
    text, binds = piece
    return text if binds >= tightness else f"({text})"


def _number(value: float) -> str:
    return str(int(value)) if float(value).is_integer() and abs(value) < 1e6 else f"{value:.6g}"


def _infix(symbol: str, tightness: int, *, left: int | None = None, right: int | None = None) -> Format:
    def write(node: Node, args: list[Piece]) -> Piece:
        first = _inside(args[0], tightness if left is None else left)
        return f"{first}{symbol}{_inside(args[1], tightness if right is None else right)}", tightness

    return write


def _parameter(template: str) -> Format:
    def write(node: Node, args: list[Piece]) -> Piece:
        fields = {key: str(value) for key, value in node.attributes}
        return template.format(
            *(_inside(arg, UNARY) for arg in args), **fields
        ), ATOM if not args else MULTIPLY

    return write


def _text_call(node: Node, args: list[Piece]) -> Piece:
    shown = [arg[0] for arg in args]
    shown += [
        f"{key}={_number(value) if not isinstance(value, str) else value}" for key, value in node.attributes
    ]
    return f"{node.op}({', '.join(shown)})", ATOM


def _text_layer_norm(node: Node, args: list[Piece]) -> Piece:
    operands = ", ".join(arg[0] for arg in args)
    block = f"[{_number(node.number('index'))}]" if len(args) > 1 else ""
    return f"normalise({operands}){block}", ATOM


_COMMON: dict[str, Format] = {
    "constant": lambda node, args: (
        _number(node.number("value")),
        ATOM if node.number("value") >= 0 else UNARY,
    ),
    "add": _infix(" + ", ADD),
    "sub": _infix(" - ", ADD, right=MULTIPLY),
    "neg": lambda node, args: (f"-{_inside(args[0], UNARY)}", MULTIPLY),
}

TEXT = Style(
    formats={
        **_COMMON,
        "mul": _infix(" * ", MULTIPLY),
        "div": _infix(" / ", MULTIPLY, right=UNARY),
        "pow": lambda node, args: (f"{_inside(args[0], ATOM)} ** {_number(node.number('exponent'))}", POWER),
        "less": _infix(" < ", COMPARE, left=ADD, right=ADD),
        "less_equal": _infix(" <= ", COMPARE, left=ADD, right=ADD),
        "equal": _infix(" == ", COMPARE, left=ADD, right=ADD),
        "bias": _parameter("b_{slot}[{gate}]"),
        "vector": _parameter("{name}"),
        "size": _parameter("size({of})"),
        "product": _parameter("W_{slot}[{gate}] {0}"),
        "product_transposed": _parameter("W_{slot}[{gate}]^T {0}"),
        "layer_norm": _text_layer_norm,
        "cotangent": lambda node, args: (f"d({node.text('name').partition(':')[2]}')", ATOM),
        "weight_gradient": lambda node, args: (
            f"sum_t {_inside(args[0], ATOM)} {_inside(args[1], ATOM)}^T",
            MULTIPLY,
        ),
        "bias_gradient": lambda node, args: (f"sum_t {_inside(args[0], ATOM)}", MULTIPLY),
        "vector_gradient": lambda node, args: (f"sum_t {_inside(args[0], ATOM)}", MULTIPLY),
    },
    call=_text_call,
    name=lambda name: name,
    old_state=lambda name: name,
    new_state=lambda name: f"{name}'",
    line=lambda name, value: f"{name} = {value}",
)


def _latex_escaped(name: str) -> str:
    return name.replace("_", r"\_")


def _latex_word(name: str) -> str:
    return name if len(name) == 1 else rf"\mathrm{{{_latex_escaped(name)}}}"


def _latex_parameter(letter: str, *, operand: bool) -> Format:
    def write(node: Node, args: list[Piece]) -> Piece:
        slot, gate = _latex_escaped(node.text("slot")), _latex_word(node.text("gate"))
        matrix = rf"{letter}^{{\mathrm{{{slot}}}}}_{{{gate}}}"
        return (f"{matrix} {_inside(args[0], UNARY)}", MULTIPLY) if operand else (matrix, ATOM)

    return write


def _latex_call(node: Node, args: list[Piece]) -> Piece:
    command = _LATEX_FUNCTIONS.get(node.op, r"\operatorname{" + node.op.replace("_", r"\_") + "}")
    shown = [arg[0] for arg in args]
    shown += [_number(value) for _, value in node.attributes if not isinstance(value, str)]
    return rf"{command}\left({', '.join(shown)}\right)", ATOM


_LATEX_FUNCTIONS = {
    "sigmoid": r"\sigma",
    "log_sigmoid": r"\log \sigma",
    "tanh": r"\tanh",
    "exp": r"\exp",
    "log": r"\log",
    "sin": r"\sin",
    "cos": r"\cos",
    "maximum": r"\max",
    "minimum": r"\min",
}


def _latex_layer_norm(node: Node, args: list[Piece]) -> Piece:
    operands = ", ".join(arg[0] for arg in args)
    block = f"_{{{_number(node.number('index') + 1)}}}" if len(args) > 1 else ""
    return rf"\operatorname{{normalise}}{block}\left({operands}\right)", ATOM


LATEX = Style(
    formats={
        **_COMMON,
        "mul": _infix(r" \odot ", MULTIPLY),
        "div": lambda node, args: (rf"\frac{{{args[0][0]}}}{{{args[1][0]}}}", ATOM),
        "pow": lambda node, args: (
            rf"{_inside(args[0], ATOM)}^{{{_number(node.number('exponent'))}}}",
            POWER,
        ),
        "less": _infix(" < ", COMPARE, left=ADD, right=ADD),
        "less_equal": _infix(r" \le ", COMPARE, left=ADD, right=ADD),
        "equal": _infix(" = ", COMPARE, left=ADD, right=ADD),
        "sqrt": lambda node, args: (rf"\sqrt{{{args[0][0]}}}", ATOM),
        "abs": lambda node, args: (rf"\left|{args[0][0]}\right|", ATOM),
        "bias": _latex_parameter("b", operand=False),
        "product": _latex_parameter("W", operand=True),
        "vector": lambda node, args: (_latex_word(node.text("name")), ATOM),
        "layer_norm": _latex_layer_norm,
    },
    call=_latex_call,
    name=lambda name: rf"{_latex_word(name)}_t",
    old_state=lambda name: rf"{_latex_word(name)}_{{t-1}}",
    new_state=lambda name: rf"{_latex_word(name)}_t",
    line=lambda name, value: rf"{name} &= {value}",
)


def text(graph: Graph) -> str:
    """The equations, a line each; the new value of a state h is h'."""
    return "\n".join(_lines(graph, TEXT))


def latex(graph: Graph) -> str:
    r"""The equations as an `aligned` block of LaTeX, for use between `\[` and `\]`."""
    lines = " \\\\\n".join(_lines(graph, LATEX))
    return f"\\begin{{aligned}}\n{lines}\n\\end{{aligned}}"


def _lines(graph: Graph, style: Style) -> list[str]:
    names = _named(graph, style)
    aliases: list[str] = []
    pieces: list[Piece] = []
    lines: list[str] = []
    for index, node in enumerate(graph.nodes):
        piece = _write(graph, node, [pieces[arg] for arg in node.args], style)
        own = names.get(index, [])
        if own:
            lines.append(style.line(own[0], piece[0]))
            aliases += [style.line(other, own[0]) for other in own[1:]]
            piece = own[0], ATOM
        pieces.append(piece)
    return lines + aliases


def _named(graph: Graph, style: Style) -> dict[int, list[str]]:
    """The values that get a line of their own, and their names: the first one is used further on."""
    names: dict[int, list[str]] = {}
    for name, index in graph.gates:
        names.setdefault(index, []).append(style.name(name))
    for name, index in graph.outputs:
        kind, *rest = name.split(":")
        shown = (
            style.new_state(rest[0])
            if kind == "state"
            else style.name(_GRADIENTS.get(kind, "{0}").format(*rest))
        )
        if shown not in names.setdefault(index, []):
            names[index].append(shown)
    uses = Counter(arg for node in graph.nodes for arg in node.args)
    count = 0
    for index, node in enumerate(graph.nodes):
        if uses[index] > 1 and index not in names and OPS[node.op].sort != "leaf":
            count += 1
            names[index] = [style.name(f"t{count}")]
    return names


_GRADIENTS = {
    "gradient": "d({0})",
    "vector": "d({0})",
    "weight": "dW_{0}[{1}]",
    "bias": "db_{0}[{1}]",
    "memory": "d({0})",
}
"""Names of a derived graph's outputs, by their kind."""


def _write(graph: Graph, node: Node, args: list[Piece], style: Style) -> Piece:
    match node.op:
        case "input":
            return style.name(node.text("name")), ATOM
        case "static" | "memory":
            return node.text("name") if style is TEXT else _latex_word(node.text("name")), ATOM
        case "state":
            return style.old_state(node.text("name")), ATOM
        case "align":
            head = node["score"], style.name(node.text("name"))
            shown = ", ".join(arg[0] for arg in args)
            return (
                f"softmax({head[0]}({shown}))"
                if style is TEXT
                else rf"\operatorname{{softmax}}\left(\mathrm{{{head[0]}}}({shown})\right)"
            ), ATOM
        case "read":
            return (
                f"sum_i {args[0][0]}[i] * {args[1][0]}[i]"
                if style is TEXT
                else rf"\sum_i {args[0][0]}^{{(i)}} {args[1][0]}_i"
            ), ADD
        case _:
            return style.formats.get(node.op, style.call)(node, args)


def describe(graph: Graph) -> str:
    """Everything about a cell that its graph can say, in lines of text."""
    parameters = ", ".join(
        [graph.inputs[0].name, *(s.name for s in graph.states), *(i.name for i in graph.inputs[1:])]
    )
    lines = [f"{graph.name}({parameters})", ""]
    if graph.doc:
        lines += [graph.doc, ""]
    lines += [f"    {line}" for line in text(graph).splitlines()]
    lines.append("")
    if graph.options:
        lines.append("options     " + ", ".join(f"{name}={value}" for name, value in graph.options))
    lines.append(
        "inputs      " + ", ".join(f"{spec.name} ({spec.kind}, {spec.size})" for spec in graph.inputs)
    )
    lines.append(
        "states      "
        + ", ".join(
            f"{s.name} ({s.size}" + (f", from {_number(s.init)})" if s.init else ")") for s in graph.states
        )
    )
    lines.append("gates       " + (", ".join(name for name, _ in graph.gates) or "none"))
    for slot, blocks in graph.slots().items():
        rows = " + ".join(f"{block.gate}" for block in blocks)
        lines.append(f"{f'weight_{slot}':<11} rows {rows}; columns {blocks[0].columns}")
    lines.append(f"parameters  {parameter_count(graph)}")
    return "\n".join(lines)


def parameter_count(graph: Graph) -> str:
    """The number of parameters of one layer, as a sum of products of sizes."""
    terms: Counter[tuple[str, ...]] = Counter()

    def count(*widths: Width) -> None:
        factor = 1
        for width in widths:
            factor *= width if isinstance(width, int) else 1
        terms[tuple(sorted(width for width in widths if isinstance(width, str)))] += factor

    for block in graph.blocks:
        count(block.rows, block.columns)
        if block.bias:
            count(block.rows)
    for vector in graph.vectors:
        count(vector.size, *(() if vector.columns is None else (vector.columns,)))
    order = sorted(terms, key=lambda names: (-len(names), names))
    return (
        " + ".join(
            " * ".join([str(terms[names])] * (terms[names] > 1 or not names) + list(names)) for names in order
        )
        or "0"
    )
