"""A loss, a gradient or a weight that is no number any more ends a training; a large one is said."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

from gatework.training import DivergedError, StepLoss
from gatework.training.divergence import is_explosion
from tests.training.problems import TinyProblem
from tests.training.test_loop import Heard, kinds, losses_of, train, validated


class Spike(TinyProblem):
    """Multiplies the loss of one step by a factor."""

    def __init__(self, at: int, factor: float) -> None:
        super().__init__()
        self.at, self.factor, self.step = at, factor, 0

    def loss(self, model: torch.nn.Module, batch: Any, carry: Any) -> StepLoss:
        self.step += 1
        loss = super().loss(model, batch, carry)
        return loss._replace(total=loss.total * self.factor) if self.step == self.at else loss


@pytest.mark.parametrize("factor", [float("nan"), float("inf")])
def test_a_nan_loss_stops_and_the_last_good_checkpoint_stays(tmp_path: Path, factor: float) -> None:
    path = tmp_path / "run"
    with pytest.raises(
        DivergedError, match=r"^step 27: .*gradient norm nan.*step-000000025.*learning_rate \(it was 0\.0"
    ) as caught:
        train(path, Spike(27, factor), checkpoint_every=5, record_every=10)
    assert caught.value.step == 27
    assert caught.value.checkpoint == path / "checkpoints" / "step-000000025"
    assert [p.name for p in sorted((path / "checkpoints").iterdir())] == ["step-000000020", "step-000000025"]
    assert all(bool(t.isfinite().all()) for t in validated(path, 25).values())
    again = pickle.loads(pickle.dumps(caught.value))
    assert (str(again), again.step) == (str(caught.value), 27)
    result, _ = train(path, resume=True, learning_rate=0.005)  # goes on, more carefully
    assert result.stopped == "finished"


def test_a_nan_without_a_checkpoint_says_so(tmp_path: Path) -> None:
    with pytest.raises(DivergedError, match=r"^step 3: .*there was no checkpoint"):
        train(tmp_path / "run", Spike(3, float("nan")))


def test_a_nan_validation_is_a_divergence(tmp_path: Path) -> None:
    with pytest.raises(DivergedError, match=r"^step 10: .*the loss is nan"):
        train(tmp_path / "run", losses_of(float("nan")), validate_every=10)


def test_weights_that_overflow_are_never_saved(tmp_path: Path) -> None:
    problem = TinyProblem()

    def overflow() -> None:
        with torch.no_grad():
            problem.model.output.bias[0] = float("inf")

    with pytest.raises(DivergedError, match=r"^step 15"):
        train(tmp_path / "run", problem, heard=Heard(15, overflow), checkpoint_every=5)
    assert validated(tmp_path / "run", 10)
    assert not (tmp_path / "run" / "checkpoints" / "step-000000015").exists()


def test_an_exploding_gradient_is_said_once(tmp_path: Path) -> None:
    class Spikes(Spike):
        def loss(self, model: torch.nn.Module, batch: Any, carry: Any) -> StepLoss:
            self.at = self.step + 1 if self.step + 1 in (45, 50) else 0
            return super().loss(model, batch, carry)

    heard = Heard()
    result, _ = train(tmp_path / "run", Spikes(0, 1000.0), heard=heard)
    [line] = heard.lines
    assert line.startswith("warning: the gradient norm exploded at step 45: ")
    [record] = kinds(result, "warning")
    assert record["step"] == 45
    assert record["gradient_norm"] > 100 * record["usual_norm"]


def test_a_norm_below_the_clipping_is_no_explosion() -> None:
    assert not is_explosion(0.93, 0.09, clip_norm=1.0)
    assert is_explosion(0.93, 0.09, clip_norm=0.5)
    assert is_explosion(0.93, 0.09, clip_norm=0.0)  # never scaled down
    assert not is_explosion(0.93, 0.5, clip_norm=0.5)


def test_ordinary_gradients_are_not_called_exploding(tmp_path: Path) -> None:
    heard = Heard()
    train(tmp_path / "run", heard=heard)
    assert heard.lines == []
