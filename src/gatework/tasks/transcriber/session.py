"""Sound that a transcriber hears as it comes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from gatework.data.log_mel import LogMel
from gatework.data.sound import ResamplingStream, mono
from gatework.errors import InputError
from gatework.layers.row_steps import RowSteps
from gatework.tasks.session import Session
from gatework.tasks.session_state import SessionState, damaged
from gatework.tasks.transcriber.decoding import Heard, PauseFinder, SegmentSearch, transcribe
from gatework.tasks.transcriber.network import TranscriberNetwork
from gatework.tasks.transcriber.options import TranscriptSettings
from gatework.tasks.transcriber.search import TranscriptSearch
from gatework.tasks.transcriber.transcripts import text_of_labels, word_records

__all__ = ["Hearing", "SoundSession"]


class Hearing(NamedTuple):
    """What all sessions of a run share: the network, in eval mode and of one direction; how frames are made; the steps
    of the network's layers.
    """

    network: TranscriberNetwork
    features: LogMel
    steps: RowSteps


class StepStream:
    """From samples to what the recurrent layers read, a step at a time, as soon as a step's frames are known.

    Args:
        hearing: of the run.
        rate: of the samples, in Hz.

    Attributes:
        row: what the recording carries in the layers, (K,).
    """

    def __init__(self, hearing: Hearing, rate: int) -> None:
        network, features = hearing.network, hearing.features
        self._network, self._features, self._rate = network, features, rate
        self._context = -(-network.front.ahead // network.front.stride)  # steps that a window's begin spoils
        self._resampling = ResamplingStream(rate, features.rate)
        self._frames = features.stream()
        self._total = torch.zeros(1, features.mels, dtype=torch.float64)  # of all frames, for their mean
        self._count = 0  # frames so far
        self._window = torch.zeros(0, 1, features.mels)  # the last ones, normalised
        self._done = 0  # steps so far
        self._unread = np.zeros((0, features.mels), np.float32)  # frames that belong to no step yet
        self.row = hearing.steps.first

    def accept(self, samples: np.ndarray) -> tuple[torch.Tensor, np.ndarray]:
        """The steps, (s, D), that are certain after the next samples, and their frames, (t, M)."""
        return self._read(self._resampling.accept(samples), ended=False)

    def finish(self) -> tuple[torch.Tensor, np.ndarray]:
        """The last steps; nothing is accepted after it."""
        return self._read(self._resampling.finish(), ended=True)

    def _read(self, samples: np.ndarray, *, ended: bool) -> tuple[torch.Tensor, np.ndarray]:
        frames = self._frames.accept(samples)
        if ended:
            frames = np.concatenate([frames, self._frames.finish()])
        self._unread = np.concatenate([self._unread, frames])
        self._normalize(torch.from_numpy(frames)[:, None])
        steps = self._steps(ended)
        count = len(steps) * self._network.front.stride
        own, self._unread = self._unread[:count], self._unread[count:]
        return steps[:, 0], own

    def _normalize(self, frames: torch.Tensor) -> None:
        normalization = self._network.normalization
        mean = normalization.mean
        if normalization.kind == "running":
            mean, self._total = normalization.running(frames, self._total, self._count)
        self._count += len(frames)
        self._window = torch.cat([self._window, (frames - mean) / normalization.deviation])

    def _steps(self, ended: bool) -> torch.Tensor:
        """(s, 1, D), what the front makes of the frames that are known."""
        front = self._network.front
        known = -(-self._count // front.stride)
        if not ended:
            known = max(0, (self._count - 1 - front.ahead) // front.stride + 1)
        if known <= self._done:
            return torch.zeros(0, 1, self._network.recurrent.input_size)
        begin = max(0, self._done - self._context)  # the step that the window begins with
        found, _ = front(self._window, torch.tensor([len(self._window)]))
        keep = max(0, known - self._context)
        self._window = self._window[(keep - begin) * front.stride :]
        steps, self._done = found[self._done - begin : known - begin], known
        return steps

    def state(self) -> dict[str, np.ndarray]:
        """What `go_on` takes: copies."""
        found = {f"resampling.{name}": array for name, array in self._resampling.state().items()}
        found |= {f"frames.{name}": array for name, array in self._frames.state().items()}
        found |= {"total": self._total.numpy().copy(), "window": self._window.numpy().copy()}
        found["unread"] = self._unread.copy()
        found["counts"] = np.array([self._count, self._done])
        found["row"] = self.row
        return found

    def go_on(self, state: Mapping[str, np.ndarray]) -> None:
        """Go on from what `state` gave."""
        parts: dict[str, dict[str, np.ndarray]] = {"resampling": {}, "frames": {}}
        for name, array in state.items():
            part, dot, own = name.partition(".")
            if dot:
                parts[part][own] = array
        self._resampling = ResamplingStream(self._rate, self._features.rate, parts["resampling"])
        self._frames = self._features.stream(parts["frames"])
        self._total, self._window = (torch.from_numpy(state[name].copy()) for name in ("total", "window"))
        self._count, self._done = map(int, state["counts"])
        self._unread = state["unread"].copy()
        self.row = state["row"].copy()


def _heard(
    hearing: Hearing, streams: Sequence[StepStream], steps: Sequence[torch.Tensor]
) -> list[np.ndarray]:
    """The log-probabilities of labels, (s, V), at the next steps, (s, D), of some recordings."""
    reading = [place for place, own in enumerate(steps) if len(own)]
    tables = [np.zeros((0, hearing.network.labels + 1), np.float32) for _ in steps]
    if not reading:
        return tables
    outputs, rows = hearing.steps.read(
        [steps[place] for place in reading], [streams[place].row for place in reading]
    )
    scores = hearing.network.scores(torch.cat(outputs)[:, None])[:, 0].numpy(force=True)
    ends = np.cumsum([len(own) for own in outputs])
    for place, row, table in zip(reading, rows, np.split(scores, ends[:-1]), strict=True):
        streams[place].row, tables[place] = row, table
    return tables


class SoundSession(Session):
    """A transcriber's: `feed` hears the next samples, (n,) or (n, channels), any n, as `gatework.data.sound.mono` takes
    them, and gives events: `partial`, the words since the last pause, whenever they change; `final`, once a pause has
    ended them, which no later sound changes. The final texts are those that `predict` gives of the whole recording.

    Attributes:
        rate: of the samples, in Hz.
    """

    settings: TranscriptSettings

    def __init__(
        self, task: str, settings: TranscriptSettings, hearing: Hearing, search: TranscriptSearch, rate: int
    ) -> None:
        self._hearing, self._search, self.rate = hearing, search, rate
        self._features = hearing.features
        super().__init__(task, hearing.network, settings)

    @property
    def look_ahead(self) -> float:
        """Seconds of sound after the middle of a step's frame that the step waits for."""
        return (self._hearing.network.front.ahead * self._features.shift + self._features.frame / 2) / 1000

    @property
    def seconds(self) -> float:
        """Of the sound that was heard."""
        return round(self._heard / self.rate, 3)

    def accept(self, samples: Any) -> list[dict[str, Any]]:
        """All events of `feed`."""
        return list(self.feed(samples))

    def _begin(self) -> None:
        self._steps = StepStream(self._hearing, self.rate)
        step = self._search.stride * self._search.shift
        self._pauses = PauseFinder(self._search.settings.pause_steps(step), self._search.stride)
        self._heard = self._begun = 0  # samples; the step with which the segment begins
        self._segment, self._said = self._new_segment(), ""

    def _read(self, item: Any) -> np.ndarray:
        return mono(item)

    @classmethod
    def _absorb(cls, sessions: Sequence[SoundSession], items: Sequence[np.ndarray]) -> None:
        for session, samples in zip(sessions, items, strict=True):
            session._heard += len(samples)
        found = [one._steps.accept(samples) for one, samples in zip(sessions, items, strict=True)]
        cls._hear(sessions, found, ended=False)

    @classmethod
    def _hear(
        cls,
        sessions: Sequence[SoundSession],
        steps: Sequence[tuple[torch.Tensor, np.ndarray]],
        *,
        ended: bool,
    ) -> None:
        """Make events of the sessions' next steps."""
        tables = _heard(sessions[0]._hearing, [one._steps for one in sessions], [own for own, _ in steps])
        for session, table, (_, frames) in zip(sessions, tables, steps, strict=True):
            session._events += session._records(Heard(table, frames), ended=ended)

    def _end(self) -> None:
        with torch.inference_mode():
            self._hear([self], [self._steps.finish()], ended=True)

    def _records(self, heard: Heard, *, ended: bool) -> list[dict[str, Any]]:
        records = []
        begin = 0
        for end in self._pauses.accept(heard):
            self._segment.accept(heard.part(begin, end, self._search.stride))
            records += self._final()
            begin = end
        self._segment.accept(heard.part(begin, len(heard.table), self._search.stride))
        return records + (self._final() if ended else self._partial())

    def _new_segment(self) -> SegmentSearch:
        return SegmentSearch(self._search.stride, self._search.settings.beam, self._search.scorer)

    def _partial(self) -> list[dict[str, Any]]:
        text = text_of_labels(self._segment.labels(ended=False)[0], self._search.tokenizer)
        if text == self._said:
            return []
        self._said = text
        return [{"kind": "partial", "output": text, "seconds": self.seconds}]

    def _final(self) -> list[dict[str, Any]]:
        """The segment's record, if anything is said in it; else words that seemed to be said are taken back. Another
        segment begins.
        """
        segment = self._segment.finish(self._begun, self._search.tokenizer)
        taken_back = [{"kind": "partial", "output": "", "seconds": self.seconds}] if self._said else []
        self._segment, self._said = self._new_segment(), ""
        if segment is None:
            return taken_back
        self._begun = segment.end
        (transcript,) = transcribe(
            [segment.unless_noise(self._search.least_confidence)], self._search.tokenizer
        )
        if not transcript.text:
            return taken_back
        record: dict[str, Any] = {
            "kind": "final",
            "output": transcript.text,
            "probability": float(np.exp(transcript.log_probability)),
            "seconds": self.seconds,
        }
        if self._search.settings.times:
            record["times"] = word_records(transcript.words, self._search.shift)
        return [record]

    # Taking a session up again

    def _arrays(self) -> dict[str, np.ndarray]:
        arrays = {f"steps.{name}": array for name, array in self._steps.state().items()}
        sizes = (self._hearing.network.labels + 1, self._features.mels)
        nothing = Heard(*(np.zeros((0, size), np.float32) for size in sizes))
        arrays["segment"], arrays["heard"] = self._segment.heard or nothing
        pauses = self._pauses
        arrays["counts"] = np.array([self._heard, self._begun, pauses.blanks, pauses.quiet, pauses.spoken])
        return arrays

    def _known(self) -> dict[str, Any]:
        return {"rate": self.rate}

    def _restore(self, state: SessionState) -> None:
        if state.known.get("rate") != self.rate:
            what = "is of a session whose samples have another rate"
            raise InputError("state", what, "Give one of this rate.")
        kinds = {name: (array.dtype.kind, array.shape[1:]) for name, array in state.arrays.items()}
        own = {name: (array.dtype.kind, array.shape[1:]) for name, array in self._arrays().items()}
        if kinds != own or len(state.arrays["counts"]) != 5:
            raise damaged()
        steps = {name.removeprefix("steps."): array for name, array in state.arrays.items() if "." in name}
        self._steps.go_on(steps)
        self._segment.accept(Heard(state.arrays["segment"], state.arrays["heard"]))
        self._heard, self._begun, blanks, quiet, spoken = map(int, state.arrays["counts"])
        self._pauses.go_on(blanks, quiet, bool(spoken), state.arrays["heard"])
        self._said = text_of_labels(self._segment.labels(ended=False)[0], self._search.tokenizer)
