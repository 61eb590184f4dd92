"""Figures of recognised speech: word and character error rates, and how far they would move with other recordings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from gatework.errors import MissingExtraError
from gatework.metrics.bootstrap import Interval, percentile_intervals

__all__ = ["cer", "count_errors", "error_intervals", "error_rates", "wer", "word_deletion_rate"]

Array = npt.NDArray[Any]


def wer(outputs: Sequence[str], references: Sequence[str]) -> float:
    """The word error rate: words that are inserted, deleted or replaced, over the words of the references (jiwer).

    It is above 1 where more words are wrong than there are, and the number of errors where there are no words.

    Args:
        outputs, references: N texts each. A word is what stands between white space; upper and lower case differ.
    """
    return float(error_rates(count_errors(outputs, references).sum(0))["wer"])


def cer(outputs: Sequence[str], references: Sequence[str]) -> float:
    """The character error rate, otherwise as `wer`. White space between two words is one character."""
    return float(error_rates(count_errors(outputs, references).sum(0))["cer"])


def count_errors(outputs: Sequence[str], references: Sequence[str]) -> Array:
    """(N, 4) int64, of each text: wrong words, words of the reference, wrong characters, characters of the reference.

    Raises:
        MissingExtraError: jiwer is not installed.
        ValueError: there are not as many outputs as references.
    """
    jiwer = _jiwer()
    right, given = _texts(outputs, references)
    counts = np.zeros((len(right), 4), np.int64)
    if not right:
        return counts
    for column, found in (
        (0, jiwer.process_words(right, given)),
        (2, jiwer.process_characters(right, given)),
    ):
        counts[:, column] = [_wrong(chunks) for chunks in found.alignments]
        counts[:, column + 1] = [len(units) for units in found.references]
    return counts


def word_deletion_rate(outputs: Sequence[str], references: Sequence[str]) -> float:
    """Of the references' words the share that the outputs leave out (Non-Attentive Tacotron, Shen et al. 2020).

    Args:
        outputs, references: what a recogniser hears in synthetic speech, and the N texts that were synthesised.
    """
    right, given = _texts(outputs, references)
    if not any(right):
        return 0.0
    found = _jiwer().process_words(right, given)
    return float(found.deletions / sum(map(len, found.references)))


def error_rates(sums: Array) -> Mapping[str, Array]:
    """wer and cer of counts that are summed over the texts, (…, 4); each (…)."""
    wrong, units = sums[..., ::2], sums[..., 1::2]
    rates = wrong / np.maximum(units, 1)
    return {"wer": rates[..., 0], "cer": rates[..., 1]}


def error_intervals(counts: Array, **bootstrap: Any) -> dict[str, Interval]:
    """The 95 % intervals of wer and cer over texts that are drawn with replacement.

    Args:
        counts: (N, 4), as `count_errors` gives them; N is at least 1.
        bootstrap: further arguments of `percentile_intervals`.
    """
    return percentile_intervals(counts, error_rates, **bootstrap)


def _jiwer() -> Any:
    try:
        import jiwer
    except ModuleNotFoundError as error:
        raise MissingExtraError("jiwer", "speech") from error
    return jiwer


def _texts(outputs: Sequence[str], references: Sequence[str]) -> tuple[list[str], list[str]]:
    """The references and the outputs, with single spaces between their words."""
    pairs = list(zip(references, outputs, strict=True))
    right, given = ([" ".join(pair[side].split()) for pair in pairs] for side in (0, 1))
    return right, given


def _wrong(chunks: Sequence[Any]) -> int:
    """The least number of insertions, deletions and replacements, from the parts of an alignment."""
    return sum(
        max(chunk.ref_end_idx - chunk.ref_start_idx, chunk.hyp_end_idx - chunk.hyp_start_idx)
        for chunk in chunks
        if chunk.type != "equal"
    )
