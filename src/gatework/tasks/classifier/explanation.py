"""Which tokens an answer rests on."""

from __future__ import annotations

from typing import NamedTuple, cast

import torch
from torch import Tensor

from gatework.layers import record
from gatework.tasks.classifier.network import ClassifierBatch, ClassifierEnsemble, ClassifierNetwork
from gatework.training.nested import map_tensors

__all__ = ["Weights", "weigh_tokens"]


class Weights(NamedTuple):
    """Of B inputs of at most T tokens, on the CPU.

    attention: (T, B), or None where nothing is pooled by attention. gradient: (T, B).
    """

    attention: Tensor | None
    gradient: Tensor


def weigh_tokens(
    network: ClassifierNetwork | ClassifierEnsemble, batch: ClassifierBatch, labels: Tensor
) -> Weights:
    """How much the states after each token count for the score of a label; of an ensemble the mean.

    `attention` is what the pooling took of each state: where the network looked, not what it made of it (Jain & Wallace
    2019). `gradient` is the sum over the units of state times gradient (Shrikumar et al. 2016), the gradient being that
    of the label's score through the pooling and through all later steps: what the score would lose, to first order, if
    the states after this token alone were zero. The side path has no part in either.

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
    recurrent = network.encoder.recurrent
    with torch.inference_mode(False), torch.enable_grad():
        own: ClassifierBatch = map_tensors(
            torch.clone, batch
        )  # what was made in inference mode has no gradients
        with record(recurrent) as tape:
            states = network.encoder(own.source)
        scores = network.score(states, own)
        tape.backward(scores.gather(1, labels.clone()[:, None]).sum())
    top, first = f"l{recurrent.num_layers - 1}", recurrent.cell.graph.states[0].name
    directions = [top, f"{top}_reverse"][: recurrent.num_directions]
    gradient = sum(
        ((tape[f"{name}.{first}"] * tape.gradient(f"{name}.{first}")).sum(-1) for name in directions),
        start=torch.zeros(states.shape[:2], device=states.device),
    )
    attention = None
    if network.pooling.attention is not None:
        attention = network.pooling.weights(states, own.source.lengths).detach().cpu()
    return Weights(attention, gradient.detach().cpu())
