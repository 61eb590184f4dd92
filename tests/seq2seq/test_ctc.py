"""CTC's probability, its gradient, the prefix search and the alignment beside all paths, counted one by one."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch

from gatework.seq2seq import (
    BLANK,
    CtcDecoder,
    PrefixSearch,
    SumScorer,
    WeightedDecoders,
    align,
    annealed_ctc,
    beam_search,
    ctc_log_probability,
    greedy_labels,
    least_frames,
    prefix_search,
)
from tests.tolerances import GRADIENTS, TOTALS, assert_close, close_to

FRAMES, VOCABULARY = 6, 3
EVERY = 1000  # more label sequences than there are


def log_probabilities(seed: int, frames: int = FRAMES, vocabulary: int = VOCABULARY) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(frames, vocabulary, generator=generator, dtype=torch.float64).mul(2).log_softmax(-1)


def collapsed(path) -> tuple[int, ...]:
    """The label sequence of a path."""
    return tuple(label for label, _ in itertools.groupby(path) if label != BLANK)


def every_sequence(table: torch.Tensor) -> dict[tuple[int, ...], torch.Tensor]:
    """The log-probability of each label sequence that has a path."""
    paths: dict[tuple[int, ...], list[torch.Tensor]] = {}
    frames, vocabulary = table.shape
    for path in itertools.product(range(vocabulary), repeat=frames):
        paths.setdefault(collapsed(path), []).append(table[torch.arange(frames), list(path)].sum())
    return {labels: torch.stack(totals).logsumexp(0) for labels, totals in paths.items()}


def likeliest_path(table: torch.Tensor, labels: tuple[int, ...]) -> tuple[int, ...]:
    frames, vocabulary = table.shape
    paths = [
        path for path in itertools.product(range(vocabulary), repeat=frames) if collapsed(path) == labels
    ]
    return max(paths, key=lambda path: table[torch.arange(frames), list(path)].sum().item())


@pytest.mark.parametrize("labels", [(), (1,), (1, 1), (2, 1, 2), (2, 2, 1, 1), (1, 2, 1, 2, 1, 2)])
def test_the_loss_and_its_gradient_are_those_of_all_paths(labels: tuple[int, ...]) -> None:
    scores = log_probabilities(len(labels)).requires_grad_()
    expected = every_sequence(scores.log_softmax(-1))[labels]
    (wanted,) = torch.autograd.grad(expected, scores)
    padded = torch.tensor(
        [[*labels, *[1] * (7 - len(labels))]]
    )  # what stands past the row's labels says nothing
    longer = torch.cat([scores, torch.full((2, VOCABULARY), 3.0, dtype=scores.dtype)])  # nor past its frames
    got = ctc_log_probability(
        longer.log_softmax(-1)[:, None], torch.tensor([FRAMES]), padded, torch.tensor([len(labels)])
    )
    (gradient,) = torch.autograd.grad(got.sum(), scores)
    assert_close(got, expected[None], TOTALS)
    assert_close(gradient, wanted, GRADIENTS)


@pytest.mark.parametrize("sharpness", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("labels", [(), (1,), (2, 1), (1, 1)])
def test_an_annealed_loss_is_the_mean_of_all_paths(labels: tuple[int, ...], sharpness: float) -> None:
    """Each path weighted by its probability to the power of the sharpness, in rows of unequal lengths."""
    scores = log_probabilities(7).requires_grad_()
    paths = [
        path for path in itertools.product(range(VOCABULARY), repeat=FRAMES) if collapsed(path) == labels
    ]
    each = torch.stack([scores[torch.arange(FRAMES), list(path)].sum() for path in paths])
    expected = ((sharpness * each.detach()).softmax(0) * each).sum()
    (wanted,) = torch.autograd.grad(expected, scores)
    table = torch.stack([scores, torch.full_like(scores, -1.0)], 1)
    table = torch.cat([table, torch.full((2, 2, VOCABULARY), -torch.inf, dtype=scores.dtype)])
    padded = torch.tensor([[*labels, *[1] * (7 - len(labels))], [1] * 7])
    # Row 1 has more labels than its 3 frames hold.
    given = (torch.tensor([FRAMES, 3]), padded, torch.tensor([len(labels), 7]))
    got = annealed_ctc(table, *given, torch.tensor(sharpness, dtype=scores.dtype))
    (gradient,) = torch.autograd.grad(got.sum(), scores)
    assert_close(got, torch.stack([expected, torch.zeros_like(expected)]), TOTALS)
    assert_close(gradient, wanted, GRADIENTS)


def test_labels_that_the_frames_do_not_hold_have_no_probability() -> None:
    table = log_probabilities(0, frames=3)
    for labels, least in (((1, 2, 1), 3), ((1, 1), 3), ((1, 1, 1), 5), ((), 0)):
        assert least_frames(labels) == least
        assert (labels in every_sequence(table)) == (least <= 3)
    got = ctc_log_probability(table[:, None], torch.tensor([3]), torch.tensor([[1, 1, 1]]), torch.tensor([3]))
    assert got.item() == -math.inf
    with pytest.raises(ValueError, match="3 labels need 5 frames, and there are 3"):
        align(table.numpy(), [1, 1, 1])


@pytest.mark.parametrize("seed", range(4))
def test_a_wide_prefix_search_finds_every_sequence_and_its_probability(seed: int) -> None:
    table = log_probabilities(seed)
    expected = every_sequence(table)
    found = prefix_search(table.numpy(), EVERY, floor=-math.inf)
    assert {one.labels for one in found} == expected.keys()
    for one in found:
        assert one.log_probability == one.score == close_to(expected[one.labels].item(), torch.float64)
    assert [one.score for one in found] == sorted((one.score for one in found), reverse=True)


def test_a_narrow_prefix_search_is_at_least_as_good_as_the_greedy_one() -> None:
    better = 0
    for seed in range(30):
        table = log_probabilities(seed)
        expected = every_sequence(table)
        greedy = expected[tuple(greedy_labels(table.numpy()))].item()
        best = expected[prefix_search(table.numpy(), 3)[0].labels].item()
        assert best >= greedy
        better += best > greedy
    assert better > 3


def test_the_greedy_sequence_is_that_of_the_likeliest_path() -> None:
    for seed in range(5):
        table = log_probabilities(seed)
        assert tuple(greedy_labels(table.numpy())) == collapsed(table.argmax(1).tolist())
    assert greedy_labels(np.zeros((0, 3))) == []


@pytest.mark.parametrize("labels", [(1,), (1, 1), (2, 1), (1, 2, 2), (2, 1, 2)])
def test_the_alignment_is_the_likeliest_path(labels: tuple[int, ...]) -> None:
    for seed in range(4):
        table = log_probabilities(seed)
        path = likeliest_path(table, labels)
        found = align(table.numpy(), labels)
        assert tuple(one.label for one in found) == labels
        drawn = [BLANK] * FRAMES
        for one in found:
            frames = list(range(one.start, one.end))
            for frame in frames:
                drawn[frame] = one.label
            mean = table[frames, one.label].mean().exp().item()
            assert one.confidence == close_to(mean, torch.float64)
        assert tuple(drawn) == path
    assert align(table.numpy(), []) == []


class Pairs:
    """A scorer that likes some pairs of neighbours, and allows no sequence that begins with 2."""

    def __init__(self, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.table = torch.randn(VOCABULARY, VOCABULARY, generator=generator, dtype=torch.float64).tolist()

    def start(self):
        return BLANK

    def extend(self, state, label):
        return (-math.inf if (state, label) == (BLANK, 2) else self.table[state][label]), label

    def finish(self, state):
        return self.table[state][BLANK]

    def total(self, labels) -> float:
        added = sum(self.table[one][other] for one, other in itertools.pairwise((BLANK, *labels, BLANK)))
        return -math.inf if labels[:1] == (2,) else added


def test_a_long_sequence_is_aligned() -> None:
    labels = [1 + place % 3 for place in range(200)]  # 401 states, more than a byte counts
    table = np.full((400, 4), np.log(0.1))
    for place, label in enumerate(labels):
        table[2 * place, label] = table[2 * place + 1, BLANK] = np.log(0.7)
    assert [each.start for each in align(table, labels)] == list(range(0, 400, 2))


def test_a_scorer_adds_to_each_sequence() -> None:
    table = log_probabilities(7)
    one, other = Pairs(1), Pairs(2)
    both = SumScorer([one, other])
    expected = {
        labels: total.item() + one.total(labels) + other.total(labels)
        for labels, total in every_sequence(table).items()
        if labels[:1] != (2,)
    }
    found = prefix_search(table.numpy(), EVERY, both, floor=-math.inf)
    assert {one.labels for one in found} == expected.keys()
    for hypothesis in found:
        assert hypothesis.score == close_to(expected[hypothesis.labels], torch.float64)


def test_frames_may_come_in_pieces_and_from_a_kept_state() -> None:
    table = log_probabilities(3, frames=200, vocabulary=5).numpy()
    whole = PrefixSearch(8, Pairs5())
    whole.accept(table)
    parts = PrefixSearch(8, Pairs5())
    for begin, end in itertools.pairwise([0, 1, 64, 64, 130, 200]):
        kept = parts.state()
        parts = PrefixSearch(8, Pairs5())
        parts.restore(kept)
        parts.accept(table[begin:end])
    expected = whole.hypotheses()
    assert len(expected) == 8
    for got, wanted in zip(parts.hypotheses(), expected, strict=True):
        assert got.labels == wanted.labels
        assert got.score == close_to(wanted.score, torch.float64)
    unfinished = {one.labels: one.score for one in whole.hypotheses(ended=False)}
    for one in expected:
        assert one.score == close_to(unfinished[one.labels] - 0.1 * one.labels[-1], torch.float64)


class Pairs5:
    def start(self):
        return 0

    def extend(self, state, label):
        return 0.3 * ((state * 3 + label) % 4), label

    def finish(self, state):
        return -0.1 * state


def test_memory_does_not_grow_with_the_frames() -> None:
    table = np.log(np.full((640, 4), 0.25))
    table[:, BLANK] = np.log(0.97)
    table[:, 1:] = np.log(0.01)
    search = PrefixSearch(4)
    search.accept(table)
    nodes, waiting = 0, [search._beam[0]]
    while waiting[0].before is not None:
        waiting[0] = waiting[0].before
    while waiting:
        node = waiting.pop()
        nodes += 1
        waiting.extend(longer for longer in node.following.values() if longer is not None)
    assert nodes < 100


def test_a_search_keeps_one_sequence_at_least() -> None:
    with pytest.raises(ValueError, match="width=0"):
        PrefixSearch(0)
    assert prefix_search(np.zeros((0, 3)), 2)[0].labels == ()


# CTC as a decoder of the one search


@pytest.mark.parametrize("seed", range(3))
def test_the_one_search_finds_every_sequence_and_its_probability(seed: int) -> None:
    table = log_probabilities(seed, frames=5)
    expected = every_sequence(table)
    decoder = CtcDecoder(table)
    (found,) = beam_search(
        decoder, torch.tensor([0]), decoder.start(), length=8, beam=400, alternatives=400, ends={BLANK}
    )
    ended = {one.tokens[:-1]: one.log_probability for one in found if one.tokens and one.tokens[-1] == BLANK}
    assert ended.keys() == expected.keys()
    for labels, total in ended.items():
        assert total == close_to(expected[labels].item(), torch.float64)


def test_what_follows_a_sequence_is_a_distribution_and_rows_may_be_reordered() -> None:
    decoder = CtcDecoder(log_probabilities(4, frames=7, vocabulary=4))
    first, state = decoder.step(torch.tensor([0]), decoder.start())
    for labels in ([1, 2, 3], [2, 2, 1], [3, 3, 3]):
        state = decoder.reorder(
            state, torch.tensor([0, 0, 0]) if len(state.last) == 1 else torch.tensor([2, 0, 1])
        )
        found, state = decoder.step(torch.tensor(labels), state)
        assert_close(found.exp().sum(1), torch.ones(3, dtype=torch.float64), TOTALS)
    assert_close(first.exp().sum(1), torch.ones(1, dtype=torch.float64), TOTALS)
    # rows: [1, 2, 3] -> reordered [2, 0, 1] = [3, 1, 2] reads [2, 2, 1] -> [2, 0, 1] = [1, 2, 2] reads [3, 3, 3]
    assert state.last.tolist() == [3, 3, 3]
    again = decoder.start()
    for label in (0, 2, 1, 3):
        expected, again = decoder.step(torch.tensor([label]), again)
    assert_close(found[:1], expected, TOTALS)


def test_decoders_are_added_by_their_weights() -> None:
    one, other = (CtcDecoder(log_probabilities(seed)) for seed in (1, 2))
    both = WeightedDecoders([one, other], [0.75, 0.25])
    tokens = torch.tensor([0])
    found, state = both.step(tokens, (one.start(), other.start()))
    expected = 0.75 * one.step(tokens, one.start())[0] + 0.25 * other.step(tokens, other.start())[0]
    assert_close(found, expected, TOTALS)
    assert len(both.reorder(state, torch.tensor([0, 0]))[1].last) == 2
    with pytest.raises(ValueError, match="1 decoders have 2 weights"):
        WeightedDecoders([one], [0.5, 0.5])
