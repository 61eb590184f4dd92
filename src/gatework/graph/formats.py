"""How operations look, in text and in LaTeX: what the rows of the table (`ops.py`) are written with."""

from __future__ import annotations

from collections.abc import Callable

from gatework.graph.node import Node

COMPARE, ADD, MULTIPLY, UNARY, POWER, ATOM = range(6)
"""How tightly a fragment of text binds: what stands inside something tighter needs brackets."""

Fragment = tuple[str, int]
Format = Callable[[Node, list[Fragment]], Fragment]


def inside(fragment: Fragment, tightness: int) -> str:
    """A fragment as a part of something that binds so tightly."""
    text, binds = fragment
    return text if binds >= tightness else f"({text})"


def number(value: float) -> str:
    return str(int(value)) if float(value).is_integer() and abs(value) < 1e6 else f"{value:.6g}"


def constant(node: Node, args: list[Fragment]) -> Fragment:
    value = node.number("value")
    return number(value), ATOM if value >= 0 else UNARY


def infix(symbol: str, tightness: int, *, left: int | None = None, right: int | None = None) -> Format:
    """Two arguments with a symbol between them, each in brackets where it binds less than is said."""

    def write(node: Node, args: list[Fragment]) -> Fragment:
        first = inside(args[0], tightness if left is None else left)
        return f"{first}{symbol}{inside(args[1], tightness if right is None else right)}", tightness

    return write


def comparison(symbol: str) -> Format:
    return infix(symbol, COMPARE, left=ADD, right=ADD)


def negative(node: Node, args: list[Fragment]) -> Fragment:
    return f"-{inside(args[0], UNARY)}", MULTIPLY


def template(text: str, tightness: int = ATOM, *, within: int | None = None) -> Format:
    """A text with the arguments in place of `{0}`, `{1}`, … and the attributes in place of their names.

    Args:
        within: arguments that bind less tightly are in brackets; None puts none in brackets.
    """

    def write(node: Node, args: list[Fragment]) -> Fragment:
        shown = [arg[0] if within is None else inside(arg, within) for arg in args]
        fields = {key: value if isinstance(value, str) else number(value) for key, value in node.attributes}
        return text.format(*shown, **fields), tightness

    return write


def call(node: Node, args: list[Fragment]) -> Fragment:
    """`name(argument, attribute=value)`, in text."""
    shown = [arg[0] for arg in args]
    shown += [f"{key}={value if isinstance(value, str) else number(value)}" for key, value in node.attributes]
    return f"{node.op}({', '.join(shown)})", ATOM


def latex_call(command: str) -> Format:
    """A LaTeX command with its arguments, then the attributes that are numbers, in brackets."""

    def write(node: Node, args: list[Fragment]) -> Fragment:
        shown = [arg[0] for arg in args]
        shown += [number(value) for _, value in node.attributes if not isinstance(value, str)]
        return rf"{command}\left({', '.join(shown)}\right)", ATOM

    return write


def operator_name(op: str) -> str:
    return r"\operatorname{" + op.replace("_", r"\_") + "}"


def gradient_in(node: Node, args: list[Fragment]) -> Fragment:
    """The gradient that flows into an output."""
    return f"d({node['name']}')", ATOM


def normalised(node: Node, args: list[Fragment]) -> Fragment:
    operands = ", ".join(arg[0] for arg in args)
    block = f"[{number(node.number('index'))}]" if len(args) > 1 else ""
    return f"normalise({operands}){block}", ATOM


def latex_normalised(node: Node, args: list[Fragment]) -> Fragment:
    operands = ", ".join(arg[0] for arg in args)
    block = f"_{{{number(node.number('index') + 1)}}}" if len(args) > 1 else ""
    return rf"\operatorname{{normalise}}{block}\left({operands}\right)", ATOM


def latex_escaped(name: str) -> str:
    return name.replace("_", r"\_")


def latex_word(name: str) -> str:
    return name if len(name) == 1 else rf"\mathrm{{{latex_escaped(name)}}}"


def latex_named(node: Node, args: list[Fragment]) -> Fragment:
    return latex_word(node.text("name")), ATOM


def latex_alignment(node: Node, args: list[Fragment]) -> Fragment:
    shown = ", ".join(arg[0] for arg in args)
    return rf"\operatorname{{softmax}}\left(\mathrm{{{node['score']}}}({shown})\right)", ATOM


def alignment(node: Node, args: list[Fragment]) -> Fragment:
    return f"softmax({node['score']}({', '.join(arg[0] for arg in args)}))", ATOM


def latex_block(letter: str, *, operand: bool) -> Format:
    """A gate's block of a slot, with the operand that it multiplies."""

    def write(node: Node, args: list[Fragment]) -> Fragment:
        slot, gate = latex_escaped(node.text("slot")), latex_word(node.text("gate"))
        matrix = rf"{letter}^{{\mathrm{{{slot}}}}}_{{{gate}}}"
        return (f"{matrix} {inside(args[0], UNARY)}", MULTIPLY) if operand else (matrix, ATOM)

    return write
