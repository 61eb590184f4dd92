"""The groups of layers of the tasks' networks, from the input to the output: for `unfreeze_every` and rates."""

from __future__ import annotations

import re

from torch import nn

from gatework.seq2seq import EncoderDecoder
from gatework.tasks.language_model.network import LanguageNetwork
from gatework.training import ParameterGroup

__all__ = ["encoder_decoder_groups", "language_groups"]


def language_groups(network: LanguageNetwork) -> list[ParameterGroup]:
    """Embedding, each recurrent layer, softmax. An embedding that is the softmax's too belongs to the softmax."""
    layers = [
        _named(network, rf"recurrent\..*_l{layer}(_reverse)?(\..*)?")
        for layer in range(network.recurrent.num_layers)
    ]
    top = _named(network, r"(projection|softmax)\..*")
    return (
        [*layers, top]
        if _tied(network.embedding, network.softmax)
        else [
            _named(network, r"embedding\..*"),
            *layers,
            top,
        ]
    )


def encoder_decoder_groups(network: EncoderDecoder) -> list[ParameterGroup]:
    """What reads the source, the decoder, the softmax with the target's embedding (shared rows belong to it)."""
    top = _named(network, r"(target_embedding|readout|softmax)\..*")
    encoder = _named(network, r"(source_embedding|encoder)\..*")
    decoder = _named(network, r"(summary|bridge|decoder|upper)\..*")
    shared = {id(parameter) for parameter in network.target_embedding.parameters()}
    own = tuple(name for name in encoder.names if id(network.get_parameter(name)) not in shared)
    return [ParameterGroup(own), decoder, top]


def _tied(embedding: nn.Module, softmax: nn.Module) -> bool:
    shared = {id(parameter) for parameter in embedding.parameters()}
    return any(id(parameter) in shared for parameter in softmax.parameters())


def _named(network: nn.Module, pattern: str) -> ParameterGroup:
    names = (name for name, _ in network.named_parameters(remove_duplicate=False))
    return ParameterGroup(tuple(name for name in names if re.fullmatch(pattern, name)))
