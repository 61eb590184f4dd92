"""What a forecaster's cell is told of missing values and of irregular times.

A cell that has the inputs `mask` and `gap` (GRU-D, CfC) reads them there; any other reads them as features beside the
values: the mask as it is, the gap as its logarithm.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from gatework.graph import Cell
from gatework.tasks.forecaster.channels import Layout

__all__ = ["CellInputs"]

_NAMES = ("mask", "gap")


class CellInputs:
    """How a cell reads segments.

    A gap is the time since the value at the same place of an earlier segment was observed, in segments: 1 where the
    segment before had it. With segments of one step it is the time since the last observed value.

    Args:
        cell: its further inputs are none, or `mask` and `gap`, as wide as its input (a number each) or 1 (of the
            segment's last value).
        layout: of the segments.

    Attributes:
        size: I, the units of the cell's input.

    Raises:
        ValueError: the cell reads something else.
    """

    def __init__(self, cell: Cell, layout: Layout) -> None:
        self._widths = {spec.name: spec.size for spec in cell.graph.inputs[1:]}
        for spec in cell.graph.inputs[1:]:
            if spec.kind != "input" or spec.name not in _NAMES or spec.size not in ("input_size", 1):
                raise ValueError(
                    f"it reads {spec.name!r} ({spec.kind}, {spec.size}); a forecaster gives its cell mask and gap"
                )
        self._segment, self._width = layout.segment, layout.read
        own = {"mask": layout.masked, "gap": layout.gaps}
        begin, self._places = layout.segment + 1, dict[str, slice]()
        for name in (name for name in _NAMES if own[name]):
            self._places[name] = slice(begin, begin + layout.segment)
            begin += layout.segment
        moved = [place for name, place in self._places.items() if name in self._widths]
        self.size = layout.read - layout.segment * len(moved)
        self._kept = [0, *(bound for place in moved for bound in (place.start, place.stop)), layout.read]

    def of(self, segments: Tensor) -> tuple[Tensor, Mapping[str, Tensor] | None]:
        """The cell's input (…, I) and its further inputs, of segments (…, R)."""
        if not self._widths:
            return segments, None
        starts, stops = self._kept[::2], self._kept[1::2]
        kept = [segments[..., start:stop] for start, stop in zip(starts, stops, strict=True)]
        return torch.cat(kept, -1), {name: self._told(segments, name) for name in self._widths}

    def _told(self, segments: Tensor, name: str) -> Tensor:
        """A number for each of the cell's inputs, or one: of what is always observed, one."""
        place = self._places.get(name)
        if self._widths[name] == 1:
            own = segments[..., place.stop - 1 : place.stop] if place else torch.ones_like(segments[..., :1])
            return own.exp() if place and name == "gap" else own
        told = segments.new_ones((*segments.shape[:-1], self.size))
        if place:
            of_values = segments[..., place].exp() if name == "gap" else segments[..., place]
            told[..., : self._segment] = of_values
            told[..., self._segment] = of_values[..., -1]  # how far the last value moved
        return told
