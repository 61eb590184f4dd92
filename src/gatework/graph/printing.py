"""Graphs as text and as LaTeX.

One walk serves both: it decides which values get a name (gates, new states, values used twice) and which are
written out where they stand. What an operation looks like stands in its row of the table of operations.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

from gatework.graph import formats
from gatework.graph.formats import ATOM, Format, latex_word, number
from gatework.graph.keys import ArrayKey, Kind
from gatework.graph.node import Block, Graph, Node, Width
from gatework.graph.ops import OPS

Fragment = formats.Fragment


@dataclass(frozen=True)
class Style:
    """How one target writes names and operations."""

    format: Callable[[str], Format]
    name: Callable[[str], str]
    not_per_step: Callable[[str], str]
    old_state: Callable[[str], str]
    new_state: Callable[[str], str]
    line: Callable[[str, str], str]


def _text_format(op: str) -> Format:
    return OPS[op].text or formats.call


def _latex_format(op: str) -> Format:
    written = OPS[op].latex
    if written is None or isinstance(written, str):
        return formats.latex_call(written or formats.operator_name(op))
    return written


TEXT = Style(
    format=_text_format,
    name=lambda name: name,
    not_per_step=lambda name: name,
    old_state=lambda name: name,
    new_state=lambda name: f"{name}'",
    line=lambda name, value: f"{name} = {value}",
)
LATEX = Style(
    format=_latex_format,
    name=lambda name: rf"{latex_word(name)}_t",
    not_per_step=latex_word,
    old_state=lambda name: rf"{latex_word(name)}_{{t-1}}",
    new_state=lambda name: rf"{latex_word(name)}_t",
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
    written: list[Fragment] = []
    lines: list[str] = []
    for index, node in enumerate(graph.nodes):
        fragment = _write(node, [written[arg] for arg in node.args], style)
        own = names.get(index, [])
        if own:
            lines.append(style.line(own[0], fragment[0]))
            aliases += [style.line(other, own[0]) for other in own[1:]]
            fragment = own[0], ATOM
        written.append(fragment)
    return lines + aliases


def _named(graph: Graph, style: Style) -> dict[int, list[str]]:
    """The values that get a line of their own, and their names: the first one is used further on."""
    names: dict[int, list[str]] = {}
    for name, index in graph.gates:
        names.setdefault(index, []).append(style.name(name))
    for key, index in graph.outputs:
        shown = style.new_state(key.name) if key.kind == "state" else style.name(_output_name(key))
        if shown not in names.setdefault(index, []):
            names[index].append(shown)
    uses = Counter(arg for node in graph.nodes for arg in node.args)
    count = 0
    for index, node in enumerate(graph.nodes):
        if uses[index] > 1 and index not in names and OPS[node.op].sort != "leaf":
            count += 1
            names[index] = [style.name(f"t{count}")]
    return names


_OUTPUTS: dict[Kind, str] = {
    "emit": "{name}",
    "input_gradient": "d({name})",
    "static_gradient": "d({name})",
    "state_gradient": "d({name})",
    "hoisted_gradient": "d(hoisted_{name})",
    "memory_gradient": "d({name})",
    "vector_gradient": "d({name})",
    "weight_gradient": "dW_{slot}[{name}]",
    "bias_gradient": "db_{slot}[{name}]",
}
"""How outputs are called, by their kind."""


def _output_name(key: ArrayKey) -> str:
    known = _OUTPUTS.get(key.kind)
    return str(key) if known is None else known.format(name=key.name, slot=key.slot)


def _write(node: Node, args: list[Fragment], style: Style) -> Fragment:
    match node.op:
        case "input":
            return style.name(node.text("name")), ATOM
        case "array":
            return style.name(str(node.key)), ATOM
        case "static" | "memory":
            return style.not_per_step(node.text("name")), ATOM
        case "state":
            return style.old_state(node.text("name")), ATOM
        case _:
            return style.format(node.op)(node, args)


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
            f"{s.name} ({s.size}" + (f", from {number(s.init)})" if s.init else ")") for s in graph.states
        )
    )
    lines.append("gates       " + (", ".join(name for name, _ in graph.gates) or "none"))
    for slot, blocks in graph.slots().items():
        rows = " + ".join(f"{block.gate}" for block in blocks)
        lines.append(f"{f'weight_{slot}':<11} rows {rows}; columns {blocks[0].columns}{_of_heads(blocks[0])}")
    lines.append(f"parameters  {parameter_count(graph)}")
    return "\n".join(lines)


def _of_heads(block: Block) -> str:
    return f" / {block.heads}, a head's" if block.heads > 1 else ""


def parameter_count(graph: Graph) -> str:
    """The number of parameters of one layer, as a sum of products of sizes."""
    terms: dict[tuple[str, ...], Fraction] = {}

    def count(*widths: Width, heads: int = 1) -> None:
        factor = Fraction(1, heads)
        for width in widths:
            factor *= width if isinstance(width, int) else 1
        names = tuple(sorted(width for width in widths if isinstance(width, str)))
        terms[names] = terms.get(names, Fraction(0)) + factor

    for block in graph.blocks:
        count(block.rows, block.columns, heads=block.heads)
        if block.bias:
            count(block.rows)
    for vector in graph.vectors:
        count(vector.size, *(() if vector.columns is None else (vector.columns,)))
    order = sorted(terms, key=lambda names: (-len(names), names))
    return " + ".join(_product(terms[names], names) for names in order) or "0"


def _product(factor: Fraction, names: tuple[str, ...]) -> str:
    whole, parts = factor.numerator, factor.denominator
    text = " * ".join([str(whole)] * (whole > 1 or not names) + list(names))
    return text if parts == 1 else f"{text} / {parts}"
