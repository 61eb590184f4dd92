"""What tasks on text share: the options of their tokenizer, its training, and what it does not know."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Literal

import numpy as np
from pydantic import Field

from gatework.data import Tokenizer
from gatework.errors import InputError
from gatework.tasks.options import TaskOptions
from gatework.training.options import Inherited

__all__ = ["BYTE_PAIRS", "TokenOptions", "train_tokenizer", "unknown_share", "warn_of_unknown"]

BYTE_PAIRS = 4000  # entries of a vocabulary of byte pairs where none is asked for
UNKNOWN_WARNING_SHARE = 0.1


class TokenOptions(TaskOptions):
    """How text becomes tokens."""

    tokenizer: Inherited[Literal["character", "word", "bpe"]] = Field("bpe", description="what a token is")
    vocabulary_size: Inherited[int | None] = Field(
        None, ge=2, description=f"tokens at most, the most frequent ones (none: all; bpe: {BYTE_PAIRS})"
    )
    min_frequency: Inherited[int] = Field(1, ge=1, description="rarer tokens are unknown")
    lowercase: Inherited[bool] = Field(False, description="read the text in lower case")


def train_tokenizer(options: TokenOptions, texts: Iterable[str]) -> Tokenizer:
    """The tokenizer of a text.

    Raises:
        InputError: there is no text, or every token is too rare for `min_frequency`.
    """
    size = options.vocabulary_size
    tokenizer = Tokenizer.train(
        options.tokenizer,
        texts,
        vocabulary_size=BYTE_PAIRS if size is None and options.tokenizer == "bpe" else size,
        min_frequency=options.min_frequency,
        lowercase=options.lowercase,
    )
    special = {"character": 1, "word": 2, "bpe": 0}[options.tokenizer]  # <unk> and the line's end
    if tokenizer.vocabulary_size <= special:
        what = f"min_frequency is {options.min_frequency}, and no token of the text is that frequent"
        raise InputError("option min_frequency", what, "Give a smaller one, or more text.")
    return tokenizer


def unknown_share(ids: np.ndarray, unknown: int | None) -> float | None:
    """The share of a text's tokens that are not in the vocabulary; None where nothing can be unknown.

    Args:
        ids: (N,) of the text.
        unknown: the id of unknown tokens, or None.
    """
    if unknown is None or not len(ids):
        return None
    return float((np.asarray(ids) == unknown).mean())


def warn_of_unknown(say: Callable[[str], None], shares: Mapping[str, float], whose: str) -> None:
    """Say so where many tokens are not in the vocabulary: figures on them tell nothing of the text.

    Args:
        shares: of each part (text; source and target), its `unknown_share`.
        whose: of which data: `"the validation"`.
    """
    for part, share in shares.items():
        if share > UNKNOWN_WARNING_SHARE:
            say(f"warning: {share:.0%} of {whose} {part}'s tokens are not in the vocabulary.")
