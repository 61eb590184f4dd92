"""Connectionist temporal classification: a label sequence as the sum of all its paths over frames.

Graves et al. 2006, "Connectionist temporal classification: labelling unsegmented sequence data with recurrent neural
networks". A network gives each of T frames a distribution over the blank, which is label 0, and the labels 1 … V - 1. A
path names one of them a frame; the label sequence of a path is what is left once repetitions are joined and blanks are
taken out.

Shapes: T frames, B rows of a batch, V labels with the blank, N labels of a sequence.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = [
    "BLANK",
    "AlignedLabel",
    "align",
    "annealed_ctc",
    "ctc_log_probability",
    "greedy_labels",
    "least_frames",
]

BLANK = 0


class AlignedLabel(NamedTuple):
    """Where a label is in the likeliest path of a sequence.

    Attributes:
        label: its number.
        start, end: its frames start … end - 1.
        confidence: the geometric mean of its probabilities in these frames.
    """

    label: int
    start: int
    end: int
    confidence: float


def least_frames(labels: Sequence[int]) -> int:
    """The frames that the shortest path of a sequence has: one a label, and a blank between equal neighbours."""
    return len(labels) + sum(one == other for one, other in pairwise(labels))


def ctc_log_probability(
    log_probabilities: Tensor, lengths: Tensor, labels: Tensor, label_lengths: Tensor
) -> Tensor:
    """The log-probability of each row's label sequence, (B,); minus infinity where it has more labels than paths hold.

    Args:
        log_probabilities: (T, B, V) in nats.
        lengths: (B,) frames of each row; those after them do not matter.
        labels: (B, N) from 1 on; those past a row's own do not matter.
        label_lengths: (B,) labels of each row, 0 or more.
    """
    return -F.ctc_loss(log_probabilities, labels, lengths, label_lengths, blank=BLANK, reduction="none")


def annealed_ctc(
    log_probabilities: Tensor, lengths: Tensor, labels: Tensor, label_lengths: Tensor, sharpness: Tensor
) -> Tensor:
    """The mean log-probability of the paths of each row's label sequence, (B,), each path weighted by its probability
    to the power of `sharpness`: deterministic annealing (Ueda & Nakano 1998, "Deterministic annealing EM algorithm",
    equation 10) of the alignment. A path's weight is a constant to the gradient.

    With a sharpness of 0 all paths count alike, whatever the network says of them; with 1 the gradient is that of
    `ctc_log_probability`. A row whose sequence has no path has 0.

    Args:
        log_probabilities, lengths, labels, label_lengths: as `ctc_log_probability` takes them; the distributions are
            normalised.
        sharpness: (), from 0 to 1.
    """
    with torch.enable_grad():
        table = (
            (sharpness.to(log_probabilities) * log_probabilities.detach()).log_softmax(-1).requires_grad_()
        )
        whole = ctc_log_probability(table, lengths, labels, label_lengths)
        held = whole.isfinite()
        # What F.ctc_loss calls its gradient is that of the scores before the softmax: weights less probabilities.
        (gradient,) = torch.autograd.grad(whole, table, held.to(whole))
    steps = torch.arange(len(table), device=table.device)[:, None]
    inside = (steps < lengths.to(table.device)) & held
    weights = torch.where(inside[..., None], table.detach().exp() + gradient, 0)
    return torch.where(inside[..., None], weights * log_probabilities, 0).sum((0, 2))


def greedy_labels(log_probabilities: np.ndarray) -> list[int]:
    """The label sequence of the likeliest path; of equal labels the first is taken.

    Args:
        log_probabilities: (T, V).
    """
    path = np.asarray(log_probabilities).argmax(1)
    begins = np.flatnonzero(np.diff(path, prepend=-1))
    return [int(label) for label in path[begins] if label != BLANK]


def align(log_probabilities: np.ndarray, labels: Sequence[int]) -> list[AlignedLabel]:
    """Where each label is in the likeliest of the sequence's paths (Viterbi over labels with blanks around them).

    Args:
        log_probabilities: (T, V) in nats.
        labels: from 1 on.

    Raises:
        ValueError: T frames are fewer than the sequence needs (`least_frames`).
    """
    table = np.asarray(log_probabilities, np.float64)
    if len(table) < least_frames(labels):
        raise ValueError(
            f"{len(labels)} labels need {least_frames(labels)} frames, and there are {len(table)}"
        )
    if not labels:
        return []
    path = _likeliest_path(table, labels)
    found = []
    for place, label in enumerate(labels):
        frames = np.flatnonzero(path == 2 * place + 1)
        confidence = float(np.exp(table[frames, label].mean()))
        found.append(AlignedLabel(label, int(frames[0]), int(frames[-1]) + 1, confidence))
    return found


def _likeliest_path(table: np.ndarray, labels: Sequence[int]) -> np.ndarray:
    """Of each of T frames the state, of the 2 N + 1 labels and blanks in their order: label n is state 2 n + 1."""
    states = np.full(2 * len(labels) + 1, BLANK)
    states[1::2] = labels
    # A blank may be left out between labels that differ: then state s follows s - 2.
    skips = np.zeros(len(states), bool)
    skips[2:] = (states[2:] != BLANK) & (states[2:] != states[:-2])
    score = np.full(len(states), -np.inf)
    score[:2] = table[0, states[:2]]
    back = np.zeros(
        (len(table), len(states)), np.int8
    )  # how many states before is the one of the frame before
    for frame in range(1, len(table)):
        before = np.stack([score, _later(score, 1), np.where(skips, _later(score, 2), -np.inf)])
        back[frame] = before.argmax(0)
        score = before.max(0) + table[frame, states]
    state = len(states) - 1 if score[-1] > score[-2] else len(states) - 2
    path = np.zeros(len(table), np.int64)
    for frame in range(len(table) - 1, -1, -1):
        path[frame] = state
        state -= int(back[frame, state])
    return path


def _later(score: np.ndarray, places: int) -> np.ndarray:
    """The scores of the states so many places before."""
    return np.concatenate([np.full(places, -np.inf), score[:-places]])
