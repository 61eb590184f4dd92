from __future__ import annotations

import itertools
import math
import os
import random
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from gatework.errors import InputError, RunError
from gatework.metrics.figure import Figure
from gatework.training import Result, RunFolder, TrainingOptions, files, fit
from gatework.training.progress import SilentProgress
from tests.tolerances import MEANS, close_to
from tests.training.problems import TinyProblem

BATCHES = 39  # an epoch of the tiny problem


class Heard(SilentProgress):
    """A progress that remembers, and can do something after a step."""

    def __init__(self, at_step: int | None = None, action: Any = None) -> None:
        self.lines: list[str] = []
        self.shares: list[float] = []
        self.at_step, self.action = at_step, action

    def tick(self, share: float, step: int) -> None:
        self.shares.append(share)
        if step == self.at_step:
            self.action()

    def say(self, line: str) -> None:
        self.lines.append(line)


def train(
    path: Path,
    problem: TinyProblem | None = None,
    resume: bool = False,
    heard: Heard | None = None,
    **options: Any,
) -> tuple[Result, TinyProblem]:
    problem = problem or TinyProblem(dropout=0.2)
    run = RunFolder.create(path, resume=resume)
    run.write_config({})
    settings = TrainingOptions(**{"epochs": 2, "device": "cpu", "learning_rate": 0.01, **options})
    return fit(problem, settings, run, resume=resume, progress=heard or Heard()), problem


def weights(problem: TinyProblem) -> dict[str, torch.Tensor]:
    return problem.model.state_dict()


def assert_same_weights(a: TinyProblem, b: TinyProblem) -> None:
    for (name, x), y in zip(weights(a).items(), weights(b).values(), strict=True):
        assert torch.equal(x, y), name


def untimed(history: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{k: v for k, v in r.items() if k not in ("seconds", "items_per_second")} for r in history]


def interrupt(number: int = signal.SIGINT) -> Any:
    return lambda: os.kill(os.getpid(), number)


def kinds(result: Result, kind: str) -> list[dict[str, Any]]:
    return [record for record in result.history if record["kind"] == kind]


# -- the loop itself


def test_it_is_the_loop_one_would_write_by_hand(tmp_path: Path) -> None:
    """Carry handed on within an epoch and reset at its start, loss a mean, clipping, rate: to the bit."""
    result, fitted = train(
        tmp_path / "run",
        TinyProblem(),
        schedule="constant",
        clip_norm=0.3,
        weight_decay=0.0,
        betas=(0.9, 0.95),
    )
    hand = TinyProblem()
    optimizer = torch.optim.AdamW(
        hand.model.parameters(), lr=0.01, betas=(0.9, 0.95), weight_decay=0.0, fused=True
    )
    losses, norms = [], []
    for _ in range(2):
        h, c = hand.initial_carry(0, 1)
        for inputs, targets in hand.batches(0, 0, 1):
            logits, (h, c) = hand.model(inputs, (h.detach(), c.detach()))
            loss = functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="sum")
            optimizer.zero_grad()
            (loss / targets.numel()).backward()
            norms.append(torch.nn.utils.clip_grad_norm_(hand.model.parameters(), 0.3).item())
            optimizer.step()
            losses.append(loss.item() / targets.numel())
    assert_same_weights(fitted, hand)
    first = kinds(result, "train")[0]
    assert first["step"] == 20
    assert first["loss"] == close_to(np.mean(losses[:20]), table=MEANS)
    assert first["gradient_norm"] == close_to(np.mean(norms[:20]), table=MEANS)
    assert first["highest_gradient_norm"] == close_to(max(norms[:20]), table=MEANS)
    assert max(norms[:20]) > 0.3
    assert first["learning_rate"] == 0.01
    assert first["epoch"] == round(20 / BATCHES, 4)


def test_it_learns_and_leaves_what_it_promises(tmp_path: Path) -> None:
    result, problem = train(tmp_path / "run", epochs=6)
    losses = [record["loss"] for record in kinds(result, "validation")]
    assert result.stopped == "finished"
    assert (result.steps, result.epochs) == (6 * BATCHES, 6.0)
    assert losses[-1] < 0.7 * losses[0]
    assert result.best["loss"] == min(losses)
    steps = [record["step"] for record in kinds(result, "train")]
    assert steps == sorted({*range(20, 6 * BATCHES + 1, 20), *range(BATCHES, 6 * BATCHES + 1, BATCHES)})
    assert all(record["items_per_second"] > 0 for record in kinds(result, "train"))
    twin = TinyProblem(seed=9)
    RunFolder(tmp_path / "run").read_model(twin.model)
    assert_same_weights(problem, twin)


@pytest.mark.parametrize("schedule", ["cosine", "one_cycle", "inverse_square_root"])
def test_the_rate_follows_progress(tmp_path: Path, schedule: str) -> None:
    from gatework.training.schedules import learning_rate

    options = {"schedule": schedule, "max_steps": 10, "epochs": None, "record_every": 1}
    result, _ = train(tmp_path / "run", **options)
    settings = TrainingOptions(learning_rate=0.01, **{**options, "epochs": None})
    expected = [learning_rate(settings, (step + 1) / 10) for step in range(10)]
    assert [record["learning_rate"] for record in kinds(result, "train")] == expected


def test_the_first_of_several_budgets_counts(tmp_path: Path) -> None:
    heard = Heard()
    result, _ = train(tmp_path / "run", epochs=3, max_steps=BATCHES + 5, heard=heard)
    assert result.steps == BATCHES + 5
    assert heard.shares[-1] == 1.0
    assert heard.shares == sorted(heard.shares)
    assert [record["step"] for record in kinds(result, "validation")] == [BATCHES, BATCHES + 5]


def test_minutes_end_a_training_and_it_is_validated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = itertools.count()  # a clock that every look at it moves on: no load of the machine is in the test
    monkeypatch.setattr(time, "monotonic", lambda: 0.02 * next(ticks))
    result, _ = train(tmp_path / "run", epochs=None, max_minutes=0.05, validate_every=10**6)
    assert result.stopped == "max_minutes"
    assert 3 <= result.seconds < 4
    assert kinds(result, "validation")[-1]["step"] == result.steps
    rates = [record["learning_rate"] for record in kinds(result, "train")]
    assert rates[-1] < 0.1 * max(rates)  # the cosine is through


def test_the_least_training_is_one_step(tmp_path: Path) -> None:
    result, _ = train(tmp_path / "run", epochs=None, max_minutes=1e-9)
    assert (result.stopped, result.steps, result.best_at) == ("max_minutes", 1, 1)


def test_a_run_opened_for_reading_is_not_trained_into(tmp_path: Path) -> None:
    run = RunFolder(tmp_path, writes=False)
    with pytest.raises(ValueError, match=r"RunFolder\.create"):
        fit(TinyProblem(), TrainingOptions(epochs=1, device="cpu"), run, progress=Heard())


def test_two_trainings_with_one_seed_are_the_same_and_with_another_not(tmp_path: Path) -> None:
    first, a = train(tmp_path / "a", seed=3)
    second, b = train(tmp_path / "b", seed=3)
    _, c = train(tmp_path / "c", seed=4)
    assert_same_weights(a, b)
    assert untimed(first.history) == untimed(second.history)
    assert not torch.equal(weights(a)["output.bias"], weights(c)["output.bias"])


def test_validation_does_not_change_training(tmp_path: Path) -> None:
    class Dice(TinyProblem):
        """Draws random numbers in its validation, from every generator."""

        def validate(self, model: torch.nn.Module) -> dict[str, float]:
            assert not model.training
            assert not torch.is_grad_enabled()
            return {"loss": 1 + torch.rand(()).item() + random.random() + np.random.rand()}

    results = [train(tmp_path / str(n), Dice(dropout=0.2), validate_every=n, max_steps=30)[0] for n in (4, 7)]
    losses = [
        [record["loss"] for record in kinds(result, "train") if record["step"] == 20] for result in results
    ]
    # Records cover the steps since the last one, so compare the weights at the end.
    assert losses[0]
    a, b = (validated(tmp_path / str(n), 30) for n in (4, 7))
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_a_problem_without_batches_or_without_loss_is_a_programming_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no batches"):
        train(tmp_path / "a", TinyProblem(length=3))

    class NoLoss(TinyProblem):
        def validate(self, model: torch.nn.Module) -> dict[str, float]:
            return {"accuracy": 1.0}

    with pytest.raises(ValueError, match=r"must give a 'loss', it gave \['accuracy'\]"):
        train(tmp_path / "b", NoLoss())


def test_a_device_that_is_not_there(tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(InputError, match=r"^device: there is no cuda:1"):
        train(tmp_path / "run", device="cuda:1")


def test_bf16_trains_and_leaves_the_model_as_it_was(tmp_path: Path) -> None:
    result, problem = train(tmp_path / "run", TinyProblem(), precision="bf16", max_steps=60, epochs=None)
    assert kinds(result, "train")[-1]["loss"] < kinds(result, "train")[0]["loss"]
    assert problem.model.forward.__func__ is type(problem.model).forward  # type: ignore[attr-defined]
    assert all(tensor.dtype == torch.float32 for tensor in weights(problem).values())


# -- best weights, early stopping, plateau, averaging


def losses_of(*losses: float) -> TinyProblem:
    problem = TinyProblem(dropout=0.2)
    problem.validation_losses = list(losses)
    return problem


def validated(path: Path, step: int) -> dict[str, torch.Tensor]:
    [*_, newest] = sorted((path / "checkpoints").glob(f"step-{step:09d}*"))
    return files.read_tensors(newest / "model.safetensors")


def test_the_run_keeps_the_best_weights(tmp_path: Path) -> None:
    result, problem = train(
        tmp_path / "run", losses_of(3, 1, 2, 2), validate_every=10, max_steps=40, keep_checkpoints=9
    )
    assert (result.best, result.best_at) == ({"loss": 1.0}, 20)
    assert [record["best"] for record in kinds(result, "validation")] == [True, True, False, False]
    best = validated(tmp_path / "run", 20)
    assert all(torch.equal(best[name], weights(problem)[name]) for name in best)


def test_early_stopping(tmp_path: Path) -> None:
    result, _ = train(tmp_path / "run", losses_of(3, 2, 2, 2.5, 1), validate_every=10, patience=2)
    assert (result.stopped, result.steps, result.best_at) == ("early", 40, 20)


def test_a_target_ends_the_training_at_the_first_validation_that_reaches_it(tmp_path: Path) -> None:
    result, problem = train(tmp_path / "run", losses_of(3, 1.9, 1), validate_every=10, target=2)
    assert (result.stopped, result.steps, result.best_at) == ("target", 20, 20)
    best = validated(tmp_path / "run", 20)
    assert all(torch.equal(best[name], weights(problem)[name]) for name in best)
    last, _ = train(tmp_path / "last", losses_of(3, 1.9), validate_every=10, max_steps=20, target=2)
    assert last.stopped == "target"
    missed, _ = train(tmp_path / "missed", losses_of(3, 2.1), validate_every=10, max_steps=20, target=2)
    assert missed.stopped == "finished"


def test_the_headline_picks_the_checkpoint_and_meets_the_target(tmp_path: Path) -> None:
    def of(*figures: float | None) -> TinyProblem:
        problem, left = TinyProblem(), list(figures)
        problem.headline = lambda: Figure("bleu", higher=True)  # type: ignore[attr-defined]
        problem.validate = lambda model: {"loss": 1.0 + len(left), "bleu": left.pop(0)}  # type: ignore[assignment,method-assign]
        return problem

    result, _ = train(tmp_path / "best", of(3, 8, math.nan, 7), validate_every=10, max_steps=40)
    assert (result.best_at, result.best["bleu"]) == (20, 8)
    result, _ = train(tmp_path / "equal", of(8, 8, 7), validate_every=10, max_steps=30)
    assert result.best_at == 20, "the loss is lower there"
    result, _ = train(tmp_path / "target", of(3, 8, 9), validate_every=10, target=7.5)
    assert (result.stopped, result.steps) == ("target", 20)
    problem = of(1)
    problem.headline = lambda: Figure("chrf", higher=True)  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match="must give a 'chrf'"):
        train(tmp_path / "none", problem, validate_every=10)


def test_plateau_lowers_the_rate(tmp_path: Path) -> None:
    result, _ = train(
        tmp_path / "run",
        losses_of(3, 4, 4, 2, 5, 5, 5, 5, 5),
        validate_every=5,
        max_steps=45,
        epochs=None,
        schedule="plateau",
        plateau_patience=2,
        plateau_factor=0.5,
        final=0.2,
        record_every=5,
    )
    rates = [record["learning_rate"] / 0.01 for record in kinds(result, "train")]
    assert rates == pytest.approx([1, 1, 1, 0.5, 0.5, 0.5, 0.25, 0.25, 0.2])


@pytest.mark.parametrize("better", [True, False])
def test_the_mean_of_the_last_states_is_kept_only_where_it_validates_better(
    tmp_path: Path, better: bool
) -> None:
    path = tmp_path / "run"
    result, problem = train(
        path,
        losses_of(1, 3, 2, 2.5, 0.5 if better else 1.5),
        validate_every=5,
        max_steps=20,
        average_last=3,
        keep_checkpoints=9,
    )
    assert result.averaged is better
    [record] = kinds(result, "average")
    assert (record["loss"], record["states"], record["best"]) == (0.5 if better else 1.5, 3, better)
    states = [validated(path, step) for step in (10, 15, 20)]
    expected = {n: sum(s[n].double() for s in states).div(3).float() for n in states[0]}  # type: ignore[union-attr]
    expected = expected if better else validated(path, 5)
    for name, tensor in expected.items():
        assert torch.equal(weights(problem)[name], tensor), name
    assert problem.model.output.weight is problem.model.embedding.weight
    assert result.best == {"loss": 0.5 if better else 1.0}


# -- interruption and resume


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("step", [1, 23, BATCHES, 2 * BATCHES - 1])
def test_an_interrupted_training_resumes_to_the_bit(tmp_path: Path, step: int, number: int) -> None:
    whole, expected = train(tmp_path / "whole", average_last=2, validate_every=13)
    before = signal.getsignal(number)
    part, _ = train(
        tmp_path / "part", heard=Heard(step, interrupt(number)), average_last=2, validate_every=13
    )
    assert (part.stopped, part.steps) == ("interrupted", step)
    assert signal.getsignal(number) is before
    assert not (tmp_path / "part" / "model.safetensors").exists()
    heard = Heard()
    rest, problem = train(
        tmp_path / "part", TinyProblem(seed=5, dropout=0.2), True, heard, average_last=2, validate_every=13
    )
    assert rest.stopped == "finished"
    assert_same_weights(problem, expected)
    assert untimed(rest.history) == untimed(whole.history)
    assert heard.lines == [
        f"resumes at step {step} from {tmp_path / 'part' / 'checkpoints' / f'step-{step:09d}'}"
    ]
    assert rest.seconds > part.seconds


def test_a_second_interrupt_acts_at_once(tmp_path: Path) -> None:
    def twice() -> None:
        interrupt()()
        interrupt()()

    # What a shell starts in the background ignores SIGINT, the tests included.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path / "run", heard=Heard(5, twice))
    finally:
        signal.signal(signal.SIGINT, before)
    assert not list((tmp_path / "run" / "checkpoints").iterdir())


def test_what_was_recorded_after_the_checkpoint_is_recorded_again(tmp_path: Path) -> None:
    whole, _ = train(tmp_path / "whole")
    train(tmp_path / "run", heard=Heard(23, interrupt()))
    run = RunFolder(tmp_path / "run")
    run.append_history({"kind": "train", "step": 24})
    with (run.path / "history.jsonl").open("a") as file:
        file.write('{"kind": "tr')
    result, _ = train(tmp_path / "run", resume=True)
    assert untimed(result.history) == untimed(whole.history)


def test_resuming_without_a_checkpoint_starts_anew(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path / "run")
    run.write_config({})
    run.append_history({"kind": "train", "step": 20})
    heard = Heard()
    result, a = train(tmp_path / "run", resume=True, heard=heard)
    whole, b = train(tmp_path / "whole")
    assert "no checkpoint yet" in heard.lines[0]
    assert untimed(result.history) == untimed(whole.history)
    assert_same_weights(a, b)


def test_a_finished_training_resumed_does_nothing_or_more_epochs(tmp_path: Path) -> None:
    first, a = train(tmp_path / "run", average_last=2)
    second, b = train(tmp_path / "run", TinyProblem(seed=7), resume=True, average_last=2)
    assert_same_weights(a, b)
    assert untimed(first.history) == untimed(second.history)
    heard = Heard()
    third, _ = train(tmp_path / "run", resume=True, epochs=3, average_last=2, heard=heard)
    assert third.steps == 3 * BATCHES
    assert "resumes with epochs=3 (it was 2)" in heard.lines


def test_without_resume_a_training_is_never_continued_by_mistake(tmp_path: Path) -> None:
    train(tmp_path / "run")
    with pytest.raises(RunError, match="holds a training already"):
        fit(
            TinyProblem(),
            TrainingOptions(epochs=1, device="cpu"),
            RunFolder(tmp_path / "run"),
            progress=Heard(),
        )


@pytest.mark.parametrize(("name", "value"), [("seed", 1), ("optimizer", "sgd")])
def test_what_resume_cannot_change_is_refused(tmp_path: Path, name: str, value: Any) -> None:
    train(tmp_path / "run", max_steps=5)
    with pytest.raises(InputError, match=f"was begun with {name}=.* cannot go on with {value}"):
        train(tmp_path / "run", resume=True, **{name: value})


def test_other_data_cannot_be_resumed_in_the_middle(tmp_path: Path) -> None:
    train(tmp_path / "run", heard=Heard(5, interrupt()))
    with pytest.raises(InputError, match="an epoch had 39 batches, now 19"):
        train(tmp_path / "run", TinyProblem(length=100), resume=True)


def test_checkpoints_come_with_time_too(tmp_path: Path) -> None:
    path = tmp_path / "run"
    seen: list[list[str]] = []

    class Watch(Heard):
        def tick(self, share: float, step: int) -> None:
            seen.append(sorted(p.name for p in (path / "checkpoints").iterdir()))

    train(path, max_steps=4, checkpoint_minutes=1e-9, keep_checkpoints=1, heard=Watch())
    assert seen == [[], ["step-000000001"], ["step-000000002"], ["step-000000003"]]


def test_tensorboard_on_request(tmp_path: Path) -> None:
    train(tmp_path / "run", tensorboard=True, max_steps=5)
    [file] = (tmp_path / "run" / "tensorboard").iterdir()
    data = file.read_bytes()
    assert b"train/loss" in data
    assert b"validation/loss" in data


class Trained(TinyProblem):
    """One that is good before its first step."""

    def judges_start(self) -> bool:
        return True


def test_the_start_may_be_the_best(tmp_path: Path) -> None:
    _, good = train(tmp_path / "good")
    start = {name: value.clone() for name, value in weights(good).items()}
    again = Trained(dropout=0.2)
    again.model.load_state_dict(start)
    result, _ = train(tmp_path / "again", again, learning_rate=5.0, max_steps=20, validate_every=10)
    assert (result.best_at, [record["step"] for record in kinds(result, "validation")]) == (0, [0, 10, 20])
    for name, value in start.items():
        assert torch.equal(weights(again)[name], value)
    assert train(tmp_path / "plain", max_steps=20, validate_every=10)[0].history[0]["step"] > 0


def test_a_judged_start_is_gone_on_with(tmp_path: Path) -> None:
    _, whole = train(tmp_path / "whole", Trained(dropout=0.2), max_steps=20)
    stopped = Trained(dropout=0.2)
    result, _ = train(tmp_path / "part", stopped, max_steps=20, heard=Heard(1, interrupt()))
    assert result.stopped == "interrupted"
    first, last = sorted((tmp_path / "part" / "checkpoints").iterdir())
    assert first.name == "step-000000000-validated"
    shutil.rmtree(last)
    later = Trained(dropout=0.2)
    train(tmp_path / "part", later, resume=True, max_steps=20)
    assert_same_weights(whole, later)
