"""The side path: sums of rows, features left out in training alone."""

from __future__ import annotations

import torch

from gatework.tasks.words import SidePath
from tests.tolerances import TOTALS, assert_close, of_draws

FEATURES, OFFSETS = torch.tensor([3, 1, 1, 0, 4]), torch.tensor([0, 3, 3])


def test_scores_are_sums_of_rows() -> None:
    path = SidePath(5, 2)
    assert not path(FEATURES, OFFSETS).any()
    with torch.no_grad():
        path.weight.copy_(torch.arange(10.0).view(5, 2))
    expected = torch.tensor([[6 + 2 + 2, 7 + 3 + 3], [0, 0], [0 + 8, 1 + 9]], dtype=torch.float32)
    assert_close(path(FEATURES, OFFSETS), expected)
    path(FEATURES, OFFSETS).sum().backward()
    assert path.weight.grad is not None
    assert path.weight.grad[:, 0].tolist() == [1, 2, 0, 1, 1]


def test_features_are_left_out_in_training_alone() -> None:
    path = SidePath(1, 1, dropout=0.25)
    with torch.no_grad():
        path.weight.fill_(1.0)
    features, offsets = torch.zeros(4000, dtype=torch.int64), torch.arange(4000)
    scores = path(features, offsets)
    assert {*scores.unique().tolist()} == {0.0, torch.tensor(1 / 0.75).item()}
    assert abs((scores == 0).float().mean().item() - 0.25) < of_draws(4000, 0.25)
    assert_close(path.eval()(features, offsets), torch.ones(4000, 1), TOTALS)
