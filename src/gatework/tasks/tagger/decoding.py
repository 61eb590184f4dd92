"""From scores to well-formed tags, and how probable they, their spans and the next ones are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

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
    labels = scores.labels.double().softmax(-1)
    likeliest = labels.argmax(-1) if tag_set.labels else None
    if likeliest is not None:
        scores = scores.given(likeliest)
    emissions = scores.emissions.double()
    chain = _allowed(scores.chain, emissions, tag_set)
    found = best_paths(chain, emissions, lengths).T  # (B, T)
    paths = found.tolist()
    counts = lengths.tolist()
    tags = [[tag_set.tags[id] for id in path[:count]] for path, count in zip(paths, counts, strict=True)]
    spans = [spans_of(own, tag_set.scheme) for own in tags]
    best: list[int] = [] if likeliest is None else likeliest.tolist()
    names: list[str | None] = [*(tag_set.labels[id] for id in best)] or [None] * len(tags)
    answers = [Answer(*one) for one in zip(tags, spans, names, strict=True)]
    if not confidence:
        return answers
    of_tags = marginals(chain, emissions, lengths).transpose(0, 1)  # (B, T, K)
    probabilities, second = _best_and_second(of_tags, found)
    of_spans = _span_probabilities(chain, emissions, lengths, spans, paths, tag_set)
    of_labels, second_labels = ([], []) if likeliest is None else _best_and_second(labels, likeliest)
    return [
        answer._replace(
            probabilities=probabilities[row][:count],
            span_probabilities=of_spans[row],
            second=second[row][:count],
            label_probability=of_labels[row] if best else None,
            second_label=second_labels[row] if best else None,
        )
        for row, (answer, count) in enumerate(zip(answers, counts, strict=True))
    ]


def _allowed(chain: Chain | None, emissions: Tensor, tag_set: TagSet) -> Chain:
    """The chain of well-formed sequences alone."""
    moves = Chain(*(torch.from_numpy(part).to(emissions.device) for part in tag_set.moves))
    if chain is None:
        chain = Chain(*(torch.zeros_like(part, dtype=emissions.dtype) for part in moves))
    return Chain(*(part.to(emissions.dtype) for part in chain)).masked(moves)


def _best_and_second(probabilities: Tensor, best: Tensor) -> tuple[Any, Any]:
    """Of probabilities (…, K) those of the best ids, (…), and of the others the likeliest, each `Ranked`; as nested
    lists. With one id alone there is no second: None.
    """
    own = probabilities.gather(-1, best[..., None]).squeeze(-1).tolist()
    if probabilities.shape[-1] < 2:
        return own, _mapped(lambda value: None, own)
    values, ids = probabilities.scatter(-1, best[..., None], -1.0).max(-1)
    return own, _mapped(Ranked, ids.tolist(), values.tolist())


def _mapped(function: Callable[..., Any], *lists: Any) -> Any:
    """A function of the entries of nested lists."""
    if not isinstance(lists[0], list):
        return function(*lists)
    return [_mapped(function, *parts) for parts in zip(*lists, strict=True)]


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
    own = [(row, span) for row, some in enumerate(spans) for span in some]
    forced = [
        (step, column, paths[row][step])
        for column, (row, span) in enumerate(own)
        for step in range(span.start, span.end)
    ]
    after = [
        (span.end, column, inside)
        for column, (row, span) in enumerate(own)
        for inside in tag_set.tag_ids([f"I-{span.type}"])
        if tag_set.scheme == "BIO" and span.end < int(lengths[row]) and inside >= 0
    ]
    allowed = torch.ones(len(emissions), len(own), emissions.shape[-1], dtype=torch.bool)  # (T, N, K)
    steps, columns, tags = map(list, zip(*forced, strict=True))
    allowed[steps, columns] = False
    allowed[steps, columns, tags] = True
    if after:
        allowed[tuple(map(list, zip(*after, strict=True)))] = False
    held = emissions[:, rows].masked_fill(~allowed.to(emissions.device), -torch.inf)
    index = torch.tensor(rows, device=lengths.device)
    logs = log_partition(chain, held, lengths[index]) - log_partition(chain, emissions, lengths)[index]
    shares = iter(logs.exp().clamp(0, 1).tolist())
    return [[next(shares) for _ in some] for some in spans]
