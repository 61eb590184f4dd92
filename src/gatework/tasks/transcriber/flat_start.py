"""How a transcriber's training begins: where in a recording its labels are is at first not left to the network.

The loss of connectionist temporal classification weighs each path of the labels by the probability that the network
gives it. A network that reads in one direction finds a poor way out: it says everything in the first steps, which it
knows by the layers' initial state, and blanks ever after. No path is likely then that says a word where it has been
heard, so that training stays there. Hence a flat start, as hidden Markov models have (Young et al. 2006, "The HTK
book", section 8.3): all paths count alike, and then more and more as the network has it
(`gatework.seq2seq.annealed_ctc`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor

from gatework.seq2seq import annealed_ctc, ctc_log_probability
from gatework.tasks.transcriber.network import LabelScores, SoundBatch
from gatework.tasks.transcriber.options import TranscriberOptions
from gatework.training import ExampleProblem

__all__ = ["FLAT_START", "AnnealedStart", "path_loss"]

FLAT_START = 0.4  # of the steps, where a network reads in one direction


def path_loss(scores: LabelScores, batch: SoundBatch) -> tuple[Tensor, int]:
    """Minus the log-probability of a batch's labels, and how many they are.

    Args:
        batch: with labels. One with a `sharpness` weighs their paths as `annealed_ctc` does.
    """
    # A recording may have become too short for its transcript: it then counts for nothing.
    fits = scores.lengths.cpu() >= cast("Tensor", batch.least).cpu()
    counts = cast("Tensor", batch.counts).cpu() * fits
    given = (scores.log_probabilities, scores.lengths, cast("Tensor", batch.labels), counts)
    total = ctc_log_probability(*given) if batch.sharpness is None else annealed_ctc(*given, batch.sharpness)
    return -(total * fits.to(total)).sum(), max(1, int(counts.sum()))


class AnnealedStart(ExampleProblem[SoundBatch]):
    """Examples of which the first batches have a sharpness, from 0 up to 1.

    Attributes:
        options: how long the training is, and which share of it is a flat start; minutes do not count.
    """

    options: TranscriberOptions

    def batches(self, epoch: int, rank: int, world: int) -> Sequence[SoundBatch]:
        found = super().batches(epoch, rank, world)
        budget, most = self.options.epoch_budget, self.options.max_steps
        ends = [each for each in (most, budget and budget * len(found)) if each is not None]
        flat = self.options.flat_start * min(ends, default=0)
        return _Sharpened(found, epoch * len(found), flat)


class _Sharpened(Sequence[SoundBatch]):
    """Batches, the first of which is a training's step `begin`, with the sharpness that the first `flat` steps have."""

    def __init__(self, batches: Sequence[SoundBatch], begin: int, flat: float) -> None:
        self._batches, self._begin, self._flat = batches, begin, flat

    def __len__(self) -> int:
        return len(self._batches)

    def __getitem__(self, index: Any) -> Any:
        batch, step = self._batches[index], self._begin + index
        return batch._replace(sharpness=torch.tensor(step / self._flat)) if step < self._flat else batch
