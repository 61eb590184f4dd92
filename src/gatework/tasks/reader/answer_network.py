"""Answer mode's network: a question reduced by the facts, sentence by sentence, to its answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gatework.graph import Cell
from gatework.layers import Recurrent
from gatework.layers.dropout import dropout
from gatework.layers.linear import Linear
from gatework.tasks.reader.answer_inputs import AnswerBatch

__all__ = ["GATE", "AnswerEnsemble", "AnswerNetwork", "AnswerScores"]

GATE, QUERY = "update", "query"  # of a cell that reduces questions
_EMBEDDED = 0.5  # standard deviation of a word's vector at first


class AnswerScores(NamedTuple):
    """What the network says of B questions about at most T facts.

    answers: (B, A) log-probabilities of the answers.
    gates: (T, B, G) how much each fact changed the question: the gates of each layer, the lowest first, and in it of
        each direction; the mean over the units where each has its own. 0 past a story's last fact.
    """

    answers: Tensor
    gates: Tensor


class AnswerNetwork(nn.Module):
    """A query-reduction network (Seo et al. 2017, arXiv:1606.04582).

    A sentence is the sum of its words' vectors, weighted by where in the sentence they stand (Sukhbaatar et al. 2015,
    arXiv:1503.08895, section 4.1). Layers of the cell read the facts, each with a question: of the first layer the
    question itself, of a further one the sum of both directions' states below. The last state of the top layer, which
    reads forward alone, is classified.

    Args:
        cell: one that reads `query` beside x and has a gate `update`, as `gatework.cells.qrn`.
        words: ids of words, that of padding (0) among them; answers: A.
        hidden_size: H, of words, sentences and states.
        num_layers: L.
        dropout: rate on the words' vectors and on the questions of further layers.

    Attributes:
        temperature: in eval mode the scores are divided by it.

    Raises:
        ValueError: the cell reads something else, or has no such gate.
    """

    temperature: float = 1.0

    def __init__(
        self, cell: Cell, *, words: int, answers: int, hidden_size: int, num_layers: int, dropout: float
    ) -> None:
        super().__init__()
        inputs = [spec.name for spec in cell.graph.inputs[1:]]
        if inputs != [QUERY] or GATE not in dict(cell.graph.gates):
            raise ValueError(
                f"the cell {cell.name} reads {', '.join(['x', *inputs])} and has the gates "
                f"{', '.join(dict(cell.graph.gates))}; answers from facts need x, {QUERY} and {GATE}, as qrn has them"
            )
        self.dropout = dropout
        self.embedding = nn.Embedding(words, hidden_size, padding_idx=0)
        with torch.no_grad():
            self.embedding.weight.mul_(_EMBEDDED)
        self.layers = nn.ModuleList(
            Recurrent(cell, hidden_size, hidden_size, bidirectional=layer < num_layers - 1)
            for layer in range(num_layers)
        )
        self.answer = Linear(hidden_size, answers)

    def forward(self, batch: AnswerBatch) -> AnswerScores:
        """The answers to a batch of questions."""
        facts, question = self._sentences(batch.facts, batch.questions)
        query = question.expand_as(facts)
        gates = []
        for layer in self.layers:
            output, state = layer(facts, lengths=batch.lengths, inputs={QUERY: query}, emit=[GATE])
            directions = 1 if layer is self.layers[-1] else 2
            gates.append(output[GATE].unflatten(-1, (directions, -1)).mean(-1))
            query = output["output"].unflatten(-1, (directions, -1)).sum(-2)
            query = dropout(query, self.dropout, self.training)
        last = state[0] if isinstance(state, tuple) else state  # of a cell with several states the first
        scores = self.answer(last[0]).float() / (1.0 if self.training else self.temperature)
        return AnswerScores(scores.log_softmax(-1), torch.cat(gates, -1))

    def _sentences(self, facts: Tensor, questions: Tensor) -> tuple[Tensor, Tensor]:
        """The vectors of facts, (T, B, H), and of questions, (1, B, H). Each sentence is encoded once."""
        steps, rows, _ = facts.shape
        width = max(facts.shape[-1], questions.shape[-1])
        every = torch.cat([F.pad(each, (0, width - each.shape[-1])) for each in (facts, questions[None])])
        distinct, places = _distinct(every.flatten(0, 1), self.embedding.num_embeddings)
        embedded = dropout(self.embedding(distinct), self.dropout, self.training)  # (N, W, H)
        vectors = (embedded * _positions(distinct, embedded.shape[-1]).to(embedded.dtype)).sum(1)
        found = vectors[places].unflatten(0, (steps + 1, rows))
        return found[:steps], found[steps:]


def _positions(sentences: Tensor, size: int) -> Tensor:
    """(N, W, H) what the vectors of the words of sentences, (N, W) ids, are weighted by: (1 - j / J) - (k / H)
    (1 - 2 j / J) for unit k of word j of J, both counted from 1."""
    words = sentences.shape[1]
    place = torch.arange(1, words + 1, device=sentences.device) / (sentences > 0).sum(1, keepdim=True).clamp(
        min=1
    )
    unit = torch.arange(1, size + 1, device=sentences.device) / size
    return (1 - place)[:, :, None] - unit * (1 - 2 * place)[:, :, None]


def _distinct(rows: Tensor, ids: int) -> tuple[Tensor, Tensor]:
    """The different rows of (N, W) ids below `ids`, and which of them each row is, (N,)."""
    key, bound = rows[:, 0], ids
    for column in rows.T[1:]:
        if bound * ids > 2**62:
            key, bound = key.unique(return_inverse=True)[1], len(rows)
        key, bound = key * ids + column, bound * ids
    _, places = key.unique(return_inverse=True)
    first = torch.zeros(int(places.max()) + 1, dtype=torch.int64, device=rows.device)
    first[places] = torch.arange(len(rows), device=rows.device)  # any of those that are alike
    return rows[first], places


class AnswerEnsemble(nn.Module):
    """Trained networks of the same answers as one, of the mean of their probabilities and of their gates; in eval mode
    alone."""

    def __init__(self, networks: Sequence[AnswerNetwork]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)

    def forward(self, batch: AnswerBatch) -> AnswerScores:
        """The answers to a batch of questions."""
        found = [network(batch) for network in self.networks]
        answers = torch.stack([each.answers for each in found]).logsumexp(0)
        gates = torch.stack([each.gates for each in found]).mean(0)
        return AnswerScores(answers - torch.tensor(float(len(found))).log().to(answers), gates)
