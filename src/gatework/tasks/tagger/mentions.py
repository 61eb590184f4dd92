"""More training sentences: spans with the words of other spans of their type (mention replacement)."""

from __future__ import annotations

import random
from collections.abc import Sequence

from gatework.data import Span, Tagging, spans_of, tags_of
from gatework.data.tag_schemes import Scheme
from gatework.tasks.example_task import Example

__all__ = ["replaced"]


def replaced(train: Sequence[Example], scheme: Scheme, copies: int, seed: int) -> list[Example]:
    """Copies of sentences in which each span has, with probability 1/2, the words of another one of its type.

    Dai & Adel, "An analysis of simple data augmentation for named entity recognition" (2020), section 3. The words are
    drawn from the different ones that the training data has for the type. A copy in which nothing was replaced is left
    out.

    Args:
        train: N examples, whose inputs are words and whose outputs are `Tagging`s.
        copies: of each.
        seed: of the draws.
    """
    draw = random.Random(seed)
    spans = [spans_of(each.output.tags, scheme) for each in train]
    mentions: dict[str, dict[tuple[str, ...], None]] = {}
    for each, own in zip(train, spans, strict=True):
        for span in own:
            mentions.setdefault(span.type, {})[tuple(each.input[span.start : span.end])] = None
    choices = {kind: list(words) for kind, words in mentions.items()}
    made = []
    for _ in range(copies):
        for each, own in zip(train, spans, strict=True):
            changed = _changed(each.input, own, choices, draw)
            if changed is not None:
                words, placed = changed
                tags = tuple(tags_of(placed, len(words), scheme))
                made.append(Example(each.where, words, Tagging(tags, each.output.label)))
    return made


def _changed(
    words: Sequence[str],
    spans: Sequence[Span],
    choices: dict[str, list[tuple[str, ...]]],
    draw: random.Random,
) -> tuple[list[str], list[Span]] | None:
    """The words with some spans' words drawn anew, and where the spans then stand; None where none was."""
    new: list[str] = []
    placed: list[Span] = []
    end, changed = 0, False
    for span in spans:
        new += words[end : span.start]
        own: Sequence[str] = words[span.start : span.end]
        if draw.random() < 0.5:
            own = draw.choice(choices[span.type])
            changed = True
        placed.append(Span(len(new), len(new) + len(own), span.type))
        new += own
        end = span.end
    return ([*new, *words[end:]], placed) if changed else None
