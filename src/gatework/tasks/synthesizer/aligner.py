"""The transcriber that a synthesizer trains for itself, to find the characters of its recordings in them.

Connectionist temporal classification alone spends its first hundreds of steps on blanks where recordings are as long as
sentences and there are few of them. This training begins as hidden Markov models do, with a flat start (Young et al.
2006, "The HTK book", section 8.3): every label is told to last as long as every other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn

from gatework.tasks.transcriber import Transcriber
from gatework.tasks.transcriber.flat_start import AnnealedStart
from gatework.tasks.transcriber.network import SoundBatch
from gatework.training import ExampleProblem, StepLoss

__all__ = ["ALIGNER_OPTIONS", "Aligner", "FlatStart", "flat_loss"]

# What is not as a transcriber has it: recordings of one voice that it is to find its way in, not to hear others.
ALIGNER_OPTIONS: Mapping[str, Any] = {
    "rivals": False,
    "select_by": "loss",
    "hidden_size": 96,
    "num_layers": 1,
    "dropout": 0.1,
    "speed": 0.0,
    "warp": 0.05,
    "noise": 0.0,
    "frequency_gaps": 1,
    "time_gaps": 0,
    "learning_rate": 0.003,
}
_FLAT_STEPS = 200  # or a quarter of all, if those are fewer; rounded up to whole epochs


class FlatStart(AnnealedStart):
    """Examples whose first epochs have the loss of a flat start."""

    _flat = False

    def batches(self, epoch: int, rank: int, world: int) -> Sequence[SoundBatch]:
        found = super().batches(epoch, rank, world)
        self._flat = epoch * len(found) < min(_FLAT_STEPS, (self.options.max_steps or _FLAT_STEPS) // 4)
        return found

    def loss(self, model: nn.Module, batch: SoundBatch, carry: None) -> StepLoss:
        return flat_loss(model, batch) if self._flat else super().loss(model, batch, carry)


class Aligner(Transcriber):
    """A transcriber whose training begins flat; once it is trained its run is a transcriber's."""

    problem: ClassVar[type[ExampleProblem[Any]]] = FlatStart


def flat_loss(network: nn.Module, batch: SoundBatch) -> StepLoss:
    """Minus the log-probability of labels that are all equally long: a label's mean over its steps, summed over labels.

    Args:
        batch: with labels.
    """
    scores = network(batch)
    table: Tensor = scores.log_probabilities  # (S, B, V)
    labels, counts = (cast("Tensor", each).to(table.device) for each in (batch.labels, batch.counts))
    lengths = scores.lengths.to(table.device).clamp(min=1)
    steps = torch.arange(len(table), device=table.device)[:, None]  # (S, 1)
    inside = steps < torch.where(counts > 0, lengths, 0)
    place = (steps * counts // lengths).clamp(max=labels.shape[1] - 1)
    own = table.gather(2, labels.t().gather(0, place)[..., None])[..., 0]
    total = -(own * inside).sum(0) * counts / lengths
    return StepLoss(total.sum(), max(1, int(counts.sum())))
