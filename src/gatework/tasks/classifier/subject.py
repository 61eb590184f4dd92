"""What a report of a text or a sequence and its label looks at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor
from torch.nn import functional as F

from gatework.inspect import Alignment, Outcome, Steps, Subject
from gatework.tasks.classifier.network import ClassifierBatch, ClassifierNetwork, SequenceBatch
from gatework.tasks.inspecting import log_probability_of, text_steps
from gatework.training.nested import to_device

__all__ = ["subject_of"]

_READS = "encoder.recurrent"
_EXPLAINED = 3  # of the likeliest labels


def subject_of(task: Any, input: Any, record: Mapping[str, Any]) -> Subject:
    """Of a classifier, an input and its answer."""
    batch = to_device(task._collate(task._encode_all([input])), task.device)
    tokens = [token.text for token in task._inputs.tokens(input)]
    return _labelled_subject(task.network_, batch, tokens, record["probabilities"])


def _labelled_subject(
    network: ClassifierNetwork,
    batch: ClassifierBatch,
    tokens: Sequence[str],
    probabilities: Mapping[str, float],
) -> Subject:
    """The network reads one input.

    Args:
        tokens: what stands at the steps.
        probabilities: of all labels, in their order.
    """
    names = list(probabilities)

    def of(index: int) -> Outcome:
        def value(scores: Tensor) -> Tensor:
            return F.logsigmoid(scores[0, index]) if network.several else log_probability_of(scores[0], index)

        return Outcome(f"the log-probability of the label {names[index]}", _READS, value)

    def alignments(scores: Tensor) -> list[Alignment]:
        if network.pooling.attention is None:
            return []
        states = network.encoder(batch.source)
        weights = network.pooling.weights(states, batch.source.lengths)[:, 0]
        return [Alignment("attention of the pooling", [*tokens], ["the input"], weights.cpu().numpy()[None])]

    likeliest = np.argsort([-value for value in probabilities.values()], kind="stable")[:_EXPLAINED].tolist()
    steps = _numbers(batch.source, tokens) if isinstance(batch.source, SequenceBatch) else text_steps(tokens)
    outcomes = [of(index) for index in likeliest]
    return Subject(network, lambda: network(batch), {_READS: steps}, outcomes, alignments)


def _numbers(source: SequenceBatch, tokens: Sequence[str]) -> Steps:
    channels: dict[str, Any] = {
        f"channel {number + 1}": source.values[:, 0, number].tolist()
        for number in range(source.values.shape[2])
    }
    return Steps([*tokens], channels)
