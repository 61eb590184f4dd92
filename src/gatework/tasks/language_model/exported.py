"""The language model's step for an export: a token in, the logits of the next one out."""

from __future__ import annotations

from gatework.errors import InputError
from gatework.export.maps import Maps
from gatework.export.network import Network, array_of, network
from gatework.layers.softmax import Softmax
from gatework.tasks.language_model.network import LanguageNetwork

__all__ = ["exported_network"]


def exported_network(model: LanguageNetwork, emit: tuple[str, ...] = ()) -> Network:
    """Embedding, recurrent layers, and the softmax's logits.

    Args:
        emit: gates and states of the top layer that a step gives too.

    Raises:
        InputError: the softmax is adaptive.
    """
    if type(model.softmax) is not Softmax:
        raise InputError(
            "language-model",
            "its softmax is adaptive, which has no export",
            "Train it with adaptive_softmax=off.",
        )
    maps = Maps({"output": model.recurrent.output_size})
    hidden = maps.read("output")
    if model.projection is not None:
        bias = model.projection.bias
        hidden = maps.linear(
            [hidden], array_of(model.projection.weight), None if bias is None else array_of(bias)
        )
    logits = maps.linear([hidden], array_of(model.softmax.weight), array_of(model.softmax.bias))
    table = model.embedding.weight.detach() * model.embedding_scale
    head = maps.cell("head", {"output": logits})
    return network(model.recurrent, "language_model", table=table, head=head, emit=emit)
