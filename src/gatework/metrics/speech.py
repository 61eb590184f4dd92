"""Figures of recognised speech: word and character error rates, and how far they would move with other recordings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from gatework.errors import MissingExtraError
from gatework.metrics.bootstrap import Interval, percentile_intervals

__all__ = ["cer", "count_errors", "error_intervals", "error_rates", "wer"]

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
    try:
        import jiwer
    except ModuleNotFoundError as error:
        raise MissingExtraError("jiwer", "speech") from error
    pairs = [
        (_spaced(reference), _spaced(output)) for output, reference in zip(outputs, references, strict=True)
    ]
    counts = np.zeros((len(pairs), 4), np.int64)
    if not pairs:
        return counts
    right, given = map(list, zip(*pairs, strict=True))
    for column, found in (
        (0, jiwer.process_words(right, given)),
        (2, jiwer.process_characters(right, given)),
    ):
        counts[:, column] = [_wrong(chunks) for chunks in found.alignments]
        counts[:, column + 1] = [len(units) for units in found.references]
    return counts


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


def _spaced(text: str) -> str:
    return " ".join(text.split())


def _wrong(chunks: Sequence[Any]) -> int:
    """The least number of insertions, deletions and replacements, from the parts of an alignment."""
    return sum(
        max(chunk.ref_end_idx - chunk.ref_start_idx, chunk.hyp_end_idx - chunk.hyp_start_idx)
        for chunk in chunks
        if chunk.type != "equal"
    )
