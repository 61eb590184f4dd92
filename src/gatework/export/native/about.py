"""What those who call a part's functions must know of them, as JSON."""

from __future__ import annotations

from typing import Any

from gatework.export.native.code import Code
from gatework.export.native.layout import Count
from gatework.export.native.map_functions import MapFunctions
from gatework.layers.structure import suffix

__all__ = ["about"]


def about(code: Code) -> dict[str, Any]:
    """The sizes of what a part's functions read, give and need, in numbers of float32."""
    functions = code.functions
    if isinstance(functions, MapFunctions):
        part = functions.part
        return {
            "name": part.name,
            "reads": part.reads,
            "gives": part.gives,
            "scratch": _count(functions.scratch),
        }
    takes = functions.takes
    network = takes.network
    return {
        "name": network.name,
        "cell": network.graph.name,
        "tokens": None if network.table is None else network.table.shape[0],
        "input": network.stack.input_size,
        "output": network.output_size,
        "inputs": dict(takes.inputs),
        "statics": dict(takes.statics),
        "memories": dict(takes.memories),
        "keys": {memory: takes.keys_width(memory) for memory, _ in takes.memories},
        "emits": {name: [units, width] for name, units, width in takes.emits},
        "states": {
            place.name + suffix(*network.stack.pairs[place.cell]): [place.offset, place.units]
            for place in takes.states
        },
        "state": _count(takes.state),
        "scratch": _count(functions.scratch),
        "sequenceWidth": functions.sequence_width,
        "bothWays": network.stack.bidirectional,
    }


def _count(of: Count) -> list[Any]:
    return [of.fixed, list(of.by_steps)]
