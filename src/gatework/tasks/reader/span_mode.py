"""Span mode: the answer is a piece of the passage."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self, cast

import numpy as np
import torch
from pydantic import Field, NonNegativeInt, model_validator
from torch import nn

from gatework.baselines import Baseline, MostCommon, Rival
from gatework.baselines.linear_spans import LinearSpans, PassageAlone
from gatework.baselines.reading import MostCommonByQuestion, SlidingWindow
from gatework.data import Fields
from gatework.data.answer_places import Place, place_of, words_of_place
from gatework.data.passages import Rarity, content_counts, passage_of
from gatework.data.questions import Answers
from gatework.errors import InputError
from gatework.graph import Cell
from gatework.inspect import Subject
from gatework.metrics.calibration import HIGHEST_TEMPERATURE, least_loss_temperature
from gatework.metrics.reading import reading_figures, word_f1
from gatework.tasks.artifacts import Artifacts, JsonArtifact
from gatework.tasks.example_task import Example
from gatework.tasks.reader.mode import Mode, ScoredRecords, question_mean
from gatework.tasks.reader.options import ReaderSettings
from gatework.tasks.reader.span_inputs import SpanBatch, SpanInputs
from gatework.tasks.reader.span_network import SpanEnsemble, SpanNetwork, SpanScores, span_losses
from gatework.tasks.reader.spans import Candidates, candidates_of, expected_f1
from gatework.tasks.reader.subject import span_subject
from gatework.tasks.words import WordVocabulary
from gatework.training import StepLoss

__all__ = ["SpanMode"]

MOST_TEXTS = 2**53  # that a float64 counts
BY_QUESTION = "by_question.json"
WORDS, RARITY, DECISIONS, MOST_COMMON = "words.json", "rarity.json", "decisions.json", "most_common.json"


class WordCounts(JsonArtifact):
    """What a `Rarity` is made of."""

    words: tuple[str, ...]
    in_passages: tuple[NonNegativeInt, ...]
    in_questions: tuple[NonNegativeInt, ...]
    passages: NonNegativeInt
    questions: NonNegativeInt

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not len(self.words) == len(self.in_passages) == len(self.in_questions):
            raise ValueError(f"there are {len(self.words)} words and other numbers of counts")
        for name, counts, total in (
            ("passages", self.in_passages, self.passages),
            ("questions", self.in_questions, self.questions),
        ):
            if max(counts, default=0) > total or total > MOST_TEXTS:
                raise ValueError(
                    f"there are {total} {name}, and a word stands in {max(counts, default=0)} of them"
                )
        return self

    @property
    def rarity(self) -> Rarity:
        return Rarity(self.words, self.in_passages, self.in_questions, self.passages, self.questions)


class SpanDecisions(JsonArtifact):
    """What is chosen on the validation data.

    Attributes:
        temperature: what scores are divided by.
        none_above: there is said to be no answer where its probability, less the highest expected F1 of an answer, is
            above this.
    """

    temperature: float = Field(default=1.0, ge=1 / HIGHEST_TEMPERATURE, le=HIGHEST_TEMPERATURE)
    none_above: float = Field(default=0.0, ge=-1, le=1)


class SpanMode(Mode):
    """The answer is a piece of the passage: `Mode` says what the methods are."""

    decisions: SpanDecisions = SpanDecisions()

    @property
    def no_answer(self) -> bool:
        """Whether there may be none."""
        return self.options.no_answer == "true"

    # Data

    def report(self, examples: Sequence[Example]) -> None:
        placed = [(each, _place(each)) for each in examples]
        lost = [each for each, places in placed if each.output.texts and not places]
        if lost:
            what = f"{len(lost):,} of {len(examples):,} questions have answers that do not stand in their passages"
            names = "; ".join(f"{each.where} ({each.output.texts[0]!r:.40})" for each in lost[:3])
            self.say(f"warning: {what}, the first: {names}.")
        repairs = Counter(place.repair for _, places in placed for place in places if place.repair)
        for repair, count in repairs.most_common():
            first = next(
                each.where for each, places in placed if any(place.repair == repair for place in places)
            )
            self.say(f"warning: {count:,} answers {_REPAIRED[repair]}, the first at {first}: repaired.")
        none = [each for each in examples if not each.output.texts]
        if none and not self.no_answer:
            what = f"{len(none):,} questions have no answer, the first at {none[0].where}"
            self.say(f"warning: {what}, and this reader has not learned that there may be none.")

    def trainable(self, train: list[Example]) -> list[Example]:
        kept = [each for each in train if self._spans(each) or (self.no_answer and not each.output.texts)]
        if not kept:
            what = f"has no question whose answer stands in its passage in at most {self.options.answer_words} words"
            raise InputError("data", what, "Give answers that are pieces of their passages, or mode=answer.")
        if len(kept) < len(train):
            first = next(each for each in train if each not in kept)
            what = f"{len(train) - len(kept):,} questions without an answer in their passage, or with one longer than"
            self.say(
                f"{what} answer_words={self.options.answer_words}, are left out, the first at {first.where}."
            )
        return kept

    def learn(self, train: Sequence[Example], keep: Artifacts) -> None:
        options = self.options

        def words() -> WordVocabulary:
            texts = [
                *dict.fromkeys(_text(each.input) for each in train),
                *(each.input["question"] for each in train),
            ]
            return WordVocabulary.learn(
                (passage_of(text).words for text in texts),
                lowercase=options.lowercase,
                min_frequency=options.min_frequency,
                vocabulary_size=options.vocabulary_size,
            )

        def counts() -> WordCounts:
            found = Rarity.learn(
                (_text(each.input) for each in train), (each.input["question"] for each in train)
            )
            return WordCounts(
                words=found.words,
                in_passages=found.in_passages,
                in_questions=found.in_questions,
                passages=found.passages,
                questions=found.questions,
            )

        self.inputs = SpanInputs(
            keep.get(WORDS, WordVocabulary, words),
            keep.get(RARITY, WordCounts, counts).rarity,
            subword_rows=options.subword_rows,
            side_rows=options.side_rows,
            window=options.window,
            stride=options.stride,
            longest=options.answer_words,
        )
        answers = [each.output.texts[0] if each.output.texts else "" for each in train]
        self._most_common = keep.own(MOST_COMMON, MostCommon, lambda: MostCommon().fit([], answers))
        questions = [each.input["question"] for each in train]
        self._by_question = keep.own(
            BY_QUESTION, MostCommonByQuestion, lambda: MostCommonByQuestion().fit(questions, answers)
        )

    # The network

    def network(
        self, cells: Mapping[str, Cell], sizes: Callable[[type[nn.Module]], dict[str, Any]]
    ) -> SpanNetwork:
        vocabulary = self.inputs.vocabulary
        return SpanNetwork(
            cells["cell"],
            counts=vocabulary.counts,
            character_count=vocabulary.character_count,
            longest=self.options.answer_words,
            **sizes(SpanNetwork) | {"no_answer": self.no_answer},
        )

    def joined(self, networks: Sequence[nn.Module]) -> SpanEnsemble:
        return SpanEnsemble(cast("Sequence[SpanNetwork]", networks))

    def encode(self, input: Mapping[str, Any], output: Answers | None) -> Fields:
        text = _text(input)
        spans = None if output is None else self._spans(Example("", input, output))
        return self.inputs.encode(text, input["question"], spans)

    def collate(self, rows: Sequence[Fields]) -> SpanBatch:
        return self.inputs.collate(rows, self.no_answer)

    def loss(self, network: nn.Module, batch: SpanBatch) -> StepLoss:
        return question_mean(span_losses(network(batch), batch), cast("torch.Tensor", batch.known))

    def _spans(self, example: Example) -> list[tuple[int, int]]:
        """The first and the last word of each answer that stands in the passage and is not too long."""
        words = passage_of(_text(example.input)).spans
        spans = [span for place in _place(example) if (span := words_of_place(place, words)) is not None]
        return [(first, last) for first, last in spans if last < first + self.options.answer_words]

    # What is chosen on the validation data

    def settle(
        self,
        keep: Artifacts,
        network: nn.Module,
        batches: Callable[[], Sequence[SpanBatch]],
        answered: Callable[[], ScoredRecords],
    ) -> None:
        network = cast("SpanNetwork", network)

        def decide() -> SpanDecisions:
            network.temperature = 1.0
            with torch.inference_mode():
                scored = [(network(batch), batch) for batch in batches()]

                def loss(temperature: float) -> float:
                    return sum(_loss(scores.cooled(batch, temperature), batch) for scores, batch in scored)

                network.temperature = least_loss_temperature(loss)
            none_above = _best_margin(*answered()) if self.no_answer else 0.0
            return SpanDecisions(temperature=network.temperature, none_above=none_above)

        self.decisions = keep.renew(DECISIONS, SpanDecisions, decide)
        network.temperature = self.decisions.temperature

    def together(self, members: Sequence[Self]) -> Self:
        mode = copy.copy(self)
        margin = float(np.mean([each.decisions.none_above for each in members]))
        mode.decisions = self.decisions.model_copy(update={"none_above": margin})
        return mode

    # Answers

    def outputs(self, network: nn.Module, batch: SpanBatch, settings: ReaderSettings) -> list[Candidates]:
        return candidates_of(network(batch), batch)

    def decode(
        self, output: Candidates, row: Fields, input: Mapping[str, Any], settings: ReaderSettings
    ) -> dict[str, Any]:
        text = _text(input)
        passage = passage_of(text)
        if not passage.words:
            nothing = {"output": "", "answers": [], "sentences": [], "warnings": ["the context has no words"]}
            return nothing | ({"no_answer_probability": 1.0} if self.no_answer else {})
        values = expected_f1(output, content_counts(passage.words))
        order = np.argsort(-(values if settings.choose == "f1" else output.probabilities), kind="stable")
        answers: list[dict[str, Any]] = []
        taken = np.zeros(len(passage.words), bool)
        for index in order.tolist():
            first, last = int(output.first[index]), int(output.last[index])
            if len(answers) == settings.alternatives:
                break
            if taken[first : last + 1].any():
                continue
            taken[first : last + 1] = True
            start, end = passage.spans[first][0], passage.spans[last][1]
            answers.append(
                {
                    "text": text[start:end],
                    "probability": min(1.0, float(output.probabilities[index])),
                    "expected_f1": min(1.0, float(values[index])),
                    "start": start,
                    "end": end,
                }
            )
        record: dict[str, Any] = {"output": answers[0]["text"], "answers": answers}
        if self.no_answer:
            record["no_answer_probability"] = min(1.0, output.none)
            if _margin(record) > self.decisions.none_above:
                record["output"] = ""
        record["sentences"] = _sentences(text, passage, output.begins)
        warnings = [] if passage_of(input["question"]).words else ["the question has no words"]
        return record | ({"warnings": warnings} if warnings else {})

    def subject(
        self, network: nn.Module, batch: SpanBatch, input: Mapping[str, Any], record: Mapping[str, Any]
    ) -> Subject:
        return span_subject(cast("SpanNetwork", network), batch, _text(input), input["question"], record)

    def score(self, answers: Sequence[str], references: Sequence[Sequence[str]]) -> dict[str, float]:
        return reading_figures(answers, references)

    def baselines(self) -> Mapping[str, Baseline]:
        return {
            "most_common": self._most_common,
            "question_alone": self._by_question,
            "sliding_window": SlidingWindow(),
        }

    def rivals(self) -> Sequence[Rival]:
        return [LinearSpans(), PassageAlone()]


_REPAIRED = {
    "white space": "are off by white space",
    "bytes": "have starts that count bytes and not characters",
    "UTF-16 units": "have starts that count units of UTF-16 and not characters",
    "case": "stand in their passages in another case",
    "normal form": "stand in their passages in another Unicode normal form",
    "elsewhere": "stand elsewhere in their passages than their starts say",
}


def _text(input: Mapping[str, Any]) -> str:
    """The context of a question as one text: sentences a line each."""
    context = input["context"]
    return context if isinstance(context, str) else "\n".join(context)


def _place(example: Example) -> list[Place]:
    """Where its answers stand in the passage; those that do not are left out."""
    text = _text(example.input)
    found = (place_of(text, *pair) for pair in zip(*example.output, strict=True))
    return [place for place in found if place is not None]


def _margin(record: Mapping[str, Any]) -> float:
    """How much likelier no answer is than the best answer is good."""
    return float(record["no_answer_probability"] - record["answers"][0]["expected_f1"])


def _best_margin(records: Sequence[Mapping[str, Any]], references: Sequence[Sequence[str]]) -> float:
    """Above which margin no answer is to be given for the highest F1 of records: half-way between two of them."""
    some = [(record, texts) for record, texts in zip(records, references, strict=True) if record["answers"]]
    margins = np.array([_margin(record) for record, _ in some])
    gains = np.array(
        [float(not texts) - word_f1(record["answers"][0]["text"], texts) for record, texts in some]
    )
    order = np.argsort(-margins, kind="stable")
    borders = np.concatenate([[1.0], margins[order], [-1.0]])
    totals = np.concatenate([[0.0], np.cumsum(gains[order])])
    best = int(np.argmax(totals))
    return float((borders[best] + borders[best + 1]) / 2)


def _loss(scores: SpanScores, batch: SpanBatch) -> float:
    return span_losses(scores, batch)[cast("torch.Tensor", batch.known)].sum().item()


def _sentences(text: str, passage: Any, begins: np.ndarray) -> list[dict[str, Any]]:
    """The sentences of a passage, each with the probability that the answer begins in it."""
    total = max(float(begins.sum()), 1e-12)
    borders = np.flatnonzero(np.diff(passage.sentences, prepend=-1)).tolist()
    found = []
    for first, stop in zip(borders, [*borders[1:], len(passage.words)], strict=True):
        start, end = passage.spans[first][0], passage.spans[stop - 1][1]
        weight = min(1.0, float(begins[first:stop].sum()) / total)
        found.append({"text": text[start:end], "weight": weight, "start": start, "end": end})
    return found
