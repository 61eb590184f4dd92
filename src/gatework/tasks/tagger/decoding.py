"""From scores to well-formed tags, and how probable they, their spans and the next ones are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from gatework.data import Span, spans_of
from gatework.layers.linear_chain import Chain, best_paths, log_partition, marginals
from gatework.tasks.tagger.network import Scores
from gatework.tasks.tagger.tag_set import TagSet

__all__ = ["Answer", "Ranked", "decode"]


class Ranked(NamedTuple):
    """An id and its probability."""

    id: int
    probability: float


class Answer(NamedTuple):
    """What is said of one sentence.

    tags: of its words. spans: of the tags. label: or None. The rest is None where no probabilities are asked for: of
    each tag, of each span, and of each word the next likely tag (None where there is one tag alone); of the label, and
    the next likely one.
    """

    tags: list[str]
    spans: list[Span]
    label: str | None
    probabilities: list[float] | None = None
    span_probabilities: list[float] | None = None
    second: list[Ranked | None] | None = None
    label_probability: float | None = None
    second_label: Ranked | None = None


def decode(scores: Scores, lengths: Tensor, tag_set: TagSet, *, confidence: bool) -> list[Answer]:
    """The likeliest well-formed tags of each sentence, and its likeliest label.

    All probabilities are given that the sentence's tags are well-formed, so that those of a softmax a word are of a
    chain as well, whose only scores are of what may not stand beside each other.

    Args:
        scores: of B sentences; lengths: (B,) their words.
        confidence: give the probabilities too.
    """
    emissions = scores.emissions.double()
    chain = _allowed(scores.chain, emissions, tag_set)
    paths = best_paths(chain, emissions, lengths).T.tolist()
    counts = lengths.tolist()
    tags = [[tag_set.tags[id] for id in path[:count]] for path, count in zip(paths, counts, strict=True)]
    spans = [spans_of(own, tag_set.scheme) for own in tags]
    labels = scores.labels.double().softmax(-1)
    best: list[int] = labels.argmax(-1).tolist() if tag_set.labels else []
    names: list[str | None] = [*(tag_set.labels[id] for id in best)] or [None] * len(tags)
    answers = [Answer(*one) for one in zip(tags, spans, names, strict=True)]
    if not confidence:
        return answers
    of_tags = marginals(chain, emissions, lengths)  # (T, B, K)
    of_spans = _span_probabilities(chain, emissions, lengths, spans, paths, tag_set)
    return [
        answer._replace(
            probabilities=[of_tags[step, row, paths[row][step]].item() for step in range(counts[row])],
            span_probabilities=of_spans[row],
            second=[_second(of_tags[step, row], paths[row][step]) for step in range(counts[row])],
            label_probability=labels[row, best[row]].item() if best else None,
            second_label=_second(labels[row], best[row]) if best else None,
        )
        for row, answer in enumerate(answers)
    ]


def _allowed(chain: Chain | None, emissions: Tensor, tag_set: TagSet) -> Chain:
    """The chain of well-formed sequences alone."""
    moves = Chain(*(torch.from_numpy(part).to(emissions.device) for part in tag_set.moves))
    if chain is None:
        chain = Chain(*(torch.zeros_like(part, dtype=emissions.dtype) for part in moves))
    return Chain(*(part.to(emissions.dtype) for part in chain)).masked(moves)


def _second(probabilities: Tensor, best: int) -> Ranked | None:
    """The likeliest of (K,) but for one, which stands for itself already."""
    if len(probabilities) < 2:
        return None
    others = probabilities.clone()
    others[best] = -1.0
    id = int(others.argmax())
    return Ranked(id, others[id].item())


def _span_probabilities(
    chain: Chain,
    emissions: Tensor,
    lengths: Tensor,
    spans: Sequence[Sequence[Span]],
    paths: Sequence[Sequence[int]],
    tag_set: TagSet,
) -> list[list[float]]:
    """Of each span in each row the probability of its tags, with none after them that continues it: the sum over the
    sequences that have it, over that of all.
    """
    rows = [row for row, own in enumerate(spans) for _ in own]
    if not rows:
        return [[] for _ in spans]
    held = emissions[:, rows].clone()  # (T, N, K), a column for each span
    for column, (row, span) in enumerate((row, span) for row, own in enumerate(spans) for span in own):
        for step in range(span.start, span.end):
            kept = held[step, column, paths[row][step]].clone()
            held[step, column] = -torch.inf
            held[step, column, paths[row][step]] = kept
        if tag_set.scheme == "BIO" and span.end < int(lengths[row]):
            (inside,) = tag_set.tag_ids([f"I-{span.type}"])
            if inside >= 0:
                held[span.end, column, inside] = -torch.inf
    index = torch.tensor(rows, device=lengths.device)
    logs = log_partition(chain, held, lengths[index]) - log_partition(chain, emissions, lengths)[index]
    shares = iter(logs.exp().clamp(0, 1).tolist())
    return [[next(shares) for _ in own] for own in spans]
