"""What tasks on text share: the options of their tokenizer, its training, and a warning of unknown tokens."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Literal

import numpy as np
from pydantic import Field

from gatework.data import Tokenizer
from gatework.errors import InputError
from gatework.training import TrainingOptions
from gatework.training.options import Inherited

__all__ = ["BYTE_PAIRS", "TokenOptions", "train_tokenizer", "warn_of_unknown"]

BYTE_PAIRS = 4000  # entries of a vocabulary of byte pairs where none is asked for
UNKNOWN_WARNING_SHARE = 0.1


class TokenOptions(TrainingOptions):
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


def warn_of_unknown(say: Callable[[str], None], ids: np.ndarray, unknown: int | None, what: str) -> None:
    """Say so where many tokens are not in the vocabulary.

    Args:
        ids: (N,) of a text.
        unknown: the id of unknown tokens; None where nothing is unknown.
        what: whose tokens they are.
    """
    if unknown is None or not len(ids):
        return
    share = float((np.asarray(ids) == unknown).mean())
    if share > UNKNOWN_WARNING_SHARE:
        say(f"warning: {share:.0%} of {what}'s tokens are not in the vocabulary.")
