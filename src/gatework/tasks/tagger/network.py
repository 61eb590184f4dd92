"""The tagger's network: from the words of sentences to scores of tags and of labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gatework.data import Fields
from gatework.graph import Cell
from gatework.layers.largest import largest
from gatework.layers.linear import Linear
from gatework.layers.linear_chain import Chain, LinearChainCRF, log_partition, path_score
from gatework.layers.ragged import Packed
from gatework.tasks.batches import padded
from gatework.tasks.tagger.tag_set import UNSEEN
from gatework.tasks.words import SidePath, TokenBatch, TokenEncoder, collate_tokens

__all__ = ["Scores", "TaggedBatch", "TaggerEnsemble", "TaggerNetwork", "collate", "log_sums", "losses"]

Bags = tuple[Tensor, Tensor]  # features, (F,), and where those of each thing begin, as `SidePath` reads them


class TaggedBatch(NamedTuple):
    """B sentences of at most T words.

    tokens: the words. places: (T, B) which of the N words of `features` each one is, N past a sentence's end.
    features: of the N words; text_features: of the B sentences; None without a side path.
    tags: (T, B) ids, `UNSEEN` where there is none; labels: (B,) ids. None where there are only inputs.
    """

    tokens: TokenBatch
    places: Tensor
    features: Bags | None
    text_features: Bags | None
    tags: Tensor | None
    labels: Tensor | None


class Scores(NamedTuple):
    """Of B sentences, whose probability of a label y and tags is p(y) p(tags | y).

    emissions: (T, B, K), before a label is known. labels: (B, L), log p(y) but for a constant, L being 0 where none are
    learned. chain: the tags' scores beside each other, None of a softmax a word. tags_of_labels: (L, K), what each
    label adds to the emissions of a sentence that has it; None where no labels are learned.
    """

    emissions: Tensor
    labels: Tensor
    chain: Chain | None
    tags_of_labels: Tensor | None = None

    def given(self, labels: Tensor) -> Scores:
        """The scores of tags in sentences that have these labels, (B,) ids."""
        if self.tags_of_labels is None:
            return self
        return self._replace(emissions=self.emissions + self.tags_of_labels[labels], tags_of_labels=None)

    def likeliest(self) -> Scores:
        """The scores of tags given each sentence's likeliest label; these where no labels are learned."""
        return self if self.tags_of_labels is None else self.given(self.labels.argmax(-1))

    def cooled(self, tags: float, labels: float) -> Scores:
        """The scores divided by temperatures."""
        chain = None if self.chain is None else Chain(*(part / tags for part in self.chain))
        of_labels = None if self.tags_of_labels is None else self.tags_of_labels / tags
        return Scores(self.emissions / tags, self.labels / labels, chain, of_labels)


def collate(rows: Sequence[Fields]) -> TaggedBatch:
    """A batch of encoded sentences: `Tagger` says which fields there are."""
    tokens = collate_tokens(rows)
    first = rows[0]
    ends = np.cumsum([len(row["words"]) for row in rows])
    places = [np.arange(end - len(row["words"]), end) for end, row in zip(ends, rows, strict=True)]
    return TaggedBatch(
        tokens,
        padded(places, int(ends[-1]))[0],
        _bags([row["features"] for row in rows], [row["feature_counts"] for row in rows])
        if "features" in first
        else None,
        _bags(texts, [np.array([len(text)]) for text in texts])
        if (texts := [row["text_features"] for row in rows if "text_features" in row])
        else None,
        padded([row["tags"] for row in rows], UNSEEN)[0] if "tags" in first else None,
        torch.from_numpy(np.concatenate([row["label"] for row in rows])) if "label" in first else None,
    )


def _bags(features: Sequence[np.ndarray], counts: Sequence[np.ndarray]) -> Bags:
    ends = np.cumsum(np.concatenate(counts))
    offsets = np.concatenate([[0], ends[:-1]])[: len(ends)].astype(np.int64)
    return torch.from_numpy(np.concatenate(features).astype(np.int64)), torch.from_numpy(offsets)


class TaggerNetwork(nn.Module):
    """Scores of tags from recurrent layers over words (Lample et al. 2016), beside a linear model of features.

    In eval mode all scores of tags, and those of labels, are divided by a temperature each (Guo et al. 2017), which
    changes probabilities and no best tags.

    A label's scores are read from a mean of the words' vectors with learned weights (Yang et al. 2016), from their
    maxima, and from the highest probability of each tag in the sentence. Each label adds scores of its own to the tags,
    and label and tags have one distribution (the triangular chain of Jeong & Lee 2008): a label's probability is the
    sum of those of all sequences of tags with it, so that what a sentence is about says what its words are, and what
    its words are says what it is about.

    Args:
        cell: of the recurrent layers.
        tags, labels: numbers of them; no labels: none are learned.
        crf: the scores of tags beside each other are learned; without, they are 0.
        side_rows: of the table of features; None: no side path.
        side_dropout: share of features left out in training.
        counts, character_count, embedding_size, subword_rows, character_size, hidden_size, num_layers, bidirectional,
            dropout, recurrent_dropout, word_dropout: as for `TokenEncoder`.

    Attributes:
        temperatures: of the tags and of the labels.
    """

    temperatures: tuple[float, float] = (1.0, 1.0)

    def __init__(
        self,
        cell: Cell,
        *,
        tags: int,
        labels: int,
        crf: bool,
        side_rows: int | None,
        side_dropout: float,
        counts: Sequence[int],
        character_count: int,
        embedding_size: int,
        subword_rows: int,
        character_size: int,
        hidden_size: int,
        num_layers: int,
        bidirectional: bool,
        dropout: float,
        recurrent_dropout: float,
        word_dropout: float,
    ) -> None:
        super().__init__()
        self.dropout = dropout
        self.encoder = TokenEncoder(
            cell,
            counts=counts,
            character_count=character_count,
            embedding_size=embedding_size,
            hidden_size=hidden_size,
            num_layers=num_layers,
            bidirectional=bidirectional,
            character_size=character_size,
            subword_rows=subword_rows,
            dropout=dropout,
            recurrent_dropout=recurrent_dropout,
            word_dropout=word_dropout,
        )
        width = self.encoder.output_size
        self.emission = Linear(width, tags)
        self.side = None if side_rows is None else SidePath(side_rows, tags, side_dropout)
        self.crf = LinearChainCRF(tags) if crf else None
        self.tags, self.labels = tags, labels
        if labels:
            self.attention = Linear(width, 1)
            self.label = Linear(2 * width + tags, labels)
            self.tags_of_labels = nn.Parameter(torch.zeros(labels, tags))
            self.text_side = None if side_rows is None else SidePath(side_rows, labels, side_dropout)

    def forward(self, batch: TaggedBatch) -> Scores:
        """The scores of a batch."""
        states = self.encoder(batch.tokens)  # (T, B, D)
        packed = Packed.of(batch.tokens.lengths, len(states), states.device)
        words = packed.pack(states)  # (R, D): nothing is computed on padding
        emissions = packed.unpack(self.emission(words))
        if self.side is not None and batch.features is not None:
            scores = F.pad(self.side(*batch.features), (0, 0, 0, 1))  # a row of zeros for what is no word
            emissions = emissions + F.embedding(batch.places, scores)
        chain = None if self.crf is None else self.crf.chain
        if not self.labels:
            found = Scores(emissions, emissions.new_zeros(emissions.shape[1], 0), chain)
        else:
            attention = packed.unpack(self.attention(words))  # (T, B, 1)
            own = self._labels(states, attention, emissions, batch)
            labels = own + log_sums(chain, emissions, self.tags_of_labels, batch.tokens.lengths)
            found = Scores(emissions, labels, chain, self.tags_of_labels)
        return found if self.training else found.cooled(*self.temperatures)

    def _labels(self, states: Tensor, attention: Tensor, emissions: Tensor, batch: TaggedBatch) -> Tensor:
        """(B, L)"""
        scores = self._label_of_words(states, attention, emissions, batch)
        if self.text_side is not None and batch.text_features is not None:
            features, offsets = batch.text_features
            counts = torch.diff(offsets, append=offsets.new_tensor([len(features)])).clamp(min=1)
            scores = scores + self.text_side(features, offsets) * counts.rsqrt()[:, None]
        return scores

    def _label_of_words(
        self, states: Tensor, attention: Tensor, emissions: Tensor, batch: TaggedBatch
    ) -> Tensor:
        """(B, L), by the network alone."""
        if len(states) == 0:  # sentences without words
            return states.new_zeros(states.shape[1], self.labels) + self.label.bias
        lengths = batch.tokens.lengths.to(states.device)
        inside = (
            torch.arange(len(states), device=states.device)[:, None, None] < lengths[:, None]
        )  # (T, B, 1)
        weights = _masked(attention, inside).softmax(0)
        highest = torch.where(lengths[:, None] > 0, largest(states, inside), 0.0)
        likeliest = (emissions.softmax(-1) * inside).amax(0)
        return self.label(torch.cat([(weights * states).sum(0), highest, likeliest], dim=-1))


def log_sums(chain: Chain | None, emissions: Tensor, tags_of_labels: Tensor, lengths: Tensor) -> Tensor:
    """The logarithm of the sum of exp(score) of all sequences of tags, given each label, (B, L); 0 without words.

    Args:
        emissions: (T, B, K); tags_of_labels: (L, K); lengths: (B,).
    """
    given = emissions[:, :, None] + tags_of_labels  # (T, B, L, K)
    if chain is not None:
        repeated = lengths.repeat_interleave(len(tags_of_labels))
        return log_partition(chain, given.flatten(1, 2), repeated).view(given.shape[1:3])
    inside = torch.arange(len(emissions), device=emissions.device)[:, None] < lengths.to(emissions.device)
    return torch.where(inside[..., None], given.logsumexp(-1), 0.0).sum(0)


def _masked(values: Tensor, inside: Tensor) -> Tensor:
    """`values` with the lowest number of their own type, which autocast chooses, where `inside` is false."""
    return values.masked_fill(~inside, torch.finfo(values.dtype).min)


class TaggerEnsemble(nn.Module):
    """Trained networks of the same tags as one, of the mean of their scores; in eval mode alone.

    A mean of scores is a mean of log-probabilities, brought to a sum of 1 again: it is a linear chain itself, so that
    one search finds its best tags, and its loss is at most the mean of the networks' losses.
    """

    def __init__(self, networks: Sequence[TaggerNetwork]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)

    def forward(self, batch: TaggedBatch) -> Scores:
        """The mean scores of a batch."""
        all_scores = [network(batch) for network in self.networks]
        chains = [one.chain for one in all_scores if one.chain is not None]
        chain = Chain(*(torch.stack(part).mean(0) for part in zip(*chains, strict=True))) if chains else None
        emissions, labels = (torch.stack([one[part] for one in all_scores]).mean(0) for part in (0, 1))
        of_labels = [one.tags_of_labels for one in all_scores if one.tags_of_labels is not None]
        return Scores(emissions, labels, chain, torch.stack(of_labels).mean(0) if of_labels else None)


def losses(scores: Scores, batch: TaggedBatch) -> tuple[Tensor, Tensor, Tensor]:
    """Minus the log-probability of each sentence's tags given its label, (B,), and of its label, (B,), in nats; and
    which sentences have tags that the training data has, (B,): that of the others is 0, as is that of an unseen label,
    in whose place the tags are given the likeliest one.
    """
    if batch.tags is None or batch.labels is None:
        raise ValueError("the batch has inputs alone: there is nothing to compare the scores with")
    lengths = batch.tokens.lengths.to(batch.tags.device)
    steps = torch.arange(len(batch.tags), device=batch.tags.device)[:, None] < lengths
    known = ((batch.tags != UNSEEN) | ~steps).all(0)
    tags = batch.tags.clamp(min=0)
    if scores.tags_of_labels is not None:
        likeliest = scores.labels.detach().argmax(-1)
        given = scores.given(torch.where(batch.labels == UNSEEN, likeliest, batch.labels))
    else:
        given = scores
    chain, emissions = given.chain, given.emissions
    if chain is None:
        total = F.cross_entropy(
            emissions.flatten(0, 1), batch.tags.flatten(), ignore_index=UNSEEN, reduction="none"
        )
        total = torch.where(steps, total.view_as(tags), 0.0).sum(0)
    else:
        total = log_partition(chain, emissions, lengths) - path_score(chain, emissions, tags, lengths)
    total = torch.where(known, total, 0.0)
    if not scores.labels.shape[1]:
        return total, torch.zeros_like(total), known
    return total, F.cross_entropy(scores.labels, batch.labels, ignore_index=UNSEEN, reduction="none"), known
