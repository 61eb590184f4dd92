"""What of an encoder of words is exported: recurrent layers as parts, a vocabulary as facts, rows as tables."""

from __future__ import annotations

from typing import Any

import numpy as np

from gatework.export.network import Part, array_of, network
from gatework.layers import Recurrent
from gatework.tasks.words.token_encoder import TokenEncoder
from gatework.tasks.words.vocabulary import LONGEST_WORD, WordVocabulary

__all__ = ["encoder_facts", "encoder_parts", "encoder_tables", "layers_part"]


def layers_part(layers: Recurrent, emit: tuple[str, ...] = ()) -> Part:
    """`layers`: a whole sequence of vectors in, their states out.

    Args:
        emit: gates and states that are given too, of layers of one direction.
    """
    return network(layers, "layers", emit=emit, calls=("sequence",))


def encoder_parts(encoder: TokenEncoder, emit: tuple[str, ...] = ()) -> list[Part]:
    """`layers`, and `characters` where a word's characters are read: their ids in, the last states out."""
    parts = [layers_part(encoder.recurrent, emit)]
    if encoder.characters is not None:
        reader = encoder.characters
        parts.append(network(reader.recurrent, "characters", table=reader.embedding, calls=("sequence",)))
    return parts


def encoder_tables(encoder: TokenEncoder) -> dict[str, np.ndarray]:
    """The rows of words and of their pieces."""
    tables = {"embedding": array_of(encoder.embedding.weight)}
    if encoder.subwords is not None:
        tables["subwords"] = array_of(encoder.subwords.weight)
    return tables


def encoder_facts(encoder: TokenEncoder, vocabulary: WordVocabulary, subword_rows: int) -> dict[str, Any]:
    """The vocabulary, and how words are read."""
    return {
        "words": list(vocabulary.words),
        "characters": "".join(vocabulary.characters),
        "lowercase": vocabulary.lowercase,
        "longest_word": LONGEST_WORD,
        "subword_rows": subword_rows,
        "spelled": 0 if encoder.characters is None else 2 * encoder.characters.recurrent.output_size,
        "states": encoder.output_size,
    }
