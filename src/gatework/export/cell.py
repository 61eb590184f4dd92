"""One layer in one direction as numbers will run it: its graph, its sizes, and its weights as arrays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from gatework.graph import Graph
from gatework.graph.node import resolve

Array = np.ndarray


@dataclass(frozen=True)
class Cell:
    """One layer in one direction.

    Attributes:
        graph: of a step in basic operations, attention written by rows.
        sizes: of the names that it uses; a memory's steps are not among them.
        weights: (slot, gate) to a block, (rows, columns).
        biases: (slot, gate) to a vector.
        vectors: learned vectors by name.
        keys: the name of a memory of keys to the memory that is projected, and the projection, (A, M); None where the
            memory itself is compared.
        kernels: the name of a memory of a location score's kernel to the kernel, (K, A).
    """

    graph: Graph
    sizes: Mapping[str, int]
    weights: Mapping[tuple[str, str], Array]
    biases: Mapping[tuple[str, str], Array] = field(default_factory=dict)
    vectors: Mapping[str, Array] = field(default_factory=dict)
    keys: Mapping[str, tuple[str, Array | None]] = field(default_factory=dict)
    kernels: Mapping[str, Array] = field(default_factory=dict)


def width_of(cell: Cell, width: str | int) -> int | None:
    """The units of a width; None for a memory's steps, which a call decides."""
    return None if isinstance(width, str) and width not in cell.sizes else resolve(width, cell.sizes)
