"""The n-gram baseline of language models: interpolated modified Kneser-Ney smoothing.

Chen & Goodman, "An empirical study of smoothing techniques for language modeling" (TR-10-98, Harvard, 1998),
section 3; the lower orders are those of Kneser & Ney (1995). With h a history of k - 1 tokens, h' the same
without its first, and c_k the counts below,

    p_k(w | h) = max(c_k(h w) - D_k(c_k(h w)), 0) / c_k(h .) + g_k(h) p_{k-1}(w | h'),
    g_k(h) = (D_k(1) N_1(h .) + D_k(2) N_2(h .) + D_k(3) N_3+(h .)) / c_k(h .),
    p_0(w) = 1 / V,

and p_k(w | h) = p_{k-1}(w | h') where h was never seen. N_j(h .) is the number of tokens w with c_k(h w) = j,
N_3+ with 3 or more, and c_k(h .) the sum over w. In the highest order c_k counts occurrences; below it, it
counts how many different tokens stand before: c_k(u) = |{v : v u was seen}|. The discounts of an order follow
from n_j, its number of k-grams with count j:

    Y = n_1 / (n_1 + 2 n_2),
    D(1) = 1 - 2 Y n_2 / n_1,  D(2) = 2 - 3 Y n_3 / n_2,  D(3 and more) = 3 - 4 Y n_4 / n_3.

Where an n_j is 0 or a discount leaves (0, j] they are not defined (the 65 characters of a small text, say),
and D = (1/2, 1, 3/2) are taken. Every discount is above zero, so every token has a probability above zero.

Everything is arrays: a k-gram is a number, its key (number of its first k - 1 tokens) * V + last token, and
its number is the place of that key in the order's sorted keys. So keys of any order fit 64 bits.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ..errors import InputError

FALLBACK_DISCOUNTS = (0.5, 1.0, 1.5)
_PIECE = 1 << 20  # tokens scored at a time

Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


class _Order(NamedTuple):
    """The k-grams that were seen, G of them."""

    keys: Integers  # (G,) sorted
    probabilities: Floats  # (G,) p_k(last | others)
    backoff: Floats  # (number of (k-1)-grams,) g_k by history; 1 where the history was never followed


class NGramModel:
    """An n-gram model over token ids: the figure beside a language model's.

    Memory while fitting is at most about 40 bytes per token of text and order; afterwards at most 24.

    Args:
        order: n, the longest n-gram; histories have up to n - 1 tokens.
        longest_text: of a text with more tokens only the last so many are counted, so that memory is bounded.

    Attributes:
        vocabulary_size_: V, after `fit`.
        counted_: the tokens of the text that were counted, after `fit`.
        discounts_: (order, 3), D_k(1), D_k(2), D_k(3 and more), after `fit`.
    """

    def __init__(self, order: int, *, longest_text: int = 1 << 23) -> None:
        if order < 1:
            raise InputError("n-gram baseline", f"order is {order}", "Give at least 1")
        self.order = order
        self.longest_text = longest_text

    def fit(self, tokens: Any, vocabulary_size: int) -> NGramModel:
        """Count a text.

        Args:
            tokens: (N,) ids, an array, a sequence or a token stream; N at least 1.
            vocabulary_size: V; every id is below it.

        Raises:
            InputError: no tokens, or an id out of range.
        """
        text = _ids(tokens[max(len(tokens) - self.longest_text, 0) :], vocabulary_size)
        if not len(text):
            raise InputError("n-gram baseline", "the text has no tokens", "Give a longer text")
        self.vocabulary_size_ = vocabulary_size
        self.counted_ = len(text)
        keys = [np.arange(vocabulary_size)]
        # suffixes[k] gives, for each (k+1)-gram, the number of the k-gram that is left without its first
        # token.
        suffixes = [np.zeros(vocabulary_size, np.int64)]
        ending = text  # the number of the k-gram that ends at each token from the k-th on
        counts = np.bincount(text, minlength=vocabulary_size)
        for _ in range(2, self.order + 1):
            if len(ending) < 2:
                break
            shorter = ending[1:]
            wide = ending[:-1] * vocabulary_size + text[len(text) - len(shorter) :]
            unique, ending, counts = np.unique(wide, return_inverse=True, return_counts=True)
            suffix = np.empty(len(unique), np.int64)
            suffix[ending] = shorter
            keys.append(unique)
            suffixes.append(suffix)
        self._orders: list[_Order] = []
        discounts = []
        lower = np.array([1 / vocabulary_size])  # p_0, of the one empty gram
        for k, order_keys in enumerate(keys, start=1):
            highest = k == len(keys)
            seen = counts if highest else np.bincount(suffixes[k], minlength=len(order_keys))
            order, discount = _smooth(order_keys, seen, suffixes[k - 1], lower, vocabulary_size)
            self._orders.append(order)
            discounts.append(discount)
            lower = order.probabilities
        self.discounts_ = np.array(discounts)
        return self

    def log_probabilities(self, tokens: Any) -> Floats:
        """(N,) natural logarithms of p(token | the up to n - 1 tokens before it in this text).

        The first token has no history, the second a history of one, and so on.

        Raises:
            InputError: an id out of range.
        """
        return np.concatenate([np.empty(0), *self._scores(tokens)])

    def nll(self, tokens: Any) -> float:
        """Mean negative log-likelihood, in nats a token, each token scored once.

        Raises:
            InputError: no tokens, or an id out of range.
        """
        if not len(tokens):
            raise InputError("n-gram baseline", "there are no tokens to score", "Give a longer text")
        return -sum(float(scores.sum()) for scores in self._scores(tokens)) / len(tokens)

    def to_arrays(self) -> dict[str, npt.NDArray[Any]]:
        """All that was learned, as arrays to keep (probabilities in float32)."""
        arrays: dict[str, npt.NDArray[Any]] = {
            "sizes": np.array([self.vocabulary_size_, self.counted_]),
            "discounts": self.discounts_,
        }
        for k, order in enumerate(self._orders, start=1):
            arrays[f"keys.{k}"] = order.keys
            arrays[f"probabilities.{k}"] = order.probabilities.astype(np.float32)
            arrays[f"backoff.{k}"] = order.backoff.astype(np.float32)
        return arrays

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]], where: str = "baseline") -> NGramModel:
        """The model that `to_arrays` gave.

        Raises:
            InputError: the arrays do not make a model; `where` names their file.
        """
        fix = "Take the file of a finished run"
        try:
            model = cls(len(arrays["discounts"]))
            model.vocabulary_size_, model.counted_ = (int(size) for size in arrays["sizes"])
            model.discounts_ = np.asarray(arrays["discounts"], np.float64)
            model._orders = [
                _Order(
                    np.asarray(arrays[f"keys.{k}"]),
                    np.asarray(arrays[f"probabilities.{k}"], np.float64),
                    np.asarray(arrays[f"backoff.{k}"], np.float64),
                )
                for k in range(1, model.order + 1)
            ]
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(where, f"lacks a part of the n-gram model ({error})", fix) from error
        histories = 1
        for k, order in enumerate(model._orders, start=1):
            legal = (
                order.keys.dtype == np.int64
                and order.keys.ndim == 1
                and len(order.keys) > 0
                and bool((np.diff(order.keys) > 0).all())
                and order.keys[0] >= 0
                and order.keys[-1] < histories * model.vocabulary_size_
                and (k > 1 or len(order.keys) == model.vocabulary_size_)
                and order.probabilities.shape == order.keys.shape
                and order.backoff.shape == (histories,)
                and bool(((order.probabilities > 0) & (order.probabilities <= 1)).all())
                and bool(((order.backoff > 0) & (order.backoff <= 1)).all())
            )
            if not legal:
                raise InputError(where, f"its {k}-grams are damaged", fix)
            histories = len(order.keys)
        return model

    def _scores(self, tokens: Any) -> Iterator[Floats]:
        """The log-probabilities piece by piece; each piece is read with the history before it."""
        before = len(self._orders) - 1
        for begin in range(0, len(tokens), _PIECE):
            start = max(begin - before, 0)
            text = _ids(tokens[start : begin + _PIECE], self.vocabulary_size_)
            yield np.log(self._probabilities(text))[begin - start :]

    def _probabilities(self, text: Integers) -> Floats:
        """(N,) p(token | history) of one piece of text, whose first token has no history."""
        probabilities = np.full(len(text), 1 / self.vocabulary_size_)  # p_0
        histories = np.zeros(len(text), np.int64)  # the number of the (k-1)-gram before each token, or -1
        for k, order in enumerate(self._orders, start=1):
            if len(text) < k:
                break
            known = np.flatnonzero(histories >= 0)
            keys = histories[known] * self.vocabulary_size_ + text[k - 1 :][known]
            places = np.minimum(np.searchsorted(order.keys, keys), len(order.keys) - 1)
            seen = order.keys[places] == keys
            scored = probabilities[k - 1 :]
            scored[known] *= order.backoff[histories[known]]
            scored[known[seen]] = order.probabilities[places[seen]]
            grams = np.full(len(histories), -1)
            grams[known[seen]] = places[seen]
            histories = grams[:-1]
        return probabilities


def _smooth(
    keys: Integers, counts: Integers, suffixes: Integers, lower: Floats, vocabulary_size: int
) -> tuple[_Order, Floats]:
    """One order from its counts (G,), the lower grams' numbers (G,) and all of the lower order's
    probabilities.
    """
    discount = _discounts(counts)
    histories = keys // vocabulary_size
    number = len(lower)
    total = np.bincount(histories, counts, number)
    left = np.zeros(number)
    for j in (1, 2, 3):
        has = counts == j if j < 3 else counts >= 3
        left += discount[j - 1] * np.bincount(histories[has], minlength=number)
    followed = total > 0
    backoff = np.divide(left, total, out=np.ones(number), where=followed)
    taken = np.concatenate([[0.0], discount])[np.minimum(counts, 3)]
    # A gram that stands only at the very start has nothing before it and counts 0: all of it is lower-order.
    own = np.divide(counts - taken, total[histories], out=np.zeros(len(keys)), where=followed[histories])
    return _Order(keys, own + backoff[histories] * lower[suffixes], backoff), discount


def _discounts(counts: Integers) -> Floats:
    """D(1), D(2), D(3 and more) from the counts of one order."""
    n1, n2, n3, n4 = (int(np.count_nonzero(counts == j)) for j in (1, 2, 3, 4))
    if 0 in (n1, n2, n3, n4):
        return np.array(FALLBACK_DISCOUNTS)
    y = n1 / (n1 + 2 * n2)
    discounts = np.array([1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3])
    legal = (discounts > 0).all() and (discounts <= [1, 2, 3]).all()
    return discounts if legal else np.array(FALLBACK_DISCOUNTS)


def _ids(tokens: Any, vocabulary_size: int) -> Integers:
    text = np.asarray(tokens, dtype=np.int64)
    if text.ndim != 1:
        raise InputError("n-gram baseline", f"the tokens have {text.ndim} dimensions", "Give a flat array")
    if len(text) and not (text.min() >= 0 and text.max() < vocabulary_size):
        what = f"a token id is outside 0 … {vocabulary_size - 1} (they run from {text.min()} to {text.max()})"
        raise InputError("n-gram baseline", what, "Encode the text with the model's own tokenizer")
    return text
