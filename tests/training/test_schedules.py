from __future__ import annotations

import pytest
import torch

from gatework.training import TrainingOptions
from gatework.training.schedules import SCHEDULES, learning_rate
from tests.tolerances import close_to


def rate(progress: float, plateau: float = 1.0, **options: object) -> float:
    return learning_rate(TrainingOptions(learning_rate=0.5, **options), progress, plateau)  # type: ignore[arg-type]


def test_constant_and_plateau() -> None:
    assert rate(0.0, schedule="constant") == rate(1.0, schedule="constant") == 0.5
    assert rate(0.5, 0.25, schedule="plateau") == 0.125
    assert rate(0.05, schedule="constant", warmup=0.1) == pytest.approx(0.25)


def test_cosine_rises_then_falls_to_final() -> None:
    options = {"schedule": "cosine", "warmup": 0.2, "final": 0.1}
    assert rate(0.1, **options) == pytest.approx(0.25)
    assert rate(0.2, **options) == pytest.approx(0.5)
    assert rate(0.6, **options) == pytest.approx(0.5 * (0.1 + 0.9 / 2))
    assert rate(1.0, **options) == pytest.approx(0.05)


def test_cosine_is_torchs() -> None:
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=0.5)
    theirs = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=20, eta_min=0.05)
    for step in range(20):
        assert rate(step / 20, schedule="cosine", warmup=0.0, final=0.1) == close_to(
            theirs.get_last_lr()[0], torch.float64
        )
        optimizer.step()
        theirs.step()


def test_one_cycle_is_torchs() -> None:
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=0.5)
    theirs = torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        max_lr=0.5,
        total_steps=21,
        pct_start=0.35,
        div_factor=25,
        final_div_factor=4,
        cycle_momentum=False,
    )
    # torch's rise ends at step pct_start * total - 1; ours at the share `warmup` of the 20 intervals.
    w = (0.35 * 21 - 1) / 20
    for step in range(21):
        ours = rate(step / 20, schedule="one_cycle", warmup=w, final=0.01)
        assert ours == close_to(theirs.get_last_lr()[0], torch.float64)
        optimizer.step()
        theirs.step() if step < 20 else None


def test_inverse_square_root() -> None:
    options = {"schedule": "inverse_square_root", "warmup": 0.04, "final": 0.0}
    assert rate(0.02, **options) == pytest.approx(0.25)
    assert rate(0.04, **options) == pytest.approx(0.5)
    assert rate(0.16, **options) == pytest.approx(0.25)
    assert rate(0.01, schedule="inverse_square_root", warmup=0.04, final=0.9) == pytest.approx(0.125)
    assert rate(1.0, schedule="inverse_square_root", warmup=0.04, final=0.9) == pytest.approx(0.45)


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("warmup", [None, 0.0, 0.5])
def test_every_rate_lies_between_zero_and_the_highest(schedule: str, warmup: float | None) -> None:
    rates = [rate(k / 50, schedule=schedule, warmup=warmup) for k in range(-5, 60)]
    assert all(r >= 0 and (r <= 0.5 or r == close_to(0.5, torch.float64)) for r in rates)
    assert max(rates) > 0.475
