"""What is chosen on the validation data, and the mixture of the network's probabilities with the rival's.

The mixture is a linear opinion pool (Stone, "The opinion pool", 1961).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from pydantic import Field, FiniteFloat, PositiveFloat

from gatework.baselines import Rival
from gatework.baselines.linear import LinearRival
from gatework.errors import RunError
from gatework.tasks.artifacts import JsonArtifact

__all__ = ["Decisions", "Labels", "mixed", "rival_probabilities"]


class Labels(JsonArtifact):
    """The labels of the training data, sorted, and how many examples have each."""

    names: tuple[str, ...]
    counts: tuple[int, ...]
    examples: int


class Decisions(JsonArtifact):
    """How probabilities are made of scores, and labels of probabilities; chosen on the validation data.

    Attributes:
        temperature, bias: see `gatework.metrics.calibration.Calibration`.
        rival_share: of the rival's probabilities in the mixture with the network's.
        thresholds: with several labels an example, the probability from which on it is given each label.
    """

    temperature: PositiveFloat = 1.0
    bias: tuple[FiniteFloat, ...] = ()
    rival_share: float = Field(default=0.0, ge=0, le=1)
    thresholds: tuple[FiniteFloat, ...] = ()


def rival_probabilities(
    rivals: Mapping[str, Rival], inputs: Sequence[Any], labels: Sequence[str], run: str
) -> np.ndarray:
    """(N, K) of each label, as the linear rival has them; of a label that it does not know 0.

    Args:
        rivals: of the run, by name.
        labels: K.
        run: the run's folder, for the message.

    Raises:
        RunError: there is no linear rival.
    """
    linear = [rival for rival in rivals.values() if isinstance(rival, LinearRival)]
    if not linear:
        what = "lacks the rival whose probabilities are mixed into the network's"
        raise RunError(run, what, "Restore its file rival-….safetensors from a copy.")
    found = linear[0].probabilities(inputs)
    places = {label: place for place, label in enumerate(linear[0].labels_)}
    columns = np.array([places.get(label, -1) for label in labels])
    return np.where(columns >= 0, found[:, columns], 0.0)


def mixed(own: np.ndarray, rivals: np.ndarray, share: float) -> np.ndarray:
    """Probabilities (N, K) of which the rival's have so large a share."""
    return (1 - share) * own + share * rivals
