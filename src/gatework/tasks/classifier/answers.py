"""From a network's scores to what is said of an input."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from gatework.tasks.classifier.decisions import Decisions
from gatework.tasks.classifier.options import ClassificationSettings

__all__ = ["Scored", "label_probabilities", "label_record"]


class Scored(NamedTuple):
    """What the network makes of one input: the labels' probabilities (K,), and what weighed, a number a token."""

    probabilities: np.ndarray
    attention: list[float] | None
    gradient: list[float] | None


def label_probabilities(scores: np.ndarray, *, several: bool) -> np.ndarray:
    """(N, K) the softmax of scores, or with several labels an example the sigmoid of each."""
    values = torch.from_numpy(np.asarray(scores, np.float64))
    return (values.sigmoid() if several else values.softmax(1)).numpy()


def label_record(
    probabilities: np.ndarray,
    names: Sequence[str],
    decisions: Decisions,
    settings: ClassificationSettings,
    *,
    several: bool,
) -> dict[str, Any]:
    """What is said of an input whose labels have these probabilities, (K,).

    Args:
        names: K.
    """
    shares = probabilities.tolist()
    highest = max(shares)
    order = np.argsort(-probabilities, kind="stable") if several or settings.alternatives else ()
    labels: str | list[str] | None = names[shares.index(highest)]
    if several:
        given = probabilities >= (decisions.thresholds or 0.5)
        labels = [names[index] for index in order if given[index]]
    if highest < settings.abstain_below:
        labels = None
    record: dict[str, Any] = {
        "output": labels,
        "probability": highest,
        "probabilities": dict(zip(names, shares, strict=True)),
    }
    if settings.alternatives:
        record["alternatives"] = [
            {"label": names[index], "probability": shares[index]} for index in order[: settings.alternatives]
        ]
    return record
