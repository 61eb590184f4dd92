"""Pairs of sequences as the training loop sees them: sides, examples, batches, loss, validation."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from gatework.data import Encoding, Tokenizer, length_batches
from gatework.errors import InputError
from gatework.seq2seq import EncoderDecoder
from gatework.training import StepLoss

__all__ = ["Examples", "PairBatch", "PairProblem", "Side", "make_batch", "total_loss"]

_EVALUATION_TOKENS = 4000

Ids = Sequence[int] | np.ndarray


@dataclass(frozen=True)
class Side:
    """One side's texts as ids: those of its tokenizer, and one more that begins and ends every sequence."""

    tokenizer: Tokenizer

    @property
    def boundary(self) -> int:
        return self.tokenizer.vocabulary_size

    @property
    def size(self) -> int:
        """V, with the boundary."""
        return self.tokenizer.vocabulary_size + 1

    def encode(self, text: str) -> list[int]:
        """The ids of a text, then the boundary."""
        return [*self.tokenizer.encode(text), self.boundary]

    def encode_with_spans(self, text: str) -> Encoding:
        """As `encode`, with the span of each token in the text; the boundary's is empty, at its end."""
        ids, spans = self.tokenizer.encode_with_spans(text)
        return Encoding([*ids, self.boundary], [*spans, (len(text), len(text))])

    @cached_property
    def unknown(self) -> int | None:
        return self.tokenizer.unknown_id


@dataclass(frozen=True)
class Examples:
    """Pairs as ids: each side one flat array, and where each sequence begins in it."""

    sources: np.ndarray
    source_ends: np.ndarray
    targets: np.ndarray
    target_ends: np.ndarray

    @classmethod
    def of(cls, pairs: Iterable[tuple[Ids, Ids]]) -> Examples:
        sides: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
        for pair in pairs:
            for side, ids in zip(sides, pair, strict=True):
                side.append(np.asarray(ids, dtype=np.int32))
        flat = [np.concatenate(side) if side else np.empty(0, np.int32) for side in sides]
        ends = [np.cumsum([len(ids) for ids in side], dtype=np.int64) for side in sides]
        return cls(flat[0], ends[0], flat[1], ends[1])

    def __len__(self) -> int:
        return len(self.source_ends)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """The ids of a pair."""
        first = index - 1
        begins = (self.source_ends[first], self.target_ends[first]) if index else (0, 0)
        return self.sources[begins[0] : self.source_ends[index]], self.targets[
            begins[1] : self.target_ends[index]
        ]

    @cached_property
    def lengths(self) -> list[tuple[int, int]]:
        sizes = [np.diff(ends, prepend=0).tolist() for ends in (self.source_ends, self.target_ends)]
        return list(zip(*sizes, strict=True))

    def first(self, count: int) -> Examples:
        """So many of them."""
        return Examples.of(self[index] for index in range(min(count, len(self))))


class PairBatch(NamedTuple):
    """Padded examples.

    source: (S, B) ids; source_lengths: (B,).
    target: (T + 1, B) ids, the boundary first and last; target_lengths: (B,) tokens to predict.
    """

    source: Tensor
    source_lengths: Tensor
    target: Tensor
    target_lengths: Tensor


def make_batch(examples: Sequence[tuple[Ids, Ids]], sides: tuple[Side, Side]) -> PairBatch:
    """A batch of pairs of ids, as they come."""
    sources, targets = zip(*examples, strict=True)
    start = np.asarray([sides[1].boundary], dtype=np.int32)
    target, lengths = padded([np.concatenate([start, ids]) for ids in targets], sides[1].boundary)
    return PairBatch(*padded(sources, sides[0].boundary), target, lengths - 1)


def padded(sequences: Sequence[Ids], padding: int) -> tuple[Tensor, Tensor]:
    """Ids, (T, B), and lengths, (B,), of sequences side by side."""
    lengths = torch.tensor([len(ids) for ids in sequences])
    table = np.full((max(map(len, sequences)), len(sequences)), padding, dtype=np.int64)
    for row, ids in enumerate(sequences):
        table[: len(ids), row] = ids
    return torch.from_numpy(table), lengths


class _Batches(Sequence[PairBatch]):
    """Batches made when they are asked for."""

    def __init__(self, examples: Examples, indices: list[list[int]], sides: tuple[Side, Side]) -> None:
        self._examples, self._indices, self._sides = examples, indices, sides

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, number: int) -> PairBatch:  # type: ignore[override]
        return make_batch([self._examples[index] for index in self._indices[number]], self._sides)


def total_loss(network: EncoderDecoder, examples: Examples, sides: tuple[Side, Side]) -> float:
    """Minus the log-probability of all targets, in nats, in eval mode."""
    device = network.target_embedding.weight.device
    total = 0.0
    training = network.training
    network.eval()
    with torch.inference_mode():
        batches = _Batches(examples, length_batches(examples.lengths, _EVALUATION_TOKENS, seed=0), sides)
        for number in range(len(batches)):
            total += network(*(part.to(device) for part in batches[number])).item()
    network.train(training)
    return total


class PairProblem:
    """Teacher forcing over batches of like lengths.

    Args:
        validation: figures beside the loss of the validation data, which decide the checkpoint with `objective`.
    """

    def __init__(
        self,
        network: EncoderDecoder,
        train: Examples,
        valid: Examples,
        sides: tuple[Side, Side],
        *,
        batch_tokens: int,
        sampling: float,
        seed: int,
        validation: Callable[[], dict[str, float]],
    ) -> None:
        if not len(train) or not len(valid):
            which = "validation" if len(train) else "training"
            raise InputError(f"the {which} data", "holds no pair with text on both sides", "Give more pairs")
        self._network, self._train, self._valid, self._sides = network, train, valid, sides
        self._tokens, self._sampling, self._seed = batch_tokens, sampling, seed
        self._validation = validation

    @property
    def model(self) -> nn.Module:
        return self._network

    def batches(self, epoch: int, rank: int, world: int) -> Sequence[PairBatch]:
        seed = self._seed * 1_000_003 + epoch
        indices = length_batches(self._train.lengths, self._tokens, seed=seed, rank=rank, world=world)
        return _Batches(self._train, indices, self._sides)

    def initial_carry(self, rank: int, world: int) -> None:
        """None: pairs are independent."""

    def loss(self, model: nn.Module, batch: PairBatch, carry: None) -> StepLoss:
        return StepLoss(model(*batch, self._sampling), int(batch.target_lengths.sum()))

    def validate(self, model: nn.Module) -> dict[str, float]:
        loss = total_loss(self._network, self._valid, self._sides) / len(self._valid.targets)
        return {"loss": loss, **self._validation()}
