"""The transcriber that a synthesizer trains for itself: how its training begins."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gatework.data import Packed
from gatework.tasks.synthesizer import aligner
from gatework.tasks.synthesizer.aligner import FlatStart, flat_loss
from gatework.tasks.transcriber.network import SoundBatch
from gatework.tasks.transcriber.options import TranscriberOptions
from tests.tolerances import close_to


class Table(nn.Module):
    """A network that says the same of every recording: (S, B, V) log-probabilities."""

    def __init__(self, table: Tensor, lengths: Tensor) -> None:
        super().__init__()
        self.log_probabilities, self.lengths = table, lengths

    def forward(self, batch: SoundBatch) -> Any:
        return self


def test_a_flat_start_tells_each_label_to_last_as_long_as_every_other() -> None:
    torch.manual_seed(0)
    table = torch.randn(6, 3, 4).log_softmax(-1)
    labels = torch.tensor([[1, 2, 3], [3, 1, 0], [0, 0, 0]])
    batch = SoundBatch(torch.zeros(0), torch.zeros(0), labels, torch.tensor([3, 2, 0]))
    found = flat_loss(Table(table, torch.tensor([6, 5, 4])), batch)
    told = [[1, 1, 2, 2, 3, 3], [3, 3, 3, 1, 1]]  # at each step of rows 0 and 1; row 2 has nothing to say
    sums = [
        sum(float(table[step, row, label]) for step, label in enumerate(own)) for row, own in enumerate(told)
    ]
    assert float(found.total) == close_to(-sums[0] * 3 / 6 - sums[1] * 2 / 5)
    assert found.count == 5


@pytest.mark.parametrize(("steps", "flat"), [(3, 0), (8, 4), (50, 12), (2000, 200)])
def test_the_first_epochs_are_flat(steps: int, flat: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """As many epochs as hold a quarter of all steps, or 200: of 4 batches each."""
    rows = Packed.from_rows([{"frames": np.zeros((5, 2), np.float32)}] * 4)
    losses = {"budget": 5, "by": ("frames",), "seed": 0, "loss": lambda network, batch: "own"}
    problem = FlatStart(nn.Module(), rows, rows, list, **losses)
    problem.options = TranscriberOptions(max_steps=steps)
    monkeypatch.setattr(aligner, "flat_loss", lambda network, batch: "flat")
    asked = []
    for epoch in range(60):
        asked += [problem.loss(problem.model, batch, None) for batch in problem.batches(epoch, 0, 1)]
    assert asked[:flat] == ["flat"] * flat
    assert asked[flat:] == ["own"] * (240 - flat)
