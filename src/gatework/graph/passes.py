"""The passes by name, in the order in which they run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, get_args

from gatework.errors import nearest
from gatework.graph import printing
from gatework.graph.cell import Cell
from gatework.graph.derive import derive
from gatework.graph.expand import expand
from gatework.graph.node import Graph
from gatework.graph.simplify import simplify

Stage = Literal["trace", "simplify", "expand", "derive"]
STAGES: tuple[Stage, ...] = get_args(Stage)
_PASSES: dict[Stage, Callable[[Graph], Graph]] = {
    "simplify": simplify,
    "expand": expand,
    "derive": lambda graph: simplify(derive(graph)),
}


def lower(graph: Graph, stage: Stage) -> Graph:
    """A traced graph after all passes up to a stage.

    Raises:
        ValueError: there is no such stage.
    """
    if stage not in STAGES:
        raise ValueError(f"There is no stage {stage!r} of a graph. {nearest(stage, STAGES)}")
    for name in STAGES[1 : STAGES.index(stage) + 1]:
        graph = _PASSES[name](graph)
    return graph


def show(cell: Cell, stage: Stage = "trace") -> str:
    """The equations of a cell after a pass, as text: what the passes made of what was written."""
    return printing.text(lower(cell.graph, stage))
