"""The passes by name, in the order in which they run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, cast, get_args

from gatework.errors import nearest
from gatework.graph import printing
from gatework.graph.backward import backward
from gatework.graph.cell import Cell
from gatework.graph.derive import derive
from gatework.graph.expand import expand
from gatework.graph.hoist import hoist
from gatework.graph.node import Graph
from gatework.graph.simplify import simplify

PassName = Literal["trace", "simplify", "expand", "derive"]
PASS_NAMES: tuple[PassName, ...] = get_args(PassName)
_PASSES: dict[PassName, Callable[[Graph], Graph]] = {
    "simplify": simplify,
    "expand": expand,
    "derive": lambda graph: simplify(derive(graph)),
}


def lower(graph: Graph, last: PassName) -> Graph:
    """A traced graph after all passes up to the one named.

    Raises:
        ValueError: there is no such pass.
    """
    if last not in PASS_NAMES:
        raise ValueError(f"There is no pass {last!r}. {nearest(last, (*PASS_NAMES, 'hoist', 'backward'))}")
    for name in PASS_NAMES[1 : PASS_NAMES.index(last) + 1]:
        graph = _PASSES[name](graph)
    return graph


def show(cell: Cell, stage: str = "trace") -> str:
    """The equations of a cell after a pass, as text: what the passes made of what was written.

    Args:
        stage: the name of a pass, one of PASS_NAMES; or `hoist`, what leaves the loop over time and what stays; or
            `backward`, the loop that training runs from the last step to the first.

    Raises:
        ValueError: there is no such pass.
        TypeError: `cell` is no cell, such as its name.
    """
    if not isinstance(cell, Cell):
        raise TypeError(f"show takes a cell, and was given {cell!r}: give gw.lstm, or gw.cells.load('lstm').")
    if stage not in ("hoist", "backward"):
        return printing.text(lower(cell.graph, cast(PassName, stage)))
    parts = hoist(lower(cell.graph, "expand"))
    if stage == "backward":
        return printing.text(backward(parts.loop).loop)
    hoisted = "" if parts.hoisted is None else f"for all steps:\n{_indented(parts.hoisted)}\n"
    return f"{hoisted}for each step:\n{_indented(parts.loop)}"


def _indented(graph: Graph) -> str:
    return "\n".join(f"    {line}" for line in printing.text(graph).splitlines())
