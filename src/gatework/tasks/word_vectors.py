"""Embeddings of words that start from vectors in a file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from pydantic import Field
from torch import nn

from gatework.data import read_word_vectors
from gatework.errors import InputError
from gatework.tasks.options import TaskOptions

__all__ = ["VectorOptions", "freeze_vectors", "refuse_vectors", "start_from_vectors", "vectors_file"]


class VectorOptions(TaskOptions):
    """From which vectors the embeddings of words start."""

    word_vectors: str | None = Field(
        None,
        description="file of word vectors from which the embedding starts (word2vec's or fastText's text format, plain "
        "or gzip; tokenizer=word, and embedding_size as wide as they are)",
    )
    freeze_vectors: bool = Field(False, description="the embedding stays as it starts")


def vectors_file(options: TaskOptions, option: str = "word_vectors") -> str | None:
    """The file of vectors that an option names for an embedding, if it does.

    Raises:
        InputError: the tokens are no words.
    """
    path: str | None = getattr(options, option)
    tokenizer = getattr(options, "tokenizer", "word")
    if path is not None and tokenizer != "word":
        what = f"is given, and the tokens are not words (tokenizer={tokenizer})"
        raise InputError(f"option {option}", what, "Give tokenizer=word too, or leave it out.")
    return path


def refuse_vectors(given: Mapping[str, Any]) -> None:
    """Refuse files of vectors among the options given for a run that starts from another one.

    Raises:
        InputError: there is one.
    """
    for option in ("word_vectors", "target_vectors"):
        if given.get(option) is not None:
            what = "is given, and the run that this one starts from has vectors of its own"
            raise InputError(f"option {option}", what, "Leave one of the two out.")


def freeze_vectors(options: VectorOptions, embedding: nn.Embedding, tied: bool = False) -> None:
    """Keep an embedding out of the training, where the options ask for it.

    Args:
        tied: whether the softmax has the same rows.

    Raises:
        InputError: the softmax cannot learn, either.
    """
    if options.freeze_vectors and tied:
        what = "would keep the softmax as it starts too, which has the same rows"
        raise InputError("option freeze_vectors", what, "Give tie_weights=false too.")
    embedding.weight.requires_grad_(not options.freeze_vectors)


def start_from_vectors(
    path: str, embedding: nn.Embedding, words: Sequence[str], say: Callable[[str], None], first: int = 0
) -> None:
    """Give the rows of an embedding the vectors that a file has for their words, times a factor that makes their
    numbers as large in the mean as the random ones are; the other rows stay random.

    Args:
        embedding: of at least first + V rows.
        words: V of them, of the rows from `first` on.
        say: is told how many words have a vector.

    Raises:
        InputError: the file cannot be read, has vectors of another width, or none of the words.
    """
    vectors, has = read_word_vectors(Path(path), words)
    width = embedding.embedding_dim
    if vectors.shape[1] != width:
        what = f"has vectors of {vectors.shape[1]} numbers, and embedding_size is {width}"
        raise InputError(path, what, f"Give embedding_size={vectors.shape[1]}.")
    if not has.any():
        what = f"has a vector for none of the {len(words):,} words of the vocabulary"
        raise InputError(path, what, "Give vectors of the same language, written in the same way.")
    known = torch.from_numpy(vectors[has])
    with torch.no_grad():
        size = known.square().mean().sqrt().clamp_min(1e-12)
        rows = torch.from_numpy(has.nonzero()[0]) + first
        embedding.weight[rows] = known * (embedding.weight.square().mean().sqrt() / size)
    say(f"{has.sum():,} of {len(words):,} words start from their vectors in {path}.")
