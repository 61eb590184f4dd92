"""What a stream knows of missing values and irregular times."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from gatework.tasks.forecaster.channels import Channels, Floats, Integers, Mask
from gatework.tasks.forecaster.scaling import LEAST_GAP

__all__ = ["RunningGaps"]


class RunningGaps:
    """R channels' `between`, `last` and `gap` (see `Channels`), of which a step writes a column.

    Args:
        rows: R. width: columns; channel r's stand at places r · width … . segment: s.

    Attributes:
        between, last, gap: (R, width).
    """

    def __init__(self, rows: int, width: int, segment: int) -> None:
        self.between, self._clock = np.zeros((rows, width)), np.zeros((rows, width))
        self.gap = np.zeros((rows, width), np.float32)
        self._rows, self._segment = np.arange(rows), segment
        self._begins = self._rows * width
        self.last = np.repeat(self._begins[:, None] - 1, width, axis=1)
        self._seen = np.zeros((rows, segment))  # when a value at each place of a segment was observed last
        self._known = np.zeros(rows)  # when any was

    def begin(self, row: int, channels: Channels, index: int, place: int, kept: slice) -> None:
        """Go on from a place of a channel; it and those before it are written to some columns."""
        begin, end = int(channels.begins[index]), place + 1
        own, size = slice(end - (kept.stop - kept.start), end), self._segment
        self.between[row, kept], self.gap[row, kept] = channels.between[own], channels.gap[own]
        self._clock[row, kept] = channels.clock[own]
        moved = self._begins[row] + kept.stop - end
        self.last[row, kept] = np.maximum(channels.last[own] + moved, self._begins[row] - 1)
        after = (
            self.last[row, kept.stop - 1] - self._begins[row] + 1
        )  # what came after the place says nothing
        late = slice(max(int(after), kept.start), kept.stop)
        self.between[row, late] = channels.values[place]
        places, clock = np.flatnonzero(channels.observed[begin:end]), channels.clock[begin:end]
        self._seen[row] = clock[0] - size + np.arange(size)
        self._seen[row, places % size] = clock[places]  # of several the last
        if len(places):
            self._known[row] = clock[places[-1]]

    def usual_clock(self, column: int) -> Floats:
        """(R,) the time of a column, in the usual distance after the one before."""
        return self._clock[:, column - 1] + 1

    def step(
        self, column: int, values: Floats, observed: Mask, first: Mask, clock: Floats, counts: Integers
    ) -> None:
        """A step of every channel.

        Args:
            values: (R,), missing ones the last before. observed: (R,). first: (R,) for the first time.
            clock: (R,) its time. counts: (R,) the steps before it.
        """
        begun = counts == 0
        self._seen[begun] = clock[begun, None] - self._segment + np.arange(self._segment)
        phases, size = counts % self._segment, self._segment
        gap = (clock - self._seen[self._rows, phases]) / size
        self.gap[:, column] = np.log(np.maximum(gap, LEAST_GAP))
        self._seen[observed, phases[observed]] = clock[observed]
        before = self.last[:, column - 1]
        for row in np.flatnonzero(observed & ~first & (before < self._begins + column - 1)):
            self._bridge(int(row), column, values[row], clock[row])
        self.between[first, :column] = values[first, None]
        self.between[:, column], self._clock[:, column] = values, clock
        self.last[:, column] = np.where(observed, self._begins + column, before)
        self._known[observed] = clock[observed]

    def _bridge(self, row: int, column: int, value: float, clock: float) -> None:
        """Between the last observed value and this one, missing ones stand on a line."""
        missing = slice(int(self.last[row, column - 1] - self._begins[row]) + 1, column)
        before, since = self.between[row, column - 1], self._known[row]
        share = (self._clock[row, missing] - since) / (clock - since)
        self.between[row, missing] = before + share * (value - before)

    def slide(self, kept: slice) -> None:
        """Copy some columns to the front."""
        own = self.state(kept)
        self.go_on(own, slice(0, kept.stop - kept.start))

    def state(self, kept: slice) -> dict[str, np.ndarray]:
        """What `go_on` takes of some columns: copies."""
        last = self.last[:, kept] - self._begins[:, None] - kept.start
        tables: dict[str, np.ndarray] = {"between": self.between, "clock": self._clock, "gap": self.gap}
        found = {name: table[:, kept].copy() for name, table in tables.items()}
        return found | {"last": last, "seen": self._seen.copy(), "known": self._known.copy()}

    def go_on(self, state: Mapping[str, np.ndarray], kept: slice) -> None:
        """Go on from what `state` gave, in these columns."""
        self.between[:, kept], self._clock[:, kept] = state["between"], state["clock"]
        self.gap[:, kept], self._seen, self._known = state["gap"], state["seen"].copy(), state["known"].copy()
        self.last[:, kept] = np.maximum(state["last"], -1) + self._begins[:, None] + kept.start
