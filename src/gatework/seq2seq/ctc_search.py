"""Prefix search: the likeliest label sequence of frames that are read one after another.

Graves et al. 2006, section 3.2; as a beam search Hannun et al. 2014, "First-pass large vocabulary continuous speech
recognition using bi-directional recurrent DNNs", algorithm 1. What a language model, a list of words or anything else
has to say of the labels is added by a `PrefixScorer`.

Shapes: T frames, V labels with the blank.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from gatework.seq2seq.ctc import BLANK

_SWEEP = 64  # frames after which sequences that nothing kept begins with are forgotten

__all__ = ["LabelHypothesis", "PrefixScorer", "PrefixSearch", "SumScorer", "prefix_search"]


class LabelHypothesis(NamedTuple):
    """A label sequence that a search found.

    Attributes:
        labels: from 1 on.
        log_probability: of the frames' paths that the search kept, in nats.
        score: what hypotheses are ranked by: the log-probability, and what the scorer adds.
    """

    labels: tuple[int, ...]
    log_probability: float
    score: float


class PrefixScorer(Protocol):
    """What is added to the log-probability of a label sequence, label by label, in nats."""

    def start(self) -> Any:
        """The state of the empty sequence."""

    def extend(self, state: Any, label: int) -> tuple[float, Any]:
        """What one more label adds, minus infinity where it may not stand there, and the state of the longer one."""

    def finish(self, state: Any) -> float:
        """What the end adds; minus infinity where the sequence may not end there."""


class SumScorer:
    """Several scorers as one: the sum of what each adds."""

    def __init__(self, scorers: Sequence[PrefixScorer]) -> None:
        self.scorers = tuple(scorers)

    def start(self) -> Any:
        return tuple(scorer.start() for scorer in self.scorers)

    def extend(self, state: Any, label: int) -> tuple[float, Any]:
        total, states = 0.0, []
        for scorer, one in zip(self.scorers, state, strict=True):
            added, after = scorer.extend(one, label)
            total += added
            if total == -math.inf:  # nobody reads the states of what is ruled out
                return total, None
            states.append(after)
        return total, tuple(states)

    def finish(self, state: Any) -> float:
        return sum(scorer.finish(one) for scorer, one in zip(self.scorers, state, strict=True))


class _Prefix:
    """A label sequence as a node: its last label, and the node of the labels before.

    Attributes:
        blank, in_label: log-probability of its paths that end in a blank, and in its last label.
        next_blank, next_label: the same of the paths that are one frame longer, while that frame is read.
        score: what the scorer has added.
        following: by label, the node of the sequence that is one label longer; None where the scorer rules it out.
    """

    __slots__ = (
        "before",
        "blank",
        "following",
        "in_label",
        "label",
        "next_blank",
        "next_label",
        "score",
        "seen",
        "state",
    )

    def __init__(self, before: _Prefix | None, label: int, score: float, state: Any) -> None:
        self.before, self.label, self.score, self.state = before, label, score, state
        self.blank = self.in_label = self.next_blank = self.next_label = -math.inf
        self.following: dict[int, _Prefix | None] = {}
        self.seen = -1  # the frame in which it was last a candidate

    @property
    def total(self) -> float:
        """Log-probability of all of its paths."""
        return _add(self.blank, self.in_label)

    def labels(self) -> tuple[int, ...]:
        found: list[int] = []
        node: _Prefix | None = self
        while node is not None and node.label != BLANK:
            found.append(node.label)
            node = node.before
        return tuple(reversed(found))


class PrefixSearch:
    """The search over frames that are still being given.

    Args:
        width: label sequences kept after each frame.
        scorer: what is added to their log-probabilities; None: nothing.
        floor: labels whose log-probability in a frame is lower are not looked at in that frame.
    """

    def __init__(self, width: int, scorer: PrefixScorer | None = None, *, floor: float = -12.0) -> None:
        if width < 1:
            raise ValueError(f"width={width}: a search keeps 1 label sequence or more")
        self.width, self.floor = width, floor
        self._scorer = scorer
        self._frame = 0
        root = _Prefix(None, BLANK, 0.0, None if scorer is None else scorer.start())
        root.blank = 0.0
        self._beam = [root]

    def accept(self, log_probabilities: np.ndarray) -> None:
        """Read frames, (T, V), in nats."""
        for row in np.asarray(log_probabilities, np.float64):
            labels = np.flatnonzero(row >= self.floor)
            self._step(row[BLANK], row, [int(label) for label in labels if label != BLANK])

    def hypotheses(self, *, ended: bool = True) -> list[LabelHypothesis]:
        """The label sequences that are kept, by falling score.

        Args:
            ended: no frame follows, so that the scorer is asked what the end adds.
        """
        found = []
        for node in self._beam:
            score = node.total + node.score
            if ended and self._scorer is not None:
                score += self._scorer.finish(node.state)
            found.append(LabelHypothesis(node.labels(), node.total, score))
        return sorted(found, key=lambda one: -one.score)

    def state(self) -> list[tuple[list[int], float, float]]:
        """What `restore` needs: of each kept sequence its labels, and the log-probability of its paths that end in a
        blank and in a label.
        """
        return [(list(node.labels()), node.blank, node.in_label) for node in self._beam]

    def restore(self, state: Sequence[tuple[Sequence[int], float, float]]) -> None:
        """Go on from what `state` gave, in place of the frames read so far."""
        root = _Prefix(None, BLANK, 0.0, None if self._scorer is None else self._scorer.start())
        self._beam = []
        for labels, blank, in_label in state:
            node = root
            for label in labels:
                longer = self._longer(node, label)
                if longer is None:
                    raise ValueError(f"the scorer does not allow the labels {list(labels)}")
                node = longer
            node.blank, node.in_label = blank, in_label
            self._beam.append(node)

    def _longer(self, node: _Prefix, label: int) -> _Prefix | None:
        """The sequence with one more label; None where the scorer rules it out."""
        if label in node.following:
            return node.following[label]
        added, state = (0.0, None) if self._scorer is None else self._scorer.extend(node.state, label)
        longer = None if added == -math.inf else _Prefix(node, label, node.score + added, state)
        node.following[label] = longer
        return longer

    def _step(self, blank: float, row: np.ndarray, labels: Sequence[int]) -> None:
        self._frame += 1
        candidates: list[_Prefix] = []

        def reached(node: _Prefix) -> _Prefix:
            if node.seen != self._frame:
                node.seen, node.next_blank, node.next_label = self._frame, -math.inf, -math.inf
                candidates.append(node)
            return node

        values = [float(row[label]) for label in labels]
        for node in self._beam:
            total = node.total
            same = reached(node)
            same.next_blank = _add(same.next_blank, total + blank)
            if node.label != BLANK:
                same.next_label = _add(same.next_label, node.in_label + float(row[node.label]))
            for label, value in zip(labels, values, strict=True):
                # A label that follows itself needs a blank between.
                begun = node.blank if label == node.label else total
                if begun > -math.inf and (longer := self._longer(node, label)) is not None:
                    longer = reached(longer)
                    longer.next_label = _add(longer.next_label, begun + value)
        for node in candidates:
            node.blank, node.in_label = node.next_blank, node.next_label
        candidates.sort(key=lambda node: -(node.total + node.score))
        self._beam = candidates[: self.width]
        if self._frame % _SWEEP == 0:
            self._forget()

    def _forget(self) -> None:
        """Keep of the sequences that were looked at those that a kept one begins with: memory does not grow with T."""
        kept: dict[int, _Prefix] = {}
        for node in self._beam:
            each: _Prefix | None = node
            while each is not None and id(each) not in kept:
                kept[id(each)] = each
                each = each.before
        for node in kept.values():
            node.following = {
                label: longer
                for label, longer in node.following.items()
                if longer is not None and id(longer) in kept
            }


def prefix_search(
    log_probabilities: np.ndarray,
    width: int,
    scorer: PrefixScorer | None = None,
    *,
    floor: float = -12.0,
) -> list[LabelHypothesis]:
    """The likeliest label sequences of frames, best first.

    Args:
        log_probabilities: (T, V) in nats.
        width, scorer, floor: as for `PrefixSearch`.
    """
    search = PrefixSearch(width, scorer, floor=floor)
    search.accept(log_probabilities)
    return search.hypotheses()


def _add(one: float, other: float) -> float:
    """log(exp(one) + exp(other))."""
    if one < other:
        one, other = other, one
    return one if other == -math.inf else one + math.log1p(math.exp(other - one))
