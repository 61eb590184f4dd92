"""From log-probabilities to transcripts: pauses cut a recording into segments, each of which is searched by itself.

Shapes: S steps, V labels with the blank; T frames, of which a step has `stride`.
"""

from __future__ import annotations

import bisect
import heapq
import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
import torch

from gatework.data import Tokenizer
from gatework.seq2seq import BLANK, align, ctc_log_probability, greedy_labels
from gatework.seq2seq.ctc_search import PrefixScorer, PrefixSearch
from gatework.tasks.transcriber.timing import FLOOR, LEVEL, loudness, quiet_below, reaching
from gatework.tasks.transcriber.transcripts import TimedWord, text_of_labels, timed_words

__all__ = [
    "Heard",
    "JointSearch",
    "PauseFinder",
    "Segment",
    "SegmentSearch",
    "Transcript",
    "blank_share",
    "label_log_probabilities",
    "segments",
    "transcribe",
]


# Label sequences of a segment, best first, of its first step and its table (S, V).
JointSearch: TypeAlias = "Callable[[int, np.ndarray], list[tuple[int, ...]]]"


class Segment(NamedTuple):
    """What is said between two pauses.

    Attributes:
        begin, end: its steps begin … end - 1.
        found: label sequences with their log-probabilities, best first; at least one.
        words: of the best one, their frames counted from the recording's first.
        confidence: the geometric mean of its labels' probabilities; 1 where nothing is said.
    """

    begin: int
    end: int
    found: tuple[tuple[tuple[int, ...], float], ...]
    words: tuple[TimedWord, ...]
    confidence: float

    def unless_noise(self, least: float) -> Segment:
        """The segment; without a word where it is less sure than this."""
        if self.confidence >= least:
            return self
        return self._replace(found=(((), 0.0),), words=())


class Transcript(NamedTuple):
    """A text, its log-probability, and its words."""

    text: str
    log_probability: float
    words: tuple[TimedWord, ...]


class Heard(NamedTuple):
    """Steps of a recording: their log-probabilities (S, V), and their log-mel frames, (T, M)."""

    table: np.ndarray
    frames: np.ndarray

    def part(self, begin: int, end: int, stride: int) -> Heard:
        """Steps begin … end - 1."""
        return Heard(self.table[begin:end], self.frames[begin * stride : end * stride])


class PauseFinder:
    """Where pauses end segments, as steps are known one after another.

    A segment ends with the step that makes a run of blanks as long as a pause, if anything was said before the run and
    it was quiet for as long: a network may say a word before it is heard. Where it never is quiet, blanks alone for
    MOST_PAUSES pauses do.

    Args:
        pause: steps of a pause.
        stride: frames of a step.
    """

    MOST_PAUSES = 4

    def __init__(self, pause: int, stride: int) -> None:
        self.pause, self._stride = pause, stride
        self.blanks = self.quiet = 0  # that the last steps are; a loud step takes two quiet ones away
        self.spoken = False  # since the last pause
        self._loud: list[float] = []  # of the segment's frames, sorted

    def accept(self, heard: Heard) -> list[int]:
        """Read some steps: of the segments that end among them, how many of these steps are read by then."""
        ends, loud = [], loudness(heard.frames)
        for place, label in enumerate(heard.table.argmax(1).tolist()):
            quiet = self._is_quiet(loud[place * self._stride : (place + 1) * self._stride])
            if label != BLANK:
                self.blanks, self.quiet, self.spoken = 0, 0, True
                continue
            self.blanks += 1
            self.quiet = self.quiet + 1 if quiet else max(0, self.quiet - 2)
            if self.spoken and (self.quiet >= self.pause or self.blanks >= self.MOST_PAUSES * self.pause):
                ends.append(place + 1)
                self.blanks, self.quiet, self.spoken = 0, 0, False
                self._loud.clear()
        return ends

    def go_on(self, blanks: int, quiet: int, spoken: bool, frames: np.ndarray) -> None:
        """Go on in a segment whose frames so far are these, (T, M)."""
        self.blanks, self.quiet, self.spoken = blanks, quiet, spoken
        self._loud = sorted(loudness(frames).tolist())

    def _is_quiet(self, loud: np.ndarray) -> bool:
        """Whether a step is, whose frames are so loud, (t,)."""
        for each in loud.tolist():
            bisect.insort(self._loud, each)
        if not self._loud or not len(loud):
            return True
        floor, level = (self._loud[int(share * (len(self._loud) - 1) / 100)] for share in (FLOOR, LEVEL))
        return float(loud.mean()) < quiet_below(floor, level)


class SegmentSearch:
    """The search of one segment, whose steps may come in pieces.

    Args:
        stride: frames of a step.
        width: label sequences that are kept; 1: greedy.
        scorer: what is added to their log-probabilities, or None.
    """

    def __init__(self, stride: int, width: int, scorer: PrefixScorer | None = None) -> None:
        self.stride = stride
        self._parts: list[Heard] = []
        self._search = PrefixSearch(width, scorer) if width > 1 or scorer is not None else None

    def accept(self, heard: Heard) -> None:
        """Read steps."""
        if len(heard.table):
            self._parts.append(heard)
            if self._search is not None:
                self._search.accept(heard.table)

    @property
    def heard(self) -> Heard | None:
        """The steps so far; None before the first."""
        if not self._parts:
            return None
        tables, frames = zip(*self._parts, strict=True)
        return Heard(np.concatenate(tables), np.concatenate(frames))

    def labels(self, count: int = 1, *, ended: bool = True) -> list[tuple[int, ...]]:
        """At most so many label sequences of the steps so far, best first."""
        if self._search is not None:
            return [each.labels for each in self._search.hypotheses(ended=ended)[:count]]
        return [tuple(greedy_labels(self.heard.table))] if self.heard is not None else [()]

    def finish(
        self, begin: int, tokenizer: Tokenizer, count: int = 1, joint: JointSearch | None = None
    ) -> Segment | None:
        """The segment, which begins with step `begin` of the recording; None where there was no step.

        Args:
            count: label sequences at most.
            joint: the search that takes this one's place.
        """
        if self.heard is None:
            return None
        table, frames = self.heard
        found = self.labels(count) if joint is None else joint(begin, table)
        aligned = align(table, found[0])
        words = [
            word._replace(start=word.start * self.stride, end=word.end * self.stride)
            for word in timed_words(aligned, tokenizer)
        ]
        first = begin * self.stride
        moved = [
            word._replace(start=word.start + first, end=word.end + first) for word in reaching(words, frames)
        ]
        scored = zip(found, label_log_probabilities(table, found), strict=True)
        logs = [math.log(max(label.confidence, 1e-30)) for label in aligned]
        confidence = math.exp(sum(logs) / len(logs)) if logs else 1.0
        return Segment(begin, begin + len(table), tuple(scored), tuple(moved), confidence)


def blank_share(tables: Sequence[np.ndarray]) -> float:
    """The share of steps whose likeliest label is the blank, in (S, V) of each recording; 1 where there is no step.

    CTC first learns to say nothing at all: a share that stays 1 tells of a training that has not got any further.
    """
    steps = [label == BLANK for table in tables for label in table.argmax(1).tolist()]
    return sum(steps) / len(steps) if steps else 1.0


def segments(
    heard: Heard,
    tokenizer: Tokenizer,
    *,
    stride: int,
    width: int,
    pause: int,
    count: int = 1,
    scorer: PrefixScorer | None = None,
    joint: JointSearch | None = None,
) -> Iterator[Segment]:
    """The segments of a whole recording.

    Args:
        stride, width, scorer: as for `SegmentSearch`.
        pause: as for `PauseFinder`.
        count: label sequences that are kept of each.
        joint: as for `SegmentSearch.finish`.
    """
    begin = 0
    table = heard.table
    for end in [*PauseFinder(pause, stride).accept(heard), len(table)]:
        search = SegmentSearch(stride, 1 if joint else width, None if joint else scorer)
        search.accept(heard.part(begin, end, stride))
        segment = search.finish(begin, tokenizer, count, joint)
        if segment is not None:
            yield segment
        begin = end


def transcribe(found: Sequence[Segment], tokenizer: Tokenizer, count: int = 1) -> list[Transcript]:
    """The likeliest transcripts of segments in their order, best first; the words are those of the best."""
    best: list[tuple[float, tuple[str, ...]]] = [(0.0, ())]
    for segment in found:
        longer = [
            (total + own, (*texts, text_of_labels(labels, tokenizer)))
            for total, texts in best
            for labels, own in segment.found
        ]
        # The best labels of each segment stay first: a scorer may have put them before likelier ones.
        best = [longer[0], *heapq.nlargest(count - 1, longer[1:])]
    words = tuple(word for segment in found for word in segment.words)
    return [Transcript(" ".join(filter(None, texts)), total, words) for total, texts in best]


def label_log_probabilities(table: np.ndarray, sequences: Sequence[Sequence[int]]) -> list[float]:
    """The log-probability of each label sequence, all of its paths together, of log-probabilities (S, V)."""
    labels = np.zeros((len(sequences), max(1, *map(len, sequences))), np.int64)
    for place, each in enumerate(sequences):
        labels[place, : len(each)] = each
    tables = torch.from_numpy(np.asarray(table, np.float64))[:, None].expand(-1, len(labels), -1)
    steps = torch.full((len(labels),), len(table))
    counts = torch.tensor([len(each) for each in sequences])
    found = ctc_log_probability(tables, steps, torch.from_numpy(labels), counts)
    return [min(float(value), 0.0) for value in found]
