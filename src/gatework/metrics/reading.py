"""Exact match and F1 of answers, as the official evaluation of SQuAD has them (Rajpurkar et al. 2016, section 6.1).

Both texts are brought to lower case; ASCII punctuation and the articles a, an, the are taken out, and white space is
one space. Exact match says whether the rest is equal. F1 is of the two bags of words: 2 P R / (P + R), P being the
share of the answer's words that the reference has, R that of the reference's that the answer has. Of several references
the best counts. An answer or a reference without words, which says that there is no answer (Rajpurkar et al. 2018), is
right only where the other one has none either.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["answer_scores", "exact_match", "normalized_answer", "reading_figures", "word_f1"]

_PUNCTUATION = str.maketrans("", "", string.punctuation)
_ARTICLE = re.compile(r"\b(?:a|an|the)\b")

Array = npt.NDArray[Any]


def normalized_answer(text: str) -> str:
    """An answer as it is compared; see the module."""
    return " ".join(_ARTICLE.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def exact_match(answer: str, references: Sequence[str]) -> float:
    """1 where the answer is one of the references, else 0; no references: there is no answer."""
    return float(normalized_answer(answer) in _normalized(references))


def word_f1(answer: str, references: Sequence[str]) -> float:
    """The best F1 of the answer's words with a reference's; no references: there is no answer."""
    words = normalized_answer(answer).split()
    return max(_f1(words, text.split()) for text in _normalized(references))


def _normalized(references: Sequence[str]) -> list[str]:
    """Those that have words; one that is empty where none has, as the evaluation of SQuAD 2.0 does."""
    return [text for text in map(normalized_answer, references) if text] or [""]


def _f1(words: Sequence[str], others: Sequence[str]) -> float:
    if not words or not others:
        return float(words == others)
    common = (Counter(words) & Counter(others)).total()
    return 2 * common / (len(words) + len(others))


def answer_scores(answers: Sequence[str], references: Sequence[Sequence[str]]) -> Array:
    """(N, 2) exact match and F1 of each of N answers.

    Args:
        answers: an empty one says that there is none.
        references: of each the texts that are right; none where there is no answer.
    """
    pairs = zip(answers, references, strict=True)
    return np.array([(exact_match(*pair), word_f1(*pair)) for pair in pairs], np.float64).reshape(-1, 2)


def reading_figures(answers: Sequence[str], references: Sequence[Sequence[str]]) -> dict[str, float]:
    """exact_match and f1, as shares; where some questions have no answer also answered_f1, of those that have one, and
    no_answer_accuracy, the share of questions of which it was rightly said whether they have one.

    Args:
        answers, references: as for `answer_scores`, at least one.
    """
    scores = answer_scores(answers, references)
    figures = {"exact_match": float(scores[:, 0].mean()), "f1": float(scores[:, 1].mean())}
    has = np.array([bool(texts) for texts in references])
    if not has.all():
        said = np.array([bool(answer) for answer in answers])
        figures["answered_f1"] = float(scores[has, 1].mean()) if has.any() else 0.0
        figures["no_answer_accuracy"] = float((has == said).mean())
    return figures
