"""Embeddings and lower layers of a language model, as the start of a token encoder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from gatework.tasks.language_model import LanguageModel
from gatework.tasks.language_model.network import LanguageNetwork
from gatework.tasks.options import shared_options
from gatework.tasks.words.token_encoder import TokenEncoder
from gatework.tasks.words.vocabulary import WordVocabulary

__all__ = ["Taken", "inherited_from_language_model", "take_from_language_model"]

_SHARED = ("cell", "embedding_size", "hidden_size")


class Taken(NamedTuple):
    """What was taken: of `words` of the encoder's vocabulary, `known` by the language model; and so many `layers`."""

    known: int
    words: int
    layers: int

    def in_words(self) -> str:
        """A sentence of it."""
        layers = "a layer begins as its own" if self.layers == 1 else f"{self.layers} layers begin as its own"
        return f"Of {self.words:,} tokens, the language model knows {self.known:,}; {layers}."


def inherited_from_language_model(parent: LanguageModel, given: Mapping[str, Any]) -> dict[str, Any]:
    """The options that an encoder shares with the language model that it starts from.

    Raises:
        InputError: one of them was given another value.
    """
    return shared_options({name: getattr(parent.options_, name) for name in _SHARED}, given)


def take_from_language_model(
    encoder: TokenEncoder, vocabulary: WordVocabulary, parent: LanguageModel
) -> Taken:
    """Start an encoder with the rows of the words that a language model knows, and with its layers.

    A layer of the encoder takes the weights of the language model's for its forward direction, as far as their shapes
    agree; where it reads more (characters, the other direction of the layer below), the weights for that stay new. A
    word that the language model does not know keeps its new row, in the size of the others.

    Args:
        encoder: of the same cell and sizes.
        vocabulary: of its words.
        parent: a trained one.
    """
    network = parent.network_
    if not isinstance(network, LanguageNetwork):
        raise ValueError("an ensemble has no layers to take")
    tokenizer = parent.tokenizer_
    rows = {tokenizer.token(id): id for id in reversed(range(tokenizer.vocabulary_size))}
    source = network.embedding.weight * network.embedding_scale
    known = 0
    with torch.no_grad():
        own = encoder.embedding.weight
        own.mul_(source.std() / own.std().clamp(min=1e-6))
        for id, word in enumerate(vocabulary.words, start=1):
            row = rows.get(word, rows.get(word.lower()) if vocabulary.lowercase else None)
            if row is not None:
                own[id] = source[row]
                known += 1
        layers = min(encoder.recurrent.num_layers, network.recurrent.num_layers)
        mine, theirs = dict(encoder.recurrent.named_parameters()), dict(network.recurrent.named_parameters())
        for name, value in theirs.items():
            if name in mine:
                _copy_part(mine[name], value)
    return Taken(known, len(vocabulary.words), layers)


def _copy_part(target: Tensor, source: Tensor) -> None:
    """Copy a weight into another one; where the target reads more inputs, into its first columns."""
    if target.dim() == 2 and target.shape[0] == source.shape[0] and target.shape[1] > source.shape[1]:
        target[:, : source.shape[1]] = source
    elif target.shape == source.shape:
        target.copy_(source)
