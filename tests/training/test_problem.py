"""What a problem may say beside its loss: groups of parameters, parts of the loss; the two problems of tasks."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from gatework.data import Packed, TokenStream
from gatework.errors import InputError
from gatework.training import (
    ExampleProblem,
    ParameterGroup,
    RunFolder,
    StepLoss,
    StreamProblem,
    TrainingOptions,
    fit,
)
from gatework.training.problem import total_loss
from gatework.training.progress import TerminalProgress
from tests.tolerances import MEANS, STEPS_OF_TRAINING, assert_close, close_to
from tests.training.problems import TinyModel, TinyProblem
from tests.training.test_loop import Heard, interrupt, kinds, train, untimed


class Grouped(TinyProblem):
    """Embedding (which is the softmax's too), first layer, the rest."""

    def groups(self) -> Sequence[ParameterGroup]:
        return (
            ParameterGroup(("embedding.*",)),
            ParameterGroup(("lstm.*_l0",)),
            ParameterGroup(("lstm.*_l1",)),
        )


class Split(TinyProblem):
    """The loss in two parts, of which the second is of some steps only."""

    calls = 0

    def loss(self, model: nn.Module, batch: Any, carry: Any) -> StepLoss:
        step = super().loss(model, batch, carry)
        self.calls += 1
        parts = {"first": 0.25 * step.total}
        if self.calls % 2:
            parts["second"] = 0.75 * step.total
        return step._replace(parts=parts)


def after(path: Path, problem: TinyProblem, steps: int, **options: Any) -> dict[str, Tensor]:
    """The weights after so many steps, the last of which is not validated away."""
    train(path, problem, max_steps=steps, epochs=None, schedule="constant", **options)
    return dict(problem.model.state_dict())


def test_layers_thaw_at_their_epochs(tmp_path: Path) -> None:
    """39 steps an epoch, half an epoch a group: the first layer from step 20 on, the embedding from 40 on."""
    start = dict(Grouped().model.state_dict())
    for steps, frozen in (
        (20, {"embedding.weight", "lstm.weight_ih_l0", "lstm.bias_hh_l0"}),
        (21, {"embedding.weight"}),
        (39, {"embedding.weight"}),
        (40, set()),
    ):
        weights = after(tmp_path / str(steps), Grouped(), steps, unfreeze_every=0.5)
        for name in ("embedding.weight", "lstm.weight_ih_l0", "lstm.bias_hh_l0", "lstm.weight_hh_l1"):
            assert torch.equal(weights[name], start[name]) == (name in frozen), (steps, name)
        assert not torch.equal(weights["output.bias"], start["output.bias"])  # in no group


def test_the_rate_falls_by_layer(tmp_path: Path) -> None:
    """One step of SGD: what each group moves is its rate times the gradient, the same in both trainings."""
    start = dict(Grouped().model.state_dict())
    given: dict[str, Any] = {"optimizer": "sgd", "clip_norm": 0.0, "learning_rate": 1.0}
    plain = after(tmp_path / "plain", Grouped(), 1, **given)
    decayed = after(tmp_path / "decayed", Grouped(), 1, layer_rate_decay=2.0, **given)
    for name, factor in (
        ("embedding.weight", 0.25),
        ("lstm.weight_hh_l0", 0.5),
        ("lstm.weight_hh_l1", 1.0),
        ("output.bias", 1.0),
    ):
        moved, expected = decayed[name] - start[name], factor * (plain[name] - start[name])
        assert_close(moved, expected, STEPS_OF_TRAINING)


@pytest.mark.parametrize("stop", [7, 20, 30, 45])
def test_gradual_unfreezing_resumes_to_the_bit(stop: int, tmp_path: Path) -> None:
    options: dict[str, Any] = {"unfreeze_every": 0.5, "layer_rate_decay": 2.6, "weight_decay": 0.1}
    whole, straight = train(tmp_path / "whole", Grouped(dropout=0.2), **options)
    part, _ = train(tmp_path / "parts", Grouped(dropout=0.2), heard=Heard(stop, interrupt()), **options)
    assert (part.stopped, part.steps) == ("interrupted", stop)
    rest, resumed = train(tmp_path / "parts", Grouped(seed=5, dropout=0.2), resume=True, **options)
    assert untimed(rest.history) == untimed(whole.history)
    for (name, a), b in zip(
        straight.model.state_dict().items(), resumed.model.state_dict().values(), strict=True
    ):
        assert torch.equal(a, b), name


def test_the_groups_of_a_begun_training_stay(tmp_path: Path) -> None:
    train(tmp_path / "run", Grouped(), heard=Heard(7, interrupt()), unfreeze_every=0.5)
    with pytest.raises(InputError, match=r"begun with unfreeze_every=0.5, and cannot go on with 0.0"):
        train(tmp_path / "run", Grouped(), resume=True)


def test_parts_of_the_loss_are_recorded_a_target(tmp_path: Path) -> None:
    result, _ = train(tmp_path / "run", Split(), record_every=13)
    records = kinds(result, "train")
    assert len(records) == 6
    for record in records:
        assert set(record["parts"]) == {"first", "second"}
        assert record["parts"]["first"] == close_to(0.25 * record["loss"], table=MEANS)
        # Of every other step, and yet a target of all: about half.
        assert 0.25 < record["parts"]["second"] / record["loss"] < 0.5
    lines = (tmp_path / "run/history.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == result.history


def test_parts_change_nothing_and_survive_a_resume(tmp_path: Path) -> None:
    whole, split = train(tmp_path / "whole", Split(dropout=0.2), record_every=10)
    plain, without = train(tmp_path / "plain", record_every=10)
    assert all("parts" not in record for record in plain.history)
    for a, b in zip(split.model.state_dict().values(), without.model.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    train(tmp_path / "parts", Split(dropout=0.2), heard=Heard(17, interrupt()), record_every=10)
    again = Split(dropout=0.2)
    again.calls = 17
    rest, _ = train(tmp_path / "parts", again, resume=True, record_every=10)
    assert untimed(rest.history) == untimed(whole.history)


def test_parts_are_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tensorboard")
    shown: list[str] = []
    bar = TerminalProgress()
    monkeypatch.setattr(bar.bar, "update", lambda task, figures="", **_: shown.append(figures))
    run = RunFolder.create(tmp_path / "run")
    run.write_config({})
    options = TrainingOptions(max_steps=4, record_every=2, device="cpu", tensorboard=True)
    scalars: list[str] = []
    from torch.utils.tensorboard.writer import SummaryWriter

    add = SummaryWriter.add_scalar
    monkeypatch.setattr(
        SummaryWriter, "add_scalar", lambda self, name, *rest: (scalars.append(name), add(self, name, *rest))
    )
    fit(Split(), options, run, progress=bar)
    assert any("loss " in text and "first " in text and "second " in text for text in shown)
    assert {"train/loss", "train/first", "train/second"} <= set(scalars)


# -- independent examples


def rows(count: int, seed: int) -> list[dict[str, np.ndarray]]:
    generator = np.random.default_rng(seed)
    sizes = generator.integers(1, 9, count)
    return [{"ids": generator.integers(0, 11, size + 1, dtype=np.int32)} for size in sizes]


def collate(some: Sequence[Any]) -> tuple[Tensor, Tensor]:
    """(T, B) inputs and targets, -1 where a row has ended."""
    longest = max(len(row["ids"]) for row in some)
    table = np.full((longest, len(some)), -1, np.int64)
    for index, row in enumerate(some):
        table[: len(row["ids"]), index] = row["ids"]
    whole = torch.from_numpy(table)
    return whole[:-1].clamp(min=0), whole[1:]


def masked_loss(model: nn.Module, batch: tuple[Tensor, Tensor]) -> StepLoss:
    inputs, targets = batch
    logits, _ = model(inputs, None)
    total = functional.cross_entropy(
        logits.flatten(0, 1), targets.flatten(), ignore_index=-1, reduction="sum"
    )
    return StepLoss(total, int((targets >= 0).sum()), parts={"half": total / 2})


def examples_problem(**given: Any) -> ExampleProblem[tuple[Tensor, Tensor]]:
    torch.manual_seed(0)
    settings: dict[str, Any] = {
        "budget": 40,
        "by": ("ids",),
        "seed": 3,
        "loss": masked_loss,
        "groups": [ParameterGroup(("embedding.*",), factor=0.5)],
        **given,
    }
    train_rows = settings.pop("train", rows(60, 1))
    return ExampleProblem(
        TinyModel(), Packed.from_rows(train_rows), Packed.from_rows(rows(9, 2)), collate, **settings
    )


def test_each_epoch_has_every_example_once_in_an_order_of_its_own() -> None:
    problem = examples_problem()
    lengths = [len(row["ids"]) for row in rows(60, 1)]
    orders = []
    for epoch in range(2):
        batches = problem.batches(epoch, 0, 1)
        counts = sorted(
            int((batch[1][:, b] >= 0).sum()) + 1 for batch in batches for b in range(batch[1].shape[1])
        )
        assert counts == sorted(lengths)
        assert all((batch[0].shape[0] + 1) * batch[0].shape[1] <= 40 for batch in batches)
        orders.append([batch[0].shape for batch in batches])
        again = problem.batches(epoch, 0, 1)
        assert all(torch.equal(a[0], b[0]) for a, b in zip(batches, again, strict=True))
    assert orders[0] != orders[1]
    halves = [problem.batches(0, rank, 2) for rank in range(2)]
    assert len(halves[0]) == len(halves[1])
    with pytest.raises(IndexError):
        problem.batches(0, 0, 1)[10_000]


def test_the_loss_of_data_is_its_sum_whatever_the_batches_and_leaves_the_mode(tmp_path: Path) -> None:
    problem = examples_problem(validation=lambda: {"bleu": 3.0})
    network, packed = problem.model, Packed.from_rows(rows(9, 2))
    for mode in (True, False):
        network.train(mode)
        total, count, parts = total_loss(network, packed, collate, by=("ids",), loss=masked_loss)
        assert network.training is mode
    with torch.no_grad():
        each = [masked_loss(network, collate([row])) for row in packed]
    assert total == close_to(sum(step.total.item() for step in each), table=MEANS)
    assert count == sum(step.count for step in each)
    assert parts == {"half": pytest.approx(total / 2)}
    assert problem.validate(network) == {
        "loss": total / count,
        "half": parts["half"] / count,
        "bleu": 3.0,
    }


def test_examples_train_and_resume_to_the_bit(tmp_path: Path) -> None:
    assert examples_problem().groups()[0].factor == 0.5
    whole, _ = train(tmp_path / "whole", examples_problem())  # type: ignore[arg-type]
    losses = [record["loss"] for record in kinds(whole, "validation")]
    assert losses[-1] < losses[0]
    assert "half" in kinds(whole, "validation")[0]
    train(tmp_path / "parts", examples_problem(), heard=Heard(5, interrupt()))  # type: ignore[arg-type]
    rest, _ = train(tmp_path / "parts", examples_problem(), resume=True)  # type: ignore[arg-type]
    assert untimed(rest.history) == untimed(whole.history)


def test_problems_without_examples_are_refused() -> None:
    with pytest.raises(InputError, match="the training data: holds no example"):
        examples_problem(train=[])


# -- streams


def test_a_stream_is_trained_in_rows_side_by_side(tmp_path: Path) -> None:
    stream = TokenStream.of_ids(np.arange(400) * 3 % 11, 400, 11)
    torch.manual_seed(0)
    network = TinyModel()

    def loss(model: nn.Module, batch: tuple[Tensor, Tensor], carry: Any) -> StepLoss:
        inputs, targets = batch
        logits, carry = model(inputs, carry)
        total = functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="sum")
        return StepLoss(total, targets.numel(), carry)

    problem = StreamProblem(network, stream, streams=4, steps=8, loss=loss, validation=lambda: {"loss": 1.0})
    inputs, targets = problem.batches(0, 0, 1)[1]
    assert inputs[:, 1].tolist() == [(99 + 8 + t) * 3 % 11 for t in range(8)]
    assert targets[:-1, 1].tolist() == inputs[1:, 1].tolist()
    result, _ = train(tmp_path / "run", problem, epochs=6, record_every=12)  # type: ignore[arg-type]
    losses = [record["loss"] for record in kinds(result, "train")]
    assert losses[-1] < 0.7 * losses[0]
    with pytest.raises(InputError, match="fewer than the"):
        StreamProblem(network, stream, streams=4, steps=500, loss=loss, validation=lambda: {"loss": 1.0})
