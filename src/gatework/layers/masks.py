"""The masks of recurrent dropout and zoneout: drawn by the layer, so that kernels draw nothing and runs repeat."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from gatework.graph import Graph
from gatework.graph.node import resolve
from gatework.graph.variants import DROPOUT, ZONEOUT


def sequence_masks(
    graph: Graph, x: Tensor, rows: int, rate: float, sizes: Mapping[str, int]
) -> dict[str, Tensor]:
    """The masks that hold for a whole sequence, (B, size) of 0 or 1 / (1 - rate), by the names of the graph's inputs.

    Args:
        x: a tensor of the call's device and dtype.
    """
    keep = 1 - rate
    return {
        spec.name: x.new_empty((rows, resolve(spec.size, sizes))).bernoulli_(keep) / max(keep, 1e-12)
        for spec in graph.inputs_of_kind("static")
        if spec.name.startswith(DROPOUT)
    }


def step_masks(
    graph: Graph, x: Tensor, rates: Mapping[str, float], sizes: Mapping[str, int]
) -> dict[str, Tensor]:
    """The masks of each step, shaped as `x` but for the size: 1 where a state keeps its value.

    Args:
        rates: of the states by name.
    """
    return {
        spec.name: x.new_empty((*x.shape[:-1], resolve(spec.size, sizes))).bernoulli_(
            rates[spec.name.removeprefix(ZONEOUT)]
        )
        for spec in graph.inputs_of_kind("input")
        if spec.name.startswith(ZONEOUT)
    }
