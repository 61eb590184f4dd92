"""Transcribes sounds as they come."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch

from gatework.data.log_mel import LogMel
from gatework.data.sound import ResamplingStream
from gatework.errors import InputError
from gatework.tasks.stream_files import read_stream, weights_digest, write_stream
from gatework.tasks.transcriber.decoding import Heard, PauseFinder, SegmentSearch, transcribe
from gatework.tasks.transcriber.network import TranscriberNetwork
from gatework.tasks.transcriber.search import TranscriptSearch
from gatework.tasks.transcriber.timing import loudness
from gatework.tasks.transcriber.transcripts import text_of_labels, word_records

__all__ = ["SoundStream", "StreamState", "read_state"]


class StreamState(NamedTuple):
    """Where a stream stands: arrays by name, the rate of its samples, and the digest of its network's weights."""

    arrays: Mapping[str, np.ndarray]
    rate: int
    weights: str


class StepStream:
    """From samples to log-probabilities of labels, a step at a time, as soon as a step's frames are known.

    Args:
        network: in eval mode, of one direction.
        features: how frames are made.
        rate: of the samples, in Hz.
    """

    def __init__(self, network: TranscriberNetwork, features: LogMel, rate: int) -> None:
        self._network, self._features, self._rate = network, features, rate
        self._context = -(-network.front.ahead // network.front.stride)  # steps that a window's begin spoils
        self._resampling = ResamplingStream(rate, features.rate)
        self._frames = features.stream()
        self._total = torch.zeros(1, features.mels, dtype=torch.float64)  # of all frames, for their mean
        self._count = 0  # frames so far
        self._window = torch.zeros(0, 1, features.mels)  # the last ones, normalised
        self._done = 0  # steps so far
        self._loud = np.zeros(0, np.float32)  # of the frames that belong to no step yet
        self._layers = network.recurrent.stream()

    def accept(self, samples: Any) -> Heard:
        """The steps that are certain after the next samples."""
        return self._read(self._resampling.accept(samples), ended=False)

    def finish(self) -> Heard:
        """The last steps; nothing is accepted after it."""
        return self._read(self._resampling.finish(), ended=True)

    @torch.inference_mode()
    def _read(self, samples: np.ndarray, *, ended: bool) -> Heard:
        frames = self._frames.accept(samples)
        if ended:
            frames = np.concatenate([frames, self._frames.finish()])
        self._loud = np.concatenate([self._loud, loudness(frames)])
        self._normalize(torch.from_numpy(frames)[:, None])
        steps = self._steps(ended)
        count = len(steps) * self._network.front.stride
        loud, self._loud = self._loud[:count], self._loud[count:]
        if not len(steps):
            return Heard(np.zeros((0, self._network.labels + 1), np.float32), loud)
        outputs = []
        for step in steps:
            output = self._layers.step(step)
            outputs.append((output["output"] if isinstance(output, dict) else output).clone())
        return Heard(self._network.scores(torch.stack(outputs))[:, 0].numpy(), loud)

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
            return self._window[:0]
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
        found["loud"] = self._loud.copy()
        found["counts"] = np.array([self._count, self._done])
        states = self._layers.state
        for place, state in enumerate(states if isinstance(states, tuple) else (states,)):
            found[f"layers.{place}"] = state.cpu().numpy().copy()
        return found

    def go_on(self, state: Mapping[str, np.ndarray]) -> None:
        """Go on from what `state` gave."""
        parts: dict[str, dict[str, np.ndarray]] = {"resampling": {}, "frames": {}, "layers": {}}
        for name, array in state.items():
            part, dot, own = name.partition(".")
            if dot:
                parts[part][own] = array
        self._resampling = ResamplingStream(self._rate, self._features.rate, parts["resampling"])
        self._frames = self._features.stream(parts["frames"])
        self._total, self._window = (torch.from_numpy(state[name].copy()) for name in ("total", "window"))
        self._count, self._done = map(int, state["counts"])
        self._loud = state["loud"].copy()
        states = [torch.from_numpy(parts["layers"][str(place)]) for place in range(len(parts["layers"]))]
        self._layers.state = states[0] if len(states) == 1 else tuple(states)


class SoundStream:
    """Says what is spoken while it is spoken; made by `Transcriber.stream`. One thread's own.

    Samples come in chunks of any size. Each call gives records: `partial`, the words since the last pause, whenever
    they change; `final`, once a pause has ended them, which no later sound changes. The final texts are those that
    `predict` gives of the whole recording.

    Args:
        network: in eval mode, of one direction.
        features: how frames are made.
        search: of the run, with settings.
        rate: of the samples, in Hz.
    """

    def __init__(
        self, network: TranscriberNetwork, features: LogMel, search: TranscriptSearch, rate: int
    ) -> None:
        self._network, self._features, self._search, self.rate = network, features, search, rate
        self.reset()

    @property
    def _stride(self) -> int:
        return self._network.front.stride

    @property
    def look_ahead(self) -> float:
        """Seconds of sound after the middle of a step's frame that the step waits for."""
        return (self._network.front.ahead * self._features.shift + self._features.frame / 2) / 1000

    @property
    def seconds(self) -> float:
        """Of the sound that was heard."""
        return round(self._heard / self.rate, 3)

    def reset(self) -> None:
        """Begin another recording."""
        self._steps = StepStream(self._network, self._features, self.rate)
        step = self._search.stride * self._search.shift
        self._pauses = PauseFinder(self._search.settings.pause_steps(step), self._search.stride)
        self._heard = self._begun = 0  # samples; the step with which the segment begins
        self._segment, self._said = self._new_segment(), ""

    def accept(self, samples: Any) -> list[dict[str, Any]]:
        """Hear the next samples: the records that they give, of which there may be none.

        Args:
            samples: (n,) or (n, channels), any n; as for `gatework.data.sound.mono`.

        Raises:
            InputError: samples that are no numbers, or not finite.
        """
        heard = self._steps.accept(samples)
        self._heard += len(samples)
        return self._records(heard, ended=False)

    def finish(self) -> list[dict[str, Any]]:
        """The records at the end of the sound. The stream then begins anew."""
        records = self._records(self._steps.finish(), ended=True)
        self.reset()
        return records

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
        """The segment's record, if anything is said in it; another segment begins."""
        segment = self._segment.finish(self._begun, self._search.tokenizer)
        self._segment, self._said = self._new_segment(), ""
        if segment is None:
            return []
        self._begun = segment.end
        (transcript,) = transcribe(
            [segment.unless_noise(self._search.least_confidence)], self._search.tokenizer
        )
        if not transcript.text:
            return []
        record: dict[str, Any] = {
            "kind": "final",
            "output": transcript.text,
            "probability": float(np.exp(transcript.log_probability)),
            "seconds": self.seconds,
        }
        if self._search.settings.times:
            record["times"] = word_records(transcript.words, self._search.shift)
        return [record]

    # Taking a stream up again

    @property
    def state(self) -> StreamState:
        """Where the stream stands: a copy."""
        arrays = {f"steps.{name}": array for name, array in self._steps.state().items()}
        nothing = Heard(np.zeros((0, self._network.labels + 1), np.float32), np.zeros(0, np.float32))
        arrays["segment"], arrays["loud"] = self._segment.heard or nothing
        pauses = self._pauses
        arrays["counts"] = np.array([self._heard, self._begun, pauses.blanks, pauses.quiet, pauses.spoken])
        return StreamState(arrays, self.rate, weights_digest(self._network))

    @state.setter
    def state(self, state: StreamState) -> None:
        if state.weights != weights_digest(self._network) or state.rate != self.rate:
            what = "is of a stream of another run, or of samples at another rate"
            raise InputError("state", what, "Give one of this run's streams, at its rate.")
        self.reset()
        own = self.state.arrays
        kinds = {name: (array.dtype.kind, array.shape[1:]) for name, array in state.arrays.items()}
        if kinds != {name: (array.dtype.kind, array.shape[1:]) for name, array in own.items()}:
            raise InputError("state", "is damaged", "Take another copy.")
        steps = {name.removeprefix("steps."): array for name, array in state.arrays.items() if "." in name}
        self._steps.go_on(steps)
        self._segment.accept(Heard(state.arrays["segment"], state.arrays["loud"]))
        self._heard, self._begun, blanks, quiet, spoken = map(int, state.arrays["counts"])
        self._pauses.go_on(blanks, quiet, bool(spoken), state.arrays["loud"])
        self._said = text_of_labels(self._segment.labels(ended=False)[0], self._search.tokenizer)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the state to a safetensors file, which `Transcriber.stream(saved=…)` goes on from, in another process
        too."""
        state = self.state
        write_stream(path, state.arrays, {"rate": state.rate, "weights": state.weights})


def read_state(path: str | os.PathLike[str]) -> StreamState:
    """What `SoundStream.save` wrote.

    Raises:
        RunError: the file is missing or damaged.
        InputError: it is no state of a stream of sound.
    """
    arrays, known = read_stream(path)
    try:
        return StreamState(arrays, int(known["rate"]), str(known["weights"]))
    except (KeyError, TypeError, ValueError) as error:
        fix = "Give a file that `save` wrote."
        raise InputError(os.fspath(path), "is no state of a stream of sound", fix) from error
