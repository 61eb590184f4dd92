"""What a report of a sentence and its tags looks at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from gatework.inspect import Outcome, Subject
from gatework.tasks.inspecting import log_probability_of, text_steps
from gatework.tasks.tagger.network import Scores, TaggedBatch, TaggerNetwork
from gatework.tasks.tagger.tag_set import TagSet
from gatework.training.nested import to_device

__all__ = ["subject_of"]


def subject_of(task: Any, input: Any, record: Mapping[str, Any]) -> Subject:
    """Of a tagger, an input and its answer."""
    batch = to_device(task._collate([task._encode(input)]), task.device)
    return _sentence_subject(task.network_, batch, task.tag_set_, record["tokens"], record)


def _sentence_subject(
    network: TaggerNetwork, batch: TaggedBatch, tags: TagSet, words: Sequence[str], record: Mapping[str, Any]
) -> Subject:
    """The network reads one sentence."""

    def of_word(place: int, tag: str) -> Outcome:
        def value(scores: Scores) -> Tensor:
            return log_probability_of(scores.likeliest().emissions[place, 0], tags.tag_ids([tag])[0])

        return Outcome(f"the log-probability of {tag} at {words[place]!r} by itself", _READS, value)

    def of_label(label: str) -> Outcome:
        def value(scores: Scores) -> Tensor:
            return log_probability_of(scores.labels[0], tags.label_id(label))

        return Outcome(f"the log-probability of the label {label}", _READS, value)

    labels = [of_label(record["label"])] if record.get("label") in tags.labels else []
    places = sorted(range(len(record["output"])), key=lambda place: record["output"][place] == "O")
    outcomes = [*labels, *(of_word(place, record["output"][place]) for place in places)]
    steps = text_steps(words, its_tag=record["output"])
    return Subject(network, lambda: network(batch), {_READS: steps}, outcomes)


_READS = "encoder.recurrent"
