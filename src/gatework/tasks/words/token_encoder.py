"""From the words of sentences to a vector a word: embeddings, characters, recurrent layers."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gatework.graph import Cell
from gatework.layers import Recurrent
from gatework.layers.bags import bag_means
from gatework.layers.dropout import dropout, sequence_dropout
from gatework.tasks.words.batch import TokenBatch
from gatework.tasks.words.vocabulary import UNKNOWN

__all__ = ["CharacterEncoder", "TokenEncoder"]

_CHARACTER_CELL = "gru"


class CharacterEncoder(nn.Module):
    """A vector for each spelling: the last states of a layer that reads its characters in both directions.

    Args:
        character_count: ids of characters.
        embedding_size: width of a character's vector.
        size: width of a word's vector, an even number.

    Raises:
        ValueError: an odd `size`.
    """

    def __init__(self, character_count: int, embedding_size: int, size: int) -> None:
        super().__init__()
        if size % 2:
            raise ValueError(f"character_size={size}: give an even number, half of it for each direction")
        self.embedding = nn.Embedding(character_count, embedding_size)
        self.recurrent = Recurrent(_CHARACTER_CELL, embedding_size, size // 2, bidirectional=True)

    def forward(self, characters: Tensor, lengths: Tensor, rate: float) -> Tensor:
        """The vectors, (N, size).

        Args:
            characters: (C, N) ids; lengths: (N,).
            rate: of dropout on the characters' vectors.
        """
        embedded = dropout(self.embedding(characters), rate, self.training)
        _, states = self.recurrent(embedded, lengths=lengths)  # (2, N, size / 2)
        return states.transpose(0, 1).flatten(1)


class TokenEncoder(nn.Module):
    """The words of sentences as vectors that know their neighbours (Lample et al. 2016, section 4).

    A word's input is the row of its id beside what a `CharacterEncoder` makes of its characters, which tells apart the
    words that have no row. Recurrent layers read the inputs of a sentence.

    With `subword_rows` the rows of its pieces stand beside that of its id: their mean is added to it (Bojanowski et al.
    2017), which tells words apart at the cost of a sum.

    In training a word is replaced by the unknown one with the probability a / (a + n), n being its count in the
    training data (Kiperwasser & Goldberg 2016, section 4.1): the unknown word's row is learned in the places of rare
    words.

    Args:
        cell: of the recurrent layers.
        counts: of the words in the training data; id i + 1 is the i-th of them.
        character_count: ids of characters.
        embedding_size: width of a word's row.
        character_size: width of what is made of its characters, an even number; 0: nothing is.
        subword_rows: of the table of pieces of words; 0: there is none.
        hidden_size: H, units of each direction.
        num_layers, bidirectional, recurrent_dropout: as for `gatework.Recurrent`.
        dropout: rate on the layers' inputs and on their outputs, one mask a sentence (Gal & Ghahramani 2016).
        word_dropout: a, above; 0: no word is replaced.

    Raises:
        ValueError: the cell reads more than words, or an odd `character_size`.
    """

    replaced: Tensor

    def __init__(
        self,
        cell: Cell,
        *,
        counts: Sequence[int],
        character_count: int,
        embedding_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bidirectional: bool = True,
        character_size: int = 0,
        subword_rows: int = 0,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        word_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        further = [spec.name for spec in cell.graph.inputs[1:]]
        if further:
            raise ValueError(
                f"the cell {cell.name} reads {', '.join(further)} beside x; a text has no such thing"
            )
        self.dropout, self.word_dropout = dropout, word_dropout
        self.embedding = nn.Embedding(len(counts) + 1, embedding_size)
        nn.init.normal_(self.embedding.weight, std=embedding_size**-0.5)
        self.subwords = None
        if subword_rows:
            self.subwords = nn.EmbeddingBag(subword_rows, embedding_size, mode="mean")
            nn.init.normal_(self.subwords.weight, std=embedding_size**-0.5)
        self.characters = None
        if character_size:
            self.characters = CharacterEncoder(character_count, min(character_size, 32), character_size)
        frequencies = torch.tensor([0, *counts], dtype=torch.get_default_dtype())
        self.register_buffer("replaced", word_dropout / (word_dropout + frequencies), persistent=False)
        self.recurrent = Recurrent(
            cell,
            embedding_size + character_size,
            hidden_size,
            num_layers,
            bidirectional=bidirectional,
            dropout=dropout if num_layers > 1 else 0.0,
            recurrent_dropout=recurrent_dropout,
        )

    @property
    def output_size(self) -> int:
        """D, the width of a word's vector."""
        return self.recurrent.num_directions * self.recurrent.output_size

    def forward(self, batch: TokenBatch) -> Tensor:
        """The words' vectors, (T, B, D); zero past a sentence's last word."""
        return self.states(self.inputs(batch), batch.lengths)

    def states(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        """As `forward`, from what the recurrent layers read, (T, B, embedding_size + character_size)."""
        output, _ = self.recurrent(inputs, lengths=lengths)
        if isinstance(output, dict):  # of a cell that emits more than its state
            output = output["output"]
        return sequence_dropout(output, self.dropout, self.training)

    def inputs(self, batch: TokenBatch) -> Tensor:
        """What the recurrent layers read, (T, B, embedding_size + character_size)."""
        words = batch.words
        if self.training and self.word_dropout:
            drawn = torch.rand(words.shape, device=words.device)
            words = words.masked_fill(drawn < self.replaced[words], UNKNOWN)
        embedded = self.embedding(words)
        if self.subwords is not None:
            table = self.subwords.weight
            pieces = bag_means(table, batch.subwords, batch.subword_offsets)  # (N, embedding_size)
            embedded = embedded + F.embedding(batch.spellings, pieces)
        parts = [embedded]
        if self.characters is not None:
            spelled = self.characters(batch.characters, batch.character_lengths, self.dropout)
            parts.append(F.embedding(batch.spellings, spelled))
        return sequence_dropout(torch.cat(parts, dim=-1), self.dropout, self.training)
