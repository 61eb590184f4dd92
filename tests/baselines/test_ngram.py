"""The n-gram baseline against a slow one of dictionaries, written from the same equations in another way."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gatework.baselines import ngram
from gatework.baselines.ngram import FALLBACK_DISCOUNTS, NGramModel
from gatework.data import Tokenizer, TokenStream, read_texts
from gatework.errors import InputError
from tests.tolerances import ROUNDING, TOTALS, VALUES, close_to


class SlowNGrams:
    """Interpolated modified Kneser-Ney, one n-gram at a time."""

    def __init__(self, order: int, text: Sequence[int], size: int) -> None:
        self.size = size
        self.order = min(order, len(text))
        raw = [
            Counter(tuple(text[i : i + k]) for i in range(len(text) - k + 1)) for k in range(self.order + 1)
        ]
        self.counts: list[Counter[tuple[int, ...]]] = [Counter()]
        for k in range(1, self.order + 1):
            if k == self.order:
                self.counts.append(raw[k])
            else:
                before: dict[tuple[int, ...], set[int]] = defaultdict(set)
                for gram in raw[k + 1]:
                    before[gram[1:]].add(gram[0])
                self.counts.append(Counter({gram: len(tokens) for gram, tokens in before.items()}))
        self.discounts = [self.discount(counts) for counts in self.counts]

    @staticmethod
    def discount(counts: Counter[tuple[int, ...]]) -> tuple[float, ...]:
        n = Counter(counts.values())
        if not (n[1] and n[2] and n[3] and n[4]):
            return FALLBACK_DISCOUNTS
        y = n[1] / (n[1] + 2 * n[2])
        found = tuple(j - (j + 1) * y * n[j + 1] / n[j] for j in (1, 2, 3))
        return found if all(0 < d <= j for j, d in enumerate(found, start=1)) else FALLBACK_DISCOUNTS

    def probability(self, token: int, history: tuple[int, ...]) -> float:
        lower = self.probability(token, history[1:]) if history else 1 / self.size
        k = len(history) + 1
        counts = self.counts[k]
        followers = [count for gram, count in counts.items() if gram[:-1] == history]
        if not followers:
            return lower
        discount = (0.0, *self.discounts[k])
        total = sum(followers)
        own = counts[(*history, token)]
        freed = sum(discount[min(count, 3)] for count in followers)
        return (own - discount[min(own, 3)]) / total + freed / total * lower

    def log_probabilities(self, text: Sequence[int]) -> list[float]:
        longest = self.order - 1
        return [
            math.log(self.probability(text[i], tuple(text[max(i - longest, 0) : i])))
            for i in range(len(text))
        ]


def zipf(count: int, size: int, seed: int = 0) -> np.ndarray:
    """A text with rare and frequent tokens, and some order in it."""
    draws = np.random.default_rng(seed).zipf(1.4, count) - 1
    return np.minimum(draws + np.roll(draws, 1) % 3, size - 1)


TEXTS = st.integers(1, 5).flatmap(
    lambda size: st.tuples(
        st.just(size),
        st.lists(st.integers(0, size - 1), min_size=1, max_size=60),
        st.lists(st.integers(0, size - 1), max_size=20),
    )
)


@given(order=st.integers(1, 5), texts=TEXTS)
def test_equals_the_slow_one(order: int, texts: tuple[int, list[int], list[int]]) -> None:
    size, text, other = texts
    model = NGramModel(order).fit(text, size)
    slow = SlowNGrams(order, text, size)
    for tokens in (text, other):
        np.testing.assert_allclose(
            model.log_probabilities(tokens),
            slow.log_probabilities(tokens),
            rtol=VALUES[torch.float64].relative,
        )


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_equals_the_slow_one_where_discounts_are_estimated(order: int) -> None:
    text, other = zipf(600, 60), zipf(60, 60, seed=1)
    model = NGramModel(order).fit(text, 60)
    slow = SlowNGrams(order, text.tolist(), 60)
    np.testing.assert_allclose(model.discounts_, slow.discounts[1:], rtol=ROUNDING[torch.float64].relative)
    assert any(not np.allclose(discount, FALLBACK_DISCOUNTS) for discount in model.discounts_)
    np.testing.assert_allclose(
        model.log_probabilities(other),
        slow.log_probabilities(other.tolist()),
        rtol=VALUES[torch.float64].relative,
    )


def test_a_planted_fault_is_seen() -> None:
    text = zipf(600, 60)
    model = NGramModel(3).fit(text, 60)
    right = SlowNGrams(3, text.tolist(), 60)
    wrong = SlowNGrams(3, text.tolist(), 60)
    wrong.counts[2] = Counter(
        zip(text.tolist(), text[1:].tolist(), strict=False)
    )  # occurrences below the top
    np.testing.assert_allclose(
        model.log_probabilities(text[:50]), right.log_probabilities(text[:50].tolist())
    )
    assert not np.allclose(model.log_probabilities(text[:50]), wrong.log_probabilities(text[:50].tolist()))


@pytest.mark.parametrize("order", [1, 2, 3, 5])
def test_probabilities_sum_to_one(order: int) -> None:
    size = 30  # ids 20 … 29 never occur
    text = zipf(400, 20)
    model = NGramModel(order).fit(text, size)
    histories = [text[i : i + length] for i in (0, 5, 17) for length in range(6)]
    histories += [np.array([25, 3]), np.array([3, 25]), np.array([19, 18, 19, 18, 19])]
    for history in histories:
        logs = [model.log_probabilities([*history, token])[-1] for token in range(size)]
        assert np.exp(logs).sum() == close_to(1, torch.float64)
        assert np.exp(logs).min() > 0


def test_only_the_last_tokens_of_the_history_matter() -> None:
    text = zipf(400, 20)
    model = NGramModel(3).fit(text, 20)
    scores = model.log_probabilities(text)
    assert np.array_equal(model.log_probabilities(text[100:])[2:], scores[102:])
    assert not np.array_equal(model.log_probabilities(text[100:])[:2], scores[100:102])


def test_scoring_in_pieces_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    text = zipf(500, 20)
    model = NGramModel(4).fit(text, 20)
    whole = model.log_probabilities(text)
    for piece in (1, 2, 3, 7, 499, 500):
        monkeypatch.setattr(ngram, "_PIECE", piece)
        assert np.array_equal(model.log_probabilities(text), whole)
        assert math.isclose(model.nll(text), -whole.mean())


def test_a_longer_history_helps_a_text_with_order_in_it() -> None:
    text = np.tile([0, 1, 0, 2, 0, 3], 100)
    losses = [NGramModel(order).fit(text, 4).nll(text) for order in (1, 2, 3)]
    assert losses[0] > losses[1] > losses[2]
    assert losses[2] < 0.1
    assert 1.04 < losses[0] < 1.73  # around log 4: a token's kinds of neighbours, not how often it is


def test_only_the_end_of_a_very_long_text_is_counted() -> None:
    text = zipf(500, 20)
    model = NGramModel(3, longest_text=100).fit(text, 20)
    assert model.counted_ == 100
    assert np.array_equal(
        model.log_probabilities(text), NGramModel(3).fit(text[-100:], 20).log_probabilities(text)
    )


def test_a_stream_is_read_as_it_is() -> None:
    text = zipf(300, 20)
    stream = TokenStream.of_ids(text, 300, 20)
    assert NGramModel(3).fit(stream, 20).nll(stream) == NGramModel(3).fit(text.tolist(), 20).nll(text)


@pytest.mark.parametrize("count", [1, 2, 3, 500])
def test_kept_as_arrays(count: int) -> None:
    text = zipf(count, 20)
    model = NGramModel(3).fit(text, 20)
    again = NGramModel.from_arrays(model.to_arrays())
    other = zipf(100, 20, seed=2)
    np.testing.assert_allclose(
        again.log_probabilities(other), model.log_probabilities(other), *TOTALS[torch.float32]
    )
    assert again.counted_ == count
    assert again.to_arrays().keys() == model.to_arrays().keys()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda arrays: arrays.pop("keys.2"), "lacks a part of the n-gram model"),
        (lambda arrays: arrays.pop("sizes"), "lacks a part of the n-gram model"),
        (lambda arrays: arrays["keys.2"].__setitem__(0, 10**6), "its 2-grams are damaged"),
        (lambda arrays: arrays["keys.3"].__setitem__(-1, 10**6), "its 3-grams are damaged"),
        (lambda arrays: arrays["backoff.2"].__setitem__(0, np.nan), "its 2-grams are damaged"),
        (lambda arrays: arrays["probabilities.1"].__setitem__(0, 0), "its 1-grams are damaged"),
        (lambda arrays: arrays.update({"backoff.3": np.ones(3)}), "its 3-grams are damaged"),
        (lambda arrays: arrays.update({"keys.1": np.arange(19)}), "its 1-grams are damaged"),
    ],
)
def test_damaged_arrays_are_refused(change: Callable[[dict[str, Any]], object], message: str) -> None:
    arrays = {name: array.copy() for name, array in NGramModel(3).fit(zipf(500, 20), 20).to_arrays().items()}
    NGramModel.from_arrays(arrays)
    change(arrays)
    with pytest.raises(InputError, match=message) as caught:
        NGramModel.from_arrays(arrays, "run/baseline.safetensors")
    assert str(caught.value).startswith("run/baseline.safetensors: ")


def test_faults() -> None:
    with pytest.raises(InputError, match="order is 0"):
        NGramModel(0)
    with pytest.raises(InputError, match="the text has no tokens"):
        NGramModel(2).fit([], 5)
    with pytest.raises(InputError, match=r"a token id is outside 0 … 4 \(they run from 0 to 5\)"):
        NGramModel(2).fit([0, 5], 5)
    model = NGramModel(2).fit([0, 1], 5)
    with pytest.raises(InputError, match=r"a token id is outside 0 … 4 \(they run from -1 to 0\)"):
        model.nll([0, -1])
    with pytest.raises(InputError, match="there are no tokens to score"):
        model.nll([])
    with pytest.raises(InputError, match="the tokens have 2 dimensions"):
        model.nll([[0, 1]])
    assert len(model.log_probabilities([])) == 0


def test_tiny_shakespeare(shared_data: Callable[[str], Path]) -> None:
    """A sanity bound: six characters of history give 1.52 nats; the entropy of single ones is 3.35."""
    path = shared_data("language_modelling/tinyshakespeare") / "input.txt.gz"
    text = "".join(read_texts(path))
    tokenizer = Tokenizer.train("character", [text])
    ids = np.array(tokenizer.encode(text))
    cut = int(len(ids) * 0.9)
    loss = NGramModel(6).fit(ids[:cut], tokenizer.vocabulary_size).nll(ids[cut:])
    assert 1.521 < loss < 1.525
