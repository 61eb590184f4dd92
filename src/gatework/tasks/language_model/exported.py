"""The language model's step for an export: a token in, the logits of the next one out."""

from __future__ import annotations

import numpy as np
import torch

from gatework.errors import InputError
from gatework.export.exportable import Parts
from gatework.export.maps import Maps
from gatework.export.network import Network, array_of, network
from gatework.layers.softmax import Softmax
from gatework.tasks.language_model.network import LanguageNetwork

__all__ = ["exported_error", "exported_network"]

NAME = "language_model"
_CHECKED = 6  # tokens that an export is checked on


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
    return network(model.recurrent, NAME, table=table, head=head, emit=emit)


def exported_error(model: LanguageNetwork, made: Parts) -> float:
    """The largest error of log-probabilities, beside 1, of a text of some tokens: the step that is exported reads them
    one by one."""
    random = torch.Generator().manual_seed(0)
    tokens = torch.randint(model.embedding.num_embeddings, (_CHECKED,), generator=random)
    stream = made.stream(NAME)
    logits = np.concatenate(
        [stream.step(tokens[step : step + 1].numpy())["output"] for step in range(_CHECKED)]
    )
    with torch.inference_mode():
        wanted = model.softmax.log_prob(model.hidden(tokens[:, None])[0][:, 0])
    off = (torch.from_numpy(logits).log_softmax(-1) - wanted).abs() / wanted.abs().clamp(min=1)
    return float(off.max())
