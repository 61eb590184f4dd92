"""What the two ways in which a reader answers have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn

from gatework.baselines import Baseline, Rival
from gatework.data import Fields
from gatework.data.questions import Answers
from gatework.graph import Cell
from gatework.inspect import Subject
from gatework.tasks.artifacts import Artifacts
from gatework.tasks.example_task import Example
from gatework.tasks.reader.options import ReaderOptions, ReaderSettings
from gatework.training import StepLoss

__all__ = ["Mode", "ScoredRecords", "question_mean"]

# The records of some questions, and of each the texts that are right.
ScoredRecords = tuple[Sequence[Mapping[str, Any]], Sequence[Sequence[str]]]


class Mode(ABC):
    """A way of answering: the hooks of `ExampleTask`, as `Reader` passes them on.

    Args:
        options: in force.
        say: tells the user something.
    """

    def __init__(self, options: ReaderOptions, say: Callable[[str], None]) -> None:
        self.options, self.say = options, say

    @abstractmethod
    def learn(self, train: Sequence[Example], keep: Artifacts) -> None:
        """What is taken from the training data before there is a network; see `Lifecycle._learn`."""

    def trainable(self, train: list[Example]) -> list[Example]:
        """The examples that the network can learn from; says what is left out."""
        return train

    def report(self, examples: Sequence[Example]) -> None:  # noqa: B027  # not every mode has something to say
        """Say what is wrong with the answers of data, if something is."""

    @abstractmethod
    def network(
        self, cells: Mapping[str, Cell], sizes: Callable[[type[nn.Module]], dict[str, Any]]
    ) -> nn.Module:
        """A new network; `sizes` gives the options that are arguments of a class of networks."""

    @abstractmethod
    def encode(self, input: Mapping[str, Any], output: Answers | None) -> Fields:
        """The arrays of a question and, in training, of its answers; `words` is their longest side."""

    @abstractmethod
    def collate(self, rows: Sequence[Fields]) -> Any:
        """A batch of encoded questions, a named tuple of tensors."""

    @abstractmethod
    def loss(self, network: nn.Module, batch: Any) -> StepLoss:
        """The loss of a batch, summed over its questions."""

    @abstractmethod
    def outputs(self, network: nn.Module, batch: Any, settings: ReaderSettings) -> Sequence[Any]:
        """What the network makes of each question of a batch."""

    @abstractmethod
    def decode(
        self, output: Any, row: Fields, input: Mapping[str, Any], settings: ReaderSettings
    ) -> dict[str, Any]:
        """The record of a question, without its `input`."""

    @abstractmethod
    def subject(
        self, network: nn.Module, batch: Any, input: Mapping[str, Any], record: Mapping[str, Any]
    ) -> Subject:
        """What a report of a question, the batch, and its answer looks at."""

    @abstractmethod
    def score(self, answers: Sequence[str], references: Sequence[Sequence[str]]) -> dict[str, float]:
        """Figures of answers, the model's or a baseline's, beside the texts that are right."""

    @abstractmethod
    def baselines(self) -> Mapping[str, Baseline]:
        """By name."""

    def rivals(self) -> Sequence[Rival]:
        """New strong simple predictors."""
        return ()

    @abstractmethod
    def joined(self, networks: Sequence[nn.Module]) -> nn.Module:
        """Networks as one, of the mean of their probabilities."""

    @abstractmethod
    def settle(
        self,
        keep: Artifacts,
        network: nn.Module,
        batches: Callable[[], Sequence[Any]],
        answered: Callable[[], ScoredRecords],
    ) -> None:
        """Choose what outputs become answers by.

        Args:
            batches: gives validation data on the network's device.
            answered: gives the records of the same questions, as they are by then, and the texts that are right.
        """

    def together(self, members: Sequence[Self]) -> Self:
        """This mode, by what the members of an ensemble have chosen together."""
        return self


def question_mean(losses: Tensor, known: Tensor) -> StepLoss:
    """The loss of questions, (B,), of which those are counted whose answers are known, (B,): at least one."""
    return StepLoss(torch.where(known, losses, 0.0).sum(), max(1, int(known.sum())))
