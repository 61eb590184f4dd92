"""What a report of a question and its answer looks at, in both modes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from gatework.data.passages import passage_of
from gatework.inspect import Outcome, Subject
from gatework.tasks.inspecting import text_steps
from gatework.tasks.reader.answer_inputs import AnswerBatch
from gatework.tasks.reader.answer_network import AnswerNetwork, AnswerScores
from gatework.tasks.reader.span_inputs import SpanBatch
from gatework.tasks.reader.span_network import SpanNetwork, SpanScores, some_windows

__all__ = ["facts_subject", "span_subject"]


def facts_subject(
    network: AnswerNetwork,
    batch: AnswerBatch,
    facts: Sequence[str],
    answers: Sequence[str],
    record: Mapping[str, Any],
) -> Subject:
    """The network reads the facts of one question.

    Args:
        answers: all that it knows.
    """

    def of(answer: str) -> Outcome:
        def value(scores: AnswerScores) -> Tensor:
            return scores.answers[0, answers.index(answer)]

        return Outcome(f"the log-probability of {answer!r}", "layers.0", value)

    steps = text_steps(facts)
    names = [
        name for name, _ in network.named_modules() if name.startswith("layers.") and name.count(".") == 1
    ]
    outcomes = [of(each["text"]) for each in record["answers"]]
    return Subject(network, lambda: network(batch), dict.fromkeys(names, steps), outcomes)


def span_subject(
    network: SpanNetwork, batch: SpanBatch, context: str, question: str, record: Mapping[str, Any]
) -> Subject:
    """The network reads one question and its passage; of a long one the window that has the answer."""
    passage, asked = passage_of(context), passage_of(question)
    begins, lengths = batch.begins.tolist(), batch.passages.lengths.tolist()
    own = batch.own.cpu()

    def place_of(answer: Mapping[str, Any]) -> tuple[int, int, int]:
        """Its window, and its first and last word there."""
        inside = [
            index
            for index, (start, end) in enumerate(passage.spans)
            if start < answer["end"] and end > answer["start"]
        ]
        window = next(
            row
            for row, begin in enumerate(begins)
            if 0 <= inside[0] - begin < lengths[row] and own[inside[0] - begin, row]
        )
        return window, inside[0] - begins[window], inside[-1] - begins[window]

    places = [(answer["text"], *place_of(answer)) for answer in record["answers"]]
    shown = places[0][1] if places else 0
    words = passage.words[begins[shown] : begins[shown] + lengths[shown]] or [""]
    here = [(text, first, last) for text, window, first, last in places if window == shown]
    cut = some_windows(batch, shown, shown + 1)

    def of(text: str, first: int, last: int) -> Outcome:
        def value(scores: SpanScores) -> Tensor:
            return scores.spans[0, first, last - first]

        return Outcome(f"the log-probability of {text!r}", "modelling", value)

    said = ["beside it"] * len(words)
    for _, first, last in here[:1]:
        said[first : last + 1] = ["in the answer"] * (last + 1 - first)
    read = text_steps(words, whether_it_is_in_the_answer=said)
    steps = {"reading": read, "modelling": read, "encoder.recurrent": text_steps(asked.words or [""])}
    return Subject(network, lambda: network(cut), steps, [of(*each) for each in here])
