"""Tasks of independent examples, an input with its output each: all but those that read one long stream."""

from __future__ import annotations

import random
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any, ClassVar, NamedTuple, TypeVar, cast

from pydantic import BaseModel
from torch import nn

from gatework.baselines import Baseline, Rival
from gatework.data import Fields, Packed
from gatework.errors import InputError
from gatework.metrics.figure import Figure
from gatework.tasks.artifacts import Artifacts
from gatework.tasks.base import Task
from gatework.tasks.batches import answer_in_batches
from gatework.tasks.lifecycle import TrainingData
from gatework.tasks.options import ExampleOptions
from gatework.tasks.rivals import copy_rivals, fit_rivals, read_rivals
from gatework.tasks.tokens import warn_of_unknown
from gatework.training import ExampleProblem, ParameterGroup, Problem, RunFolder, StepLoss, total_loss
from gatework.training.nested import to_device
from gatework.training.problem import LOSS

__all__ = ["Example", "ExampleTask"]

HELD_BACK = 0.05
T = TypeVar("T")


class Example(NamedTuple):
    """An input, the output that belongs to it, and where they were found."""

    where: str
    input: Any
    output: Any


class ExampleTask(Task):
    """A task whose data is examples and whose network answers a batch of inputs.

    Attributes:
        fields: of an encoded example, those whose lengths say which examples share a batch.
        problem: what the training loop is given.
    """

    fields: tuple[str, ...]
    problem: ClassVar[type[ExampleProblem[Any]]] = ExampleProblem

    options_: ExampleOptions

    # What a task writes

    @abstractmethod
    def _read(self, data: Any, columns: Mapping[str, str]) -> list[Example]:
        """The examples of the data; says what it leaves out."""

    @abstractmethod
    def _encode(self, input: Any, output: Any = None) -> Fields:
        """The arrays of an input and, in training, of its output."""

    def _encode_training(self, example: Example) -> Fields:
        """As `_encode`, of an example that the network is trained on."""
        return self._encode(example.input, example.output)

    def _encode_all(self, inputs: Sequence[Any]) -> list[Fields]:
        """The arrays of inputs that are answered together."""
        return [self._encode(item) for item in inputs]

    @abstractmethod
    def _collate(self, rows: Sequence[Fields]) -> Any:
        """A batch of encoded examples, or of encoded inputs alone: nested tensors on the CPU."""

    @abstractmethod
    def _loss(self, network: nn.Module, batch: Any) -> StepLoss:
        """The loss of a batch on the network's device, summed over its targets."""

    @abstractmethod
    def _outputs(self, batch: Any, settings: Any) -> Sequence[Any]:
        """What the network makes of each input of a batch on its device, in eval mode and without gradients."""

    @abstractmethod
    def _decode(self, output: Any, row: Fields, input: Any, settings: Any) -> dict[str, Any]:
        """The record of an input, without its `input`."""

    @abstractmethod
    def _score(self, outputs: Sequence[Any], references: Sequence[Any]) -> dict[str, float]:
        """Figures: of the model's outputs and, by the same call, of every baseline's."""

    @abstractmethod
    def _baselines(self) -> Mapping[str, Baseline]:
        """By name, fitted in `_learn`; with the rivals; the strongest by `headline` is the baseline."""

    def _rivals(self) -> Sequence[Rival]:
        """New strong simple predictors; fitted before the network is trained, and kept in the run."""
        return ()

    def _augmented(self, train: list[Example]) -> list[Example]:
        """The examples that the network is trained on, made from the training data's."""
        return train

    def _groups(self) -> Sequence[ParameterGroup]:
        """Groups of the network's parameters from the input to the output, for rates and gradual unfreezing."""
        return ()

    def _together(self, examples: Sequence[Example]) -> list[list[int]]:
        """The indices of examples in groups that are held back as one: those that share what they are about."""
        return [[index] for index in range(len(examples))]

    def _likelihood(self, total: float, count: int) -> dict[str, float]:
        """Figures of a loss in nats that was summed over `count` targets; none, if there are none."""
        return {"loss": total / count} if count else {}

    def _quick_figures(self, examples: Sequence[Example]) -> dict[str, float]:
        """What the training's validations look at beside the loss."""
        return {}

    def _quick_search(self) -> str:
        """How the outputs of `_quick_figures` are found, in words; empty where there is no search."""
        return ""

    def _picks_checkpoint(self) -> Figure:
        """The figure of the training's validations that picks the checkpoint: the loss, or one of `_quick_figures`."""
        return LOSS

    def _scored(self, record: Mapping[str, Any]) -> Any:
        """What of a record is scored: what a baseline gives for an input."""
        return record["output"]

    def _references(self, examples: Sequence[Example], rows: Packed) -> list[Any]:
        """What the answers to examples are compared with; `rows` are the encoded examples."""
        return [each.output for each in examples]

    def _answers_to_score(
        self, examples: Sequence[Example], rows: Packed, settings: Any
    ) -> tuple[Sequence[Mapping[str, Any]], list[Any]]:
        """The record of each example's input, and what of it is scored; `rows` are the encoded examples."""
        records = self._records([each.input for each in examples], settings)
        return records, [self._scored(record) for record in records]

    def _own_figures(
        self, records: Sequence[Mapping[str, Any]], references: Sequence[Any]
    ) -> dict[str, float]:
        """Figures of the model's records beside those of their outputs: of its probabilities, which baselines lack."""
        return {}

    def _remarks(self, outputs: Sequence[Any], references: Sequence[Any]) -> dict[str, Any]:
        """What `evaluate` gives beside the figures."""
        return {}

    def _unknown(self, rows: Packed) -> dict[str, float]:
        """Of each part of encoded examples, the share of tokens that the vocabulary lacks."""
        return {}

    # The lifecycle

    def _prepare(self, data: TrainingData, keep: Artifacts) -> None:
        def read() -> tuple[list[Example], list[Example]]:
            train = self._examples(data.train, data.columns)
            if data.valid is None:
                return self._hold_back(train)
            return train, self._examples(data.valid, data.columns)

        train, self._valid = self._once("examples", read)
        self._learn(train, keep)
        self._fit_rivals(train, keep)
        self._train_rows = self._pack_training(self._augmented(train), self.options_.max_length)
        self._valid_rows = self._pack(self._valid)
        data.sources.note("training", self._train_rows.sha256())
        data.sources.note("validation", self._valid_rows.sha256())

    def _fit_rivals(self, train: Sequence[Example], keep: Artifacts) -> None:
        def fit() -> RunFolder:
            inputs, outputs = [each.input for each in train], [each.output for each in train]
            fit_rivals(self._rivals(), inputs, outputs, self.run_, self._say)
            return self.run_

        def fit_once() -> None:
            fitted = self._once("rivals", fit)
            copy_rivals([type(rival) for rival in self._rivals()], fitted, self.run_)

        keep.first(fit_once, lambda: None)

    def _once(self, name: str, make: Callable[[], T]) -> T:
        """What `make` gives, or gave the first of several trainings on the same data."""
        if self._common is None:
            return make()
        if name not in self._common:
            self._common[name] = make()
        return cast("T", self._common[name])

    @cached_property
    def rivals_(self) -> Mapping[str, Rival]:
        """By name; read from the run when they are first asked for."""
        return read_rivals([type(rival) for rival in self._rivals()], self.run_)

    def _examples(self, data: Any, columns: Mapping[str, str]) -> list[Example]:
        examples = self._read(data, columns)
        if not examples:
            raise InputError("data", f"holds no {self.noun}", "Give some.")
        return examples

    def _training_tokens(self) -> int:
        return sum(max(lengths) for lengths in self._train_rows.lengths(*self.fields))

    def _problem(self) -> Problem:
        return self.problem(
            self.network_,
            self._train_rows,
            self._valid_rows,
            self._collate,
            budget=self.options_.batch_tokens,
            most=self.options_.batch_examples,
            by=self.fields,
            seed=self.options_.seed,
            loss=self._loss,
            validation=lambda: self._quick_figures(self._valid),
            headline=self._picks_checkpoint(),
            search=self._quick_search(),
            groups=self._groups(),
        )

    def _hold_back(self, examples: Sequence[Example]) -> tuple[list[Example], list[Example]]:
        if len(examples) < 2:
            what = f"holds {len(examples)} of the {self.noun}, and one must be held back"
            raise InputError("data", what, "Give more, or valid=FILE")
        count = max(1, round(HELD_BACK * len(examples)))
        held = self._drawn(self._together(examples), count)
        if not held:  # none is small enough
            held = self._drawn([[index] for index in range(len(examples))], count)
        self._say(f"No validation data: {HELD_BACK:.0%} of the {self.noun} are held back ({len(held):,}).")
        train = [example for index, example in enumerate(examples) if index not in held]
        return train, [example for index, example in enumerate(examples) if index in held]

    def _drawn(self, groups: list[list[int]], count: int) -> set[int]:
        """The indices in groups that are drawn until there are `count`, at most twice as many."""
        random.Random(self.options_.split_seed).shuffle(groups)
        held: set[int] = set()
        most = min(2 * count, sum(map(len, groups)) - 1)
        for group in groups:
            if len(held) < count and len(held) + len(group) <= most:
                held.update(group)
        return held

    def _pack(self, examples: Sequence[Example]) -> Packed:
        """The examples as arrays."""
        return Packed.from_rows([self._encode(each.input, each.output) for each in examples])

    def _pack_training(self, examples: Sequence[Example], most: int) -> Packed:
        """The examples as arrays; those with more than `most` entries in a field are left out."""
        rows, long = [], []
        for example in examples:
            row = self._encode_training(example)
            if max(len(row[field]) for field in self.fields) <= most:
                rows.append(row)
            else:
                long.append(example)
        if long:
            what = f"{len(long):,} {self.noun} longer than max_length={most} tokens are left out"
            self._say(f"{what}, the first at {long[0].where}.")
        return Packed.from_rows(rows)

    def _clear(self) -> None:
        for name in ("_valid", "_train_rows", "_valid_rows"):
            self.__dict__.pop(name, None)

    # Figures

    @classmethod
    def evaluation_settings(cls) -> type[BaseModel]:
        return cls.Settings

    def _validation_figures(self) -> dict[str, Any]:
        return self._figures(self._valid, self.settings())

    def _evaluate(self, data: Any, columns: Mapping[str, str], settings: Any) -> dict[str, Any]:
        return self._figures(self._examples(data, columns), settings, whose="the given")

    def _figures(
        self, examples: Sequence[Example], settings: Any, whose: str | None = None
    ) -> dict[str, Any]:
        rows = self._pack(examples)
        unknown = self._unknown(rows)
        if whose is not None:
            warn_of_unknown(self._say, unknown, whose)
        inputs, references = [each.input for each in examples], self._references(examples, rows)
        records, outputs = self._answers_to_score(examples, rows, settings)
        total, count, _ = total_loss(self.network_, rows, self._collate, by=self.fields, loss=self._loss)
        model = {
            **self._likelihood(total, count),
            **self._score(outputs, references),
            **self._own_figures(records, references),
        }
        baselines = {
            name: self._score(baseline.predict(inputs), references)
            for name, baseline in {**self._baselines(), **self.rivals_}.items()
        }
        return {
            **self._compared(model, baselines),
            "examples": len(examples),
            "unit": self.noun,
            "search": self._search_words(settings),
            "unknown": unknown,
            **self._remarks(outputs, references),
        }

    # Predictions

    def _answer(self, inputs: Sequence[Any], settings: Any) -> list[dict[str, Any]]:
        rows = self._encode_all(inputs)

        def answer(some: list[int]) -> list[dict[str, Any]]:
            batch = to_device(self._collate([rows[index] for index in some]), self.device)
            outputs = self._outputs(batch, settings)
            return [
                self._decode(output, rows[index], inputs[index], settings)
                for index, output in zip(some, outputs, strict=True)
            ]

        return answer_in_batches([len(row[self.fields[0]]) for row in rows], answer)
