"""How a run's outputs become a record: what is searched, how, and with which settings."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from gatework.data import Tokenizer
from gatework.seq2seq import Ensemble, PrefixScorer
from gatework.tasks.transcriber.attention_decoder import AttentionDecoder
from gatework.tasks.transcriber.decoding import Heard, JointSearch, Segment, segments, transcribe
from gatework.tasks.transcriber.joint_search import joint_labels
from gatework.tasks.transcriber.options import TranscriptSettings
from gatework.tasks.transcriber.transcripts import word_records

__all__ = ["StepOutputs", "TranscriptSearch"]


class StepOutputs(NamedTuple):
    """Of one recording.

    table: (S, V) log-probabilities of its steps. memory: (S, D) of each attention decoder, what it attends to.
    """

    table: np.ndarray
    memory: tuple[Tensor, ...] = ()


@dataclass(frozen=True)
class TranscriptSearch:
    """A run's search, with settings.

    Attributes:
        tokenizer: of the labels.
        settings: of `predict`.
        scorer: what they tell the search beside the sound.
        least_confidence: below which a segment is taken for noise.
        stride, shift: frames of a step, seconds from one frame to the next.
        decoders, weight: the attention decoders, and their weight beside CTC.
    """

    tokenizer: Tokenizer
    settings: TranscriptSettings
    scorer: PrefixScorer | None
    least_confidence: float
    stride: int
    shift: float
    decoders: Sequence[AttentionDecoder]
    weight: float

    def record(self, frames: np.ndarray, output: StepOutputs) -> dict[str, Any]:
        """The record of a recording, without its `input`; frames are (T, M)."""
        heard, count = self.segments(frames, output), self.settings.alternatives
        kept = [segment.unless_noise(self.least_confidence) for segment in heard]
        transcripts = transcribe(kept, self.tokenizer, count)
        best = transcripts[0]
        record: dict[str, Any] = {
            "output": best.text,
            "probability": math.exp(best.log_probability),
            "seconds": round(len(frames) * self.shift, 3),
        }
        if self.settings.times:
            record["times"] = word_records(best.words, self.shift)
        if kept != heard:
            record["rejected"] = True
        if count > 1:
            record["alternatives"] = [
                {"text": each.text, "probability": math.exp(each.log_probability)} for each in transcripts
            ]
        return record

    def segments(self, frames: np.ndarray, output: StepOutputs) -> list[Segment]:
        """What is said between the pauses."""
        found = segments(
            Heard(output.table, frames),
            self.tokenizer,
            stride=self.stride,
            width=self.settings.beam,
            pause=self.settings.pause_steps(self.shift * self.stride),
            count=self.settings.alternatives,
            scorer=self.scorer,
            joint=self._joint(output),
        )
        return list(found)

    def _joint(self, output: StepOutputs) -> JointSearch | None:
        """The search of CTC and the attention decoders; None where it is to be greedy, or there are none."""
        if self.settings.beam == 1 or not output.memory:
            return None

        def labels(begin: int, table: np.ndarray) -> list[tuple[int, ...]]:
            steps = slice(begin, begin + len(table))
            states = tuple(
                decoder.start(memory[steps, None], torch.tensor([len(table)]))
                for decoder, memory in zip(self.decoders, output.memory, strict=True)
            )
            return joint_labels(
                table,
                Ensemble(self.decoders),
                states,
                self.weight,
                beam=self.settings.beam,
                count=self.settings.alternatives,
                scorer=self.scorer,
            )

        return labels
