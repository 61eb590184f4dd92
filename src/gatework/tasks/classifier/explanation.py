"""Which tokens an answer rests on."""

from __future__ import annotations

from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from gatework.tasks.classifier.network import ClassifierBatch, ClassifierEnsemble, ClassifierNetwork
from gatework.training.nested import map_tensors

__all__ = ["Weights", "weigh_tokens"]


POINTS = 16  # on the way of a vector from zero to what it is


class Weights(NamedTuple):
    """Of B inputs of at most T tokens, on the CPU.

    attention: (T, B), or None where nothing is pooled by attention. gradient: (T, B).
    """

    attention: Tensor | None
    gradient: Tensor


def weigh_tokens(
    network: ClassifierNetwork | ClassifierEnsemble, batch: ClassifierBatch, labels: Tensor
) -> Weights:
    """How much each token counts for the score of a label; of an ensemble the mean.

    `attention` is what the pooling took of the state after each token: where the network looked, not what it made of
    it (Jain & Wallace 2019). `gradient` is what the token's own vector adds to the label's score, by integrated
    gradients (Sundararajan et al. 2017, equation 1): the sum over the vector of value times mean gradient. The gradient
    goes back through the pooling and all states of both directions; the mean is over `POINTS` points on the way on
    which all vectors grow from zero to what they are. The tokens' sum is the score less that of a text of zeros. The
    side path has no part in either.

    Args:
        network: in eval mode; its parameters' `.grad` stay as they are.
        batch: on the network's device.
        labels: (B,) indices.
    """
    networks = network.networks if isinstance(network, ClassifierEnsemble) else [network]
    found = [_weights(cast("ClassifierNetwork", each), batch, labels) for each in networks]
    gradient = torch.stack([each.gradient for each in found]).mean(0)
    attention = [each.attention for each in found if each.attention is not None]
    return Weights(torch.stack(attention).mean(0) if attention else None, gradient)


def _weights(network: ClassifierNetwork, batch: ClassifierBatch, labels: Tensor) -> Weights:
    with torch.inference_mode(False), torch.enable_grad():
        own: ClassifierBatch = map_tensors(
            torch.clone, batch
        )  # what was made in inference mode has no gradients
        encoder = cast("Any", network.encoder)  # of its own kind of source
        vectors = encoder.inputs(own.source).detach()
        states = encoder.states(vectors, own.source.lengths)
        gradient = torch.zeros_like(vectors)
        for point in range(POINTS):
            part = (vectors * ((point + 0.5) / POINTS)).requires_grad_()
            scores = network.score(encoder.states(part, own.source.lengths), own)
            gradient += torch.autograd.grad(scores.gather(1, labels.clone()[:, None]).sum(), part)[0] / POINTS
        attention = None
        if network.pooling.attention is not None:
            attention = network.pooling.weights(states, own.source.lengths).detach().cpu()
    return Weights(attention, (vectors * gradient).sum(-1).detach().cpu())
