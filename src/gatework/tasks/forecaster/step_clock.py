"""The times of a series' next steps, and what the calendar says of them."""

from __future__ import annotations

import numpy as np

from gatework.data import calendar_features, next_times
from gatework.errors import InputError
from gatework.tasks.forecaster.channels import Singles
from gatework.tasks.forecaster.encoding import SeriesEncoding, Times

__all__ = ["StepClock"]

_AHEAD = 1024  # steps whose times are made at once


class StepClock:
    """Of one series; where its steps are numbered it says nothing.

    Args:
        encoding: what the series have.
        last: the time of the last step; None: it has none.

    Attributes:
        last: as the argument, of the last step.
    """

    def __init__(self, encoding: SeriesEncoding, last: np.datetime64 | None) -> None:
        self._step, self._cycles = encoding.step, encoding.cycles
        self.last, self._place = last, 0
        self._times: Times = np.empty(0, "datetime64[us]")
        self._features = np.zeros((0, 2 * len(self._cycles)), np.float32)

    def steps_to(self, time: np.datetime64) -> int:
        """How many steps a time is after the last one.

        Raises:
            InputError: it is not after it, or on none of the steps.
        """
        if self.last is None or self._step is None:
            return 1
        if time <= self.last:
            what = f"has the time {time}, and the last step had {self.last}"
            raise InputError("step", what, "Give steps in the order of their times, each once.")
        if self._step.kind != "regular":
            return 1
        number, off = self._step.steps(np.array([time]), self.last)
        if off[0]:
            what = f"has the time {time}, which is no whole number of steps ({self._step.words}) after {self.last}"
            raise InputError("step", what, "Mend the time.")
        return int(number[0])

    def move(self, time: np.datetime64 | None = None) -> Singles:
        """The next step's features, (A,); from now on this step is the last.

        Args:
            time: of the step, where it is known.
        """
        if self._step is None or (self.last is None and time is None):
            return np.zeros(2 * len(self._cycles), np.float32)
        if time is None or (self.last is not None and time == self.times(1)[0]):
            features = self.features(1)[0]
            self.last = self._times[self._place]
            self._place += 1
            return features
        self.last, self._place, self._times = time, 0, self._times[:0]
        return calendar_features(np.array([time]), self._cycles)[0]

    def times(self, count: int) -> Times:
        """(count,) of the next steps. There is a last one."""
        self._look_ahead(count)
        return self._times[self._place : self._place + count]

    def features(self, count: int) -> Singles:
        """(count, A) of the next steps."""
        if self._step is None or self.last is None:
            return np.zeros((count, 2 * len(self._cycles)), np.float32)
        self._look_ahead(count)
        return self._features[self._place : self._place + count]

    def _look_ahead(self, count: int) -> None:
        if self._place + count > len(self._times) and self._step is not None and self.last is not None:
            self._times, self._place = next_times(self.last, max(count, _AHEAD), self._step), 0
            self._features = calendar_features(self._times, self._cycles)

    @property
    def known(self) -> bool:
        """Whether the steps have times."""
        return self._step is not None and self.last is not None
