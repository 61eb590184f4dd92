"""Pairs of sequences as the training loop sees them: sides, examples, batches, loss, validation."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from gatework.data import Encoding, Fields, Packed, Tokenizer
from gatework.seq2seq import EncoderDecoder
from gatework.tasks.parameter_groups import encoder_decoder_groups
from gatework.training import ExampleProblem, StepLoss, Totals, total_loss

__all__ = ["PairBatch", "Side", "make_batch", "packed_pairs", "pair_loss", "pair_problem"]

_FIELDS = ("source", "target")

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


def packed_pairs(pairs: Iterable[tuple[Ids, Ids]]) -> Packed:
    """Pairs of ids as the fields `source` and `target`."""
    return Packed.from_rows(
        {"source": np.asarray(source, dtype=np.int32), "target": np.asarray(target, dtype=np.int32)}
        for source, target in pairs
    )


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


def _collate(sides: tuple[Side, Side]) -> Callable[[Sequence[Fields]], PairBatch]:
    return lambda rows: make_batch([(row["source"], row["target"]) for row in rows], sides)


def _loss(network: EncoderDecoder, sampling: float) -> Callable[[nn.Module, PairBatch], StepLoss]:
    def loss(model: nn.Module, batch: PairBatch) -> StepLoss:
        own_guesses = sampling if network.training else 0.0
        return StepLoss(model(*batch, own_guesses), int(batch.target_lengths.sum()))

    return loss


def pair_loss(network: EncoderDecoder, examples: Packed, sides: tuple[Side, Side]) -> Totals:
    """Minus the log-probability of all targets, in nats, in eval mode, and the number of their tokens."""
    return total_loss(network, examples, _collate(sides), by=_FIELDS, loss=_loss(network, 0.0))


def pair_problem(
    network: EncoderDecoder,
    train: Packed,
    valid: Packed,
    sides: tuple[Side, Side],
    *,
    batch_tokens: int,
    sampling: float,
    seed: int,
    validation: Callable[[], dict[str, float]],
) -> ExampleProblem[PairBatch]:
    """Teacher forcing over batches of like lengths.

    Args:
        sampling: share of the decoder's inputs in training that are its own guesses.
        validation: figures beside the loss of the validation data, which decide the checkpoint with `objective`.
    """

    return ExampleProblem(
        network,
        train,
        valid,
        _collate(sides),
        budget=batch_tokens,
        by=_FIELDS,
        seed=seed,
        loss=_loss(network, sampling),
        validation=validation,
        groups=encoder_decoder_groups(network),
    )
