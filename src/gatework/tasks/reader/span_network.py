"""Span mode's network: scores of the pieces of passages as answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gatework.data.passages import FEATURES
from gatework.graph import Cell
from gatework.layers import Recurrent
from gatework.layers.dropout import sequence_dropout
from gatework.layers.linear import Linear
from gatework.tasks.batches import inside_of
from gatework.tasks.reader.span_inputs import KIND_ROWS, KINDS, SpanBatch
from gatework.tasks.words import SidePath, TokenBatch, TokenEncoder

__all__ = ["SpanEnsemble", "SpanNetwork", "SpanScores", "some_windows", "span_losses"]

_AT_ONCE = 64  # windows that are read together outside of training


class SpanScores(NamedTuple):
    """Log-probabilities of the answers of B questions, which sum to 1 for each: of spans, and of no answer.

    spans: (W, T, L) of the span of window w that begins at its word t and has l + 1 words; the lowest number of what is
        none. none: (B,), minus infinity where no question is without an answer.
    """

    spans: Tensor
    none: Tensor

    def cooled(self, batch: SpanBatch, temperature: float) -> SpanScores:
        """The log-probabilities of the scores divided by a temperature."""
        return _normalised(self.spans / temperature, self.none / temperature, batch)


class SpanNetwork(nn.Module):
    """A reader of passages: attention both ways (BiDAF, Seo et al. 2017) over layers that read what a passage's words
    have in common with the question (DrQA, Chen et al. 2017), beside a linear model of features of spans.

    A span's score is a sum: of its first word, of its last word, and of all of its words. Each of the three is added up
    from the recurrent layers', a linear map of the features of the word and its neighbours, and a table of what is seen
    at the word crossed with what kind of question it is. The linear parts are a logistic regression over spans.

    Args:
        cell: of the recurrent layers.
        counts, character_count, embedding_size, subword_rows, dropout, word_dropout: as for `TokenEncoder`, without
            recurrent layers between.
        hidden_size: H, units of each direction.
        side_rows: of the side path's table; side_dropout: share of its features left out in training.
        longest: L, words of the longest answer.
        no_answer: whether there may be none.

    Attributes:
        temperature: in eval mode the scores are divided by it.
    """

    temperature: float = 1.0

    def __init__(
        self,
        cell: Cell,
        *,
        counts: Sequence[int],
        character_count: int,
        embedding_size: int,
        subword_rows: int,
        hidden_size: int,
        side_rows: int,
        side_dropout: float,
        dropout: float,
        word_dropout: float,
        longest: int,
        no_answer: bool,
    ) -> None:
        super().__init__()
        self.dropout, self.longest = dropout, longest
        self.encoder = TokenEncoder(
            cell,
            counts=counts,
            character_count=character_count,
            embedding_size=embedding_size,
            subword_rows=subword_rows,
            hidden_size=hidden_size,
            dropout=dropout,
            word_dropout=word_dropout,
        )
        width = self.encoder.output_size
        self.align = Linear(embedding_size, embedding_size)
        self.reading = Recurrent(cell, 2 * embedding_size + FEATURES, hidden_size, bidirectional=True)
        self.attention = nn.ModuleList([Linear(width, 1), Linear(width, 1, bias=False)])
        self.product = nn.Parameter(torch.full((width,), width**-0.5))
        self.joined = Linear(4 * width, width)
        self.modelling = Recurrent(cell, width + FEATURES, hidden_size, bidirectional=True)
        self.weight = Linear(width, 1)
        self.of_question = Linear(width, 3 * width)
        self.of_word = Linear(2 * width, 3)
        self.near = Linear(3 * FEATURES, 3)
        self.side = SidePath(side_rows, 3, side_dropout)
        self.lengths = SidePath(KIND_ROWS, longest)
        self.none = Linear(2 * width, 1) if no_answer else None
        for layer in (self.near, self.of_word, self.of_question):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, batch: SpanBatch) -> SpanScores:
        """The log-probabilities of a batch."""
        asked = self.encoder.inputs(batch.questions)  # (Q, B, E)
        states = self.encoder.states(asked, batch.questions.lengths)  # (Q, B, D)
        count = len(batch.owners)
        step = count if self.training else _AT_ONCE
        parts = [
            self._windows(some_windows(batch, begin, begin + step), asked, states)
            for begin in range(0, count, step)
        ]
        spans, none = (torch.cat(part) for part in zip(*parts, strict=True))
        lengths = self.lengths(
            batch.kinds.flatten(), torch.arange(0, batch.kinds.numel(), KINDS, device=spans.device)
        )
        lowest = none.new_full((len(batch.kinds),), torch.inf).scatter_reduce(0, batch.owners, none, "amin")
        scores = _normalised(spans + lengths[batch.owners, None], lowest, batch)
        return scores if self.training or self.temperature == 1.0 else scores.cooled(batch, self.temperature)

    def _windows(self, batch: SpanBatch, asked: Tensor, states: Tensor) -> tuple[Tensor, Tensor]:
        """(W, T, L) scores of spans, and (W,) of no answer, of some windows."""
        asked, states = asked[:, batch.owners], states[:, batch.owners]  # (Q, W, ·)
        inside_question = _inside(states, batch.questions.lengths[batch.owners.cpu()])
        lengths = batch.passages.lengths
        words = self.encoder.inputs(batch.passages)  # (T, W, E)
        features = batch.features
        likeness = torch.einsum("twe,qwe->wtq", self.align(words).relu(), self.align(asked).relu())
        aligned = torch.einsum("wtq,qwe->twe", _softmax(likeness, inside_question), asked)
        read, _ = self.reading(torch.cat([words, aligned, features], -1), lengths=lengths)
        read = sequence_dropout(read, self.dropout, self.training)  # (T, W, D)
        both = torch.einsum("twd,qwd->wtq", read * self.product, states)
        both = both + self.attention[0](read).transpose(0, 1) + self.attention[1](states)[:, :, 0].T[:, None]
        to_question = torch.einsum("wtq,qwd->twd", _softmax(both, inside_question), states)
        inside = _inside(read, lengths)
        highest = both.masked_fill(~inside_question[:, None], torch.finfo(both.dtype).min).amax(-1)  # (W, T)
        to_passage = torch.einsum("wt,twd->wd", _softmax(highest, inside), read)
        joined = torch.cat([read, to_question, read * to_question, read * to_passage], -1)
        joined = sequence_dropout(self.joined(joined).relu(), self.dropout, self.training)
        known, _ = self.modelling(torch.cat([joined, features], -1), lengths=lengths)
        known = sequence_dropout(known, self.dropout, self.training)
        weights = _softmax(self.weight(states)[:, :, 0].T, inside_question)
        question = torch.einsum("wq,qwd->wd", weights, states)
        scores = self.of_word(torch.cat([joined, known], -1))  # (T, W, 3)
        wanted = self.of_question(question).unflatten(-1, (3, -1))  # (W, 3, D)
        scores = scores + torch.einsum("twd,wkd->twk", known, wanted)
        around = F.pad(features, (0, 0, 0, 0, 1, 1))
        scores = scores + self.near(torch.cat([around[:-2], features, around[2:]], -1))
        rows = batch.rows
        begins = torch.arange(0, rows.numel(), rows.shape[2], device=rows.device)
        scores = scores + self.side(rows.flatten(), begins).view_as(scores)
        spans = self._spans(scores.float(), batch.own, inside)
        if self.none is None:
            return spans, spans.new_full((len(spans),), -torch.inf)
        top = known.masked_fill(~inside.T[:, :, None], torch.finfo(known.dtype).min).amax(0)
        return spans, self.none(torch.cat([top, question], -1))[:, 0].float()

    def _spans(self, scores: Tensor, own: Tensor, inside: Tensor) -> Tensor:
        """(W, T, L) from scores of first words, last words and words, (T, W, 3)."""
        first, last, within = scores.permute(2, 1, 0)  # (W, T)
        length, longest = first.shape[1], self.longest
        until = F.pad(within.masked_fill(~inside, 0).cumsum(1), (1, longest))  # (W, 1 + T + L)
        ends = F.pad(
            last.masked_fill(~inside, torch.finfo(last.dtype).min),
            (0, longest),
            value=torch.finfo(last.dtype).min,
        )
        ends = ends.unfold(1, longest, 1)[:, :length]  # (W, T, L)
        sums = until[:, 1:].unfold(1, longest, 1)[:, :length] - until[:, :length, None]
        spans = first[:, :, None] + ends.clamp(min=_LOWEST) + sums
        there = own.T[:, :, None] & (ends > _LOWEST)
        return spans.masked_fill(~there, _LOWEST)


_LOWEST = -1e9  # of what is no span


def _inside(values: Tensor, lengths: Tensor) -> Tensor:
    """(W, T) which steps of values, (T, W, ·), there are."""
    return inside_of(values, lengths)[:, :, 0].T > 0


def _softmax(scores: Tensor, inside: Tensor) -> Tensor:
    """Over the last axis of scores (W, …, N), of those that are inside, (W, N)."""
    inside = inside if scores.dim() == 2 else inside[:, None]
    return scores.masked_fill(~inside, torch.finfo(scores.dtype).min).softmax(-1)


def some_windows(batch: SpanBatch, begin: int, end: int) -> SpanBatch:
    """Some windows of a batch."""
    if begin == 0 and end >= len(batch.owners):
        return batch
    words = batch.passages
    cut = TokenBatch(
        words.words[:, begin:end], words.lengths[begin:end], words.spellings[:, begin:end], *words[3:]
    )
    return batch._replace(
        passages=cut,
        owners=batch.owners[begin:end],
        own=batch.own[:, begin:end],
        features=batch.features[:, begin:end],
        rows=batch.rows[:, begin:end],
    )


def _normalised(spans: Tensor, none: Tensor, batch: SpanBatch) -> SpanScores:
    """Scores (W, T, L) and (B,) as log-probabilities: one softmax over all windows of a question and no answer."""
    sums = spans.flatten(1).logsumexp(1)  # (W,)
    top = none.detach().scatter_reduce(0, batch.owners, sums.detach(), "amax")
    total = torch.exp(none - top).scatter_add(0, batch.owners, torch.exp(sums - top[batch.owners]))
    total = total.log() + top
    return SpanScores(spans - total[batch.owners, None, None], none - total)


class SpanEnsemble(nn.Module):
    """Trained networks of the same inputs as one, of the mean of their probabilities; in eval mode alone."""

    def __init__(self, networks: Sequence[SpanNetwork]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)

    def forward(self, batch: SpanBatch) -> SpanScores:
        """The log of the mean probabilities of a batch."""
        found = [network(batch) for network in self.networks]
        count = torch.tensor(float(len(found))).log()
        return SpanScores(
            *(torch.stack(part).logsumexp(0) - count.to(part[0]) for part in zip(*found, strict=True))
        )


def span_losses(scores: SpanScores, batch: SpanBatch) -> Tensor:
    """(B,) minus the log-probability of each question's right answers, their mean where there are several; 0 of a
    question whose answers cannot be found."""
    if batch.spans is None or batch.weights is None or batch.none is None or batch.known is None:
        raise ValueError("the batch has inputs alone: there is nothing to compare the scores with")
    window, first, last = batch.spans.T
    found = scores.spans[window, first, last - first] * batch.weights
    total = -found.new_zeros(len(batch.kinds)).index_add(0, batch.owners[window], found)
    return torch.where(batch.none & batch.known, -scores.none, total)
