"""The scale of channels whose steps are read one by one: the numbers of `scales`, at the same cost at each."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from gatework.tasks.forecaster.scaling import (
    DECAY,
    Floats,
    Integers,
    Mask,
    Scaling,
    combined,
    decaying_sum,
    squared_differences,
)

__all__ = ["RunningScale"]

_KEPT = ("sums", "late", "present", "ahead", "before")


class RunningScale:
    """Of R channels the sums of squared differences, and how many there are of them.

    A rolling sum is that of two blocks of `window` steps: of the block before its last steps, of the present one the
    steps so far. So no difference of large sums is ever taken.

    Args:
        rows: R.
        window: steps that a rolling mean looks back.
        kind: see `scales`.

    Attributes:
        sums: (2, R, 2) squares and counts of the whole past, of differences over a season and over a step.
        late: (2, R) those of late, over a season, where their weights fall.
        present: (2, R, window) the present block, of which `place` steps are there; ahead: (2, R) their sums.
        before: (2, R, window + 1) of the block before the sums of its last steps, from each on.
    """

    def __init__(self, rows: int, *, window: int, kind: Scaling) -> None:
        self.window, self.kind, self.place = window, kind, 0
        self.sums, self.late, self.ahead = np.zeros((2, rows, 2)), np.zeros((2, rows)), np.zeros((2, rows))
        kept = window if kind == "rolling" else 0
        self.present, self.before = np.zeros((2, rows, kept)), np.zeros((2, rows, kept + 1))

    def begin(self, rows: Integers, values: Floats, observed: Mask, steps: Integers, season: int) -> None:
        """Go on with some rows (n,) from n steps of one channel (N,); before the first `step`."""
        pairs = [np.stack(squared_differences(values, observed, lag)) for lag in (season, 1)]
        for place, pair in enumerate(pairs):
            self.sums[:, rows, place] = pair.cumsum(1)[:, steps]
        if self.kind == "rolling":
            padded = np.pad(pairs[0], ((0, 0), (self.window - 1, 0)))
            blocks = padded[:, steps[:, None] + np.arange(self.window)]
            self.before[:, rows, :-1] = blocks[:, :, ::-1].cumsum(2)[:, :, ::-1]
        else:
            self.late[:, rows] = decaying_sum(pairs[0])[:, steps]

    def step(self, squares: Floats) -> Floats:
        """(R,) the scales at the channels' next step.

        Args:
            squares: (2, R, 2) of the differences over a season and over a step the squares, zero where there is none;
                and one where there is one.
        """
        if self.kind == "none":
            return np.ones(squares.shape[1])
        self.sums += squares
        if self.kind == "rolling":
            self.present[:, :, self.place] = squares[:, :, 0]
            self.ahead += squares[:, :, 0]
            self.place += 1
            recent = self.before[:, :, self.place] + self.ahead
            if self.place == self.window:
                self.before[:, :, :-1] = self.present[:, :, ::-1].cumsum(2)[:, :, ::-1]
                self.ahead[:], self.place = 0.0, 0
        else:
            self.late *= DECAY
            self.late += squares[:, :, 0]
            recent = self.late
        with np.errstate(invalid="ignore"):  # none yet: 0 / 0
            whole = self.sums[0] / self.sums[1]
            return combined(recent[0] / recent[1], whole[:, 0], whole[:, 1])

    def state(self) -> dict[str, np.ndarray]:
        """What `go_on` takes: copies."""
        return {name: getattr(self, name).copy() for name in _KEPT} | {"place": np.array([self.place])}

    def go_on(self, state: Mapping[str, np.ndarray]) -> None:
        """Go on from what `state` gave."""
        for name in _KEPT:
            setattr(self, name, state[name].copy())
        self.place = int(state["place"][0])
