"""The distribution of a sentence's label and tags, and what is read from it, against every possibility by itself."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from gatework.data import Scheme, is_well_formed, spans_of
from gatework.layers.linear_chain import Chain, path_score
from gatework.tasks.tagger.decoding import decode
from gatework.tasks.tagger.network import Scores, TaggedBatch, log_sums, losses
from gatework.tasks.tagger.tag_set import TagSet
from gatework.tasks.words import TokenBatch
from tests.tolerances import GRADIENTS, TOTALS, assert_close, close_to


def random_tag_set(scheme: Scheme) -> TagSet:
    letters = {"BIO": "BI", "BIOES": "BIES", "plain": ""}[scheme]
    tags = ["O", *(f"{letter}-{kind}" for letter in letters for kind in "ab")] if letters else ["x", "y", "z"]
    return TagSet(tags=tuple(tags), labels=())


@pytest.mark.parametrize("crf", [True, False])
@pytest.mark.parametrize("scheme", ["BIO", "BIOES", "plain"])
def test_malformed_tags_never_come_out(scheme: Scheme, crf: bool) -> None:
    torch.manual_seed(0)
    tag_set = random_tag_set(scheme)
    count = len(tag_set.tags)
    for scale in (0.1, 3.0, 1e4):
        emissions, lengths = scale * torch.randn(7, 40, count), torch.randint(0, 8, (40,))
        chain = Chain(*(scale * torch.randn(shape) for shape in ((count, count), (count,), (count,))))
        scores = Scores(emissions, torch.zeros(40, 0), chain if crf else None)
        answers = decode(scores, lengths, tag_set, confidence=True)
        for answer, length in zip(answers, lengths.tolist(), strict=True):
            assert len(answer.tags) == length
            assert is_well_formed(answer.tags, scheme)
            assert np.isfinite([*(answer.probabilities or []), *(answer.span_probabilities or [])]).all()


@pytest.mark.parametrize("crf", [True, False])
@pytest.mark.parametrize("scheme", ["BIO", "BIOES"])
def test_probabilities_are_sums_over_well_formed_sequences(scheme: Scheme, crf: bool) -> None:
    torch.manual_seed(1)
    tag_set = random_tag_set(scheme)
    count, steps = len(tag_set.tags), 4
    emissions = torch.randn(steps, 6, count, dtype=torch.float64)
    chain = Chain(
        *(torch.randn(shape, dtype=torch.float64) for shape in ((count, count), (count,), (count,)))
    )
    scores = Scores(emissions, torch.zeros(6, 0), chain if crf else None)
    answers = decode(scores, torch.full((6,), steps), tag_set, confidence=True)
    paths = [
        path
        for path in itertools.product(range(count), repeat=steps)
        if is_well_formed([tag_set.tags[id] for id in path], scheme)
    ]
    for row, answer in enumerate(answers):
        values = torch.stack([emissions[range(steps), row, list(path)].sum() for path in paths])
        if crf:
            inner = [
                sum(chain.transitions[one, other] for one, other in itertools.pairwise(path))
                for path in paths
            ]
            ends = [chain.start[path[0]] + chain.end[path[-1]] for path in paths]
            values = values + torch.stack([one + other for one, other in zip(ends, inner, strict=True)])
        shares = values.softmax(0)
        named = [[tag_set.tags[id] for id in path] for path in paths]
        assert answer.tags == named[int(values.argmax())]
        for step in range(steps):
            sums = dict.fromkeys(tag_set.tags, 0.0)
            for names, share in zip(named, shares.tolist(), strict=True):
                sums[names[step]] += share
            assert answer.probabilities is not None
            assert answer.second is not None
            assert answer.probabilities[step] == close_to(
                sums.pop(answer.tags[step]), torch.float64, GRADIENTS
            )
            second = answer.second[step]
            assert second is not None
            assert second.probability == close_to(max(sums.values()), torch.float64, GRADIENTS)
        for span, probability in zip(answer.spans, answer.span_probabilities or [], strict=True):
            expected = sum(
                share
                for names, share in zip(named, shares.tolist(), strict=True)
                if span in spans_of(names, scheme)
            )
            assert probability == close_to(expected, torch.float64, GRADIENTS)


@pytest.mark.parametrize("crf", [True, False])
def test_a_label_has_the_probability_of_all_tags_with_it(crf: bool) -> None:
    """Against every pair of a label and a sequence of tags, each by itself."""
    torch.manual_seed(2)
    labels, count, steps = 3, 4, 3
    emissions, own, of_labels, *parts = (
        torch.randn(shape, dtype=torch.float64)
        for shape in ((steps, 1, count), (1, labels), (labels, count), (count, count), (count,), (count,))
    )
    chain = Chain(*parts) if crf else None
    nothing = Chain(*map(torch.zeros_like, parts))
    lengths = torch.tensor([steps])
    sums = log_sums(chain, emissions, of_labels, lengths)
    scores = Scores(emissions, own + sums, chain, of_labels)
    pairs = list(itertools.product(range(labels), itertools.product(range(count), repeat=steps)))
    logs = torch.stack(
        [
            own[0, label]
            + path_score(
                chain or nothing, emissions + of_labels[label], torch.tensor(path)[:, None], lengths
            )[0]
            for label, path in pairs
        ]
    ).log_softmax(0)
    none = torch.zeros(0, dtype=torch.int64)
    words = TokenBatch(none, lengths, none, none, none, none, none)
    for (label, path), log in zip(pairs, logs, strict=True):
        tags = torch.tensor(path)[:, None]
        batch = TaggedBatch(words, torch.zeros(steps, 1), None, None, tags, torch.tensor([label]))
        of_tags, of_label, _ = losses(scores, batch)
        assert_close(-(of_tags + of_label)[0], log, TOTALS)
