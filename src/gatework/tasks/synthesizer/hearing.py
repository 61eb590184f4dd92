"""What an independent recogniser, a transcriber's run, hears in synthetic speech and in recordings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gatework.data import LogMel, sound_of_log_mel
from gatework.errors import InputError
from gatework.metrics.speech import cer, wer, word_deletion_rate
from gatework.metrics.synthesis import unaligned_duration_ratio
from gatework.tasks.transcriber import Transcriber
from gatework.tasks.transcriber.transcripts import prepared
from gatework.training import RunFolder

__all__ = ["Heard", "Recogniser", "figures_of_heard", "transcribers_run"]


def transcribers_run(path: str, where: str) -> RunFolder:
    """A run's folder.

    Args:
        where: what names it, for messages.

    Raises:
        InputError: it is another task's.
        RunError: there is none, or it is damaged.
    """
    run = RunFolder.open(path)
    if (kind := run.read_config().task) != Transcriber.name:
        raise InputError(where, f"{run.path} is a {kind}", "Give a transcriber's run.")
    return run


@dataclass(frozen=True, slots=True)
class Heard:
    """What was heard of a text.

    Attributes:
        output, text: what was heard and what was spoken, both as the recogniser writes texts.
        spans: start and end of each word that was heard, in seconds.
        seconds: of the sound.
    """

    output: str
    text: str
    spans: Sequence[tuple[float, float]]
    seconds: float


class Recogniser:
    """A transcriber's run.

    Args:
        path: see `transcribers_run`.
        where: see `transcribers_run`.
    """

    def __init__(self, path: str, where: str) -> None:
        self._model = Transcriber.restore(transcribers_run(path, where))

    def hear(self, sounds: Sequence[Any], texts: Sequence[str]) -> list[Heard]:
        """What is heard in N sounds, inputs of a transcriber, of N texts."""
        kind = self._model.options_.text
        return [
            Heard(
                record["output"],
                prepared(text, kind),
                [(word["start"], word["end"]) for word in record["times"]],
                record["seconds"],
            )
            for record, text in zip(self._model.predict(sounds), texts, strict=True)
        ]

    def hear_frames(
        self, frames: Sequence[np.ndarray], features: LogMel, texts: Sequence[str]
    ) -> list[Heard]:
        """What is heard in the sounds that are made of log-mel frames, N times (T, M)."""
        sounds = [
            {"array": sound_of_log_mel(each, features), "sampling_rate": features.rate} for each in frames
        ]
        return self.hear(sounds, texts)


def figures_of_heard(heard: Sequence[Heard]) -> dict[str, float]:
    """The error of a recogniser, the words that it missed, and the share of the sound in long gaps between words."""
    outputs, texts = [each.output for each in heard], [each.text for each in heard]
    return {
        "wer": wer(outputs, texts),
        "cer": cer(outputs, texts),
        "word_deletion_rate": word_deletion_rate(outputs, texts),
        "unaligned_duration_ratio": unaligned_duration_ratio(
            [each.spans for each in heard], [each.seconds for each in heard]
        ),
    }
