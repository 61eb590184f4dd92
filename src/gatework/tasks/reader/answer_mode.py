"""Answer mode: facts in, one of the answers of the training data out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from pydantic import PositiveFloat
from torch import nn
from torch.nn import functional as F

from gatework.baselines import Baseline, MostCommon, Rival
from gatework.baselines.linear_facts import LinearFacts
from gatework.data import Fields
from gatework.data.facts import facts_of, words_of
from gatework.data.questions import Answers
from gatework.graph import Cell
from gatework.inspect import Subject
from gatework.metrics.calibration import fit_temperature
from gatework.metrics.reading import reading_figures
from gatework.tasks.artifacts import Artifacts, JsonArtifact
from gatework.tasks.example_task import Example
from gatework.tasks.reader.answer_inputs import UNKNOWN_WORD, AnswerBatch, AnswerInputs, KnownAnswers
from gatework.tasks.reader.answer_network import AnswerEnsemble, AnswerNetwork, AnswerScores
from gatework.tasks.reader.exchange import Exchange, ExchangeableWords, exchangeable_words
from gatework.tasks.reader.mode import Mode, ScoredRecords, question_mean
from gatework.tasks.reader.options import ReaderSettings
from gatework.tasks.reader.subject import facts_subject
from gatework.tasks.words import WordVocabulary
from gatework.training import StepLoss

__all__ = ["AnswerMode"]

WORDS, ANSWERS, GROUPS = "words.json", "answers.json", "exchangeable_words.json"
DECISIONS, MOST_COMMON = "decisions.json", "most_common.json"
_NONE = ""  # the answer of a question that has none


class AnswerDecisions(JsonArtifact):
    """What is chosen on the validation data.

    Attributes:
        temperature: what scores are divided by.
    """

    temperature: PositiveFloat = 1.0


class Answered(NamedTuple):
    """What the network says of one question about T facts: (A,) probabilities, (T, G) gates."""

    probabilities: np.ndarray
    gates: np.ndarray


class AnswerMode(Mode):
    """One of the answers of the training data: `Mode` says what the methods are."""

    decisions: AnswerDecisions = AnswerDecisions()

    # Data

    def report(self, examples: Sequence[Example]) -> None:
        known = set(self.inputs.answers)
        if new := [each for each in examples if _answer(each.output) not in known]:
            what = f"{len(new):,} of {len(examples):,} questions have answers that the training data has not"
            self.say(
                f"warning: {what}, the first at {new[0].where} ({_answer(new[0].output)!r:.40}): they are not learned."
            )

    def learn(self, train: Sequence[Example], keep: Artifacts) -> None:
        options = self.options

        def words() -> WordVocabulary:
            facts = [fact for each in train for fact in facts_of(each.input["context"])]
            questions = [each.input["question"] for each in train]
            return WordVocabulary.learn(
                map(words_of, (*facts, *questions, *answers)),
                lowercase=options.lowercase,
                min_frequency=options.min_frequency,
                vocabulary_size=options.vocabulary_size,
            )

        answers = [_answer(each.output) for each in train]
        vocabulary = keep.get(WORDS, WordVocabulary, words)
        ordered = tuple(answer for answer, _ in Counter(answers).most_common())
        known = keep.get(ANSWERS, KnownAnswers, lambda: KnownAnswers(answers=ordered))
        self.inputs = AnswerInputs(vocabulary, known.answers)
        groups = keep.own(GROUPS, ExchangeableWords, lambda: self._groups(train))
        self._exchange = Exchange(groups, self.inputs.ids, self.inputs.answer_words())
        self._most_common = keep.own(MOST_COMMON, MostCommon, lambda: MostCommon().fit([], answers))

    def _groups(self, train: Sequence[Example]) -> ExchangeableWords:
        """Words that training exchanges: groups with a word of a question or an answer, or all."""
        if self.options.exchange == "none":
            return ExchangeableWords(groups=())

        def words(sentence: str) -> list[str]:
            return [word.lower() if self.options.lowercase else word for word in words_of(sentence)]

        inputs = [each.input for each in train]
        questions = [words(input["question"]) for input in inputs]
        asked = {word for sentence in (*questions, *map(words, self.inputs.answers)) for word in sentence}
        stories = [[words(fact) for fact in facts_of(input["context"])] for input in inputs]
        found = exchangeable_words(stories, questions)
        kept = [group for group in found if self.options.exchange == "all" or asked & {*group}]
        ids = [tuple(id for word in group if (id := self.inputs.id(word)) > UNKNOWN_WORD) for group in kept]
        return ExchangeableWords(groups=tuple(group for group in ids if len(group) > 1))

    # The network

    def network(
        self, cells: Mapping[str, Cell], sizes: Callable[[type[nn.Module]], dict[str, Any]]
    ) -> AnswerNetwork:
        return AnswerNetwork(
            cells["answer_cell"],
            words=self.inputs.ids,
            answers=len(self.inputs.answers),
            **sizes(AnswerNetwork),
        )

    def joined(self, networks: Sequence[nn.Module]) -> AnswerEnsemble:
        return AnswerEnsemble(cast("Sequence[AnswerNetwork]", networks))

    def encode(self, input: Mapping[str, Any], output: Answers | None) -> Fields:
        return self.inputs.encode(input, None if output is None else _answer(output))

    def collate(self, rows: Sequence[Fields]) -> AnswerBatch:
        return self.inputs.collate(rows)

    def loss(self, network: nn.Module, batch: AnswerBatch) -> StepLoss:
        right = batch.answers
        if right is None:
            raise ValueError("the batch has inputs alone: there is nothing to compare the answers with")
        if network.training:
            facts, questions, right = self._exchange(batch.facts, batch.questions, right)
            batch = batch._replace(facts=facts, questions=questions)
        scores = network(batch)
        losses = F.nll_loss(scores.answers, right.clamp(min=0), reduction="none")
        return question_mean(losses, right >= 0)

    # What is chosen on the validation data

    def settle(
        self,
        keep: Artifacts,
        network: nn.Module,
        batches: Callable[[], Sequence[AnswerBatch]],
        answered: Callable[[], ScoredRecords],
    ) -> None:
        network = cast("AnswerNetwork", network)

        def decide() -> AnswerDecisions:
            network.temperature = 1.0
            with torch.inference_mode():
                pairs = [
                    (network(batch).answers.cpu(), cast("torch.Tensor", batch.answers).cpu())
                    for batch in batches()
                ]
            scores, right = (torch.cat(part).numpy() for part in zip(*pairs, strict=True))
            known = right >= 0
            if not known.any():
                return AnswerDecisions()
            return AnswerDecisions(temperature=fit_temperature(scores[known], right[known]).temperature)

        self.decisions = keep.renew(DECISIONS, AnswerDecisions, decide)
        network.temperature = self.decisions.temperature

    # Answers

    def outputs(self, network: nn.Module, batch: AnswerBatch, settings: ReaderSettings) -> list[Answered]:
        scores: AnswerScores = network(batch)
        probabilities, gates = scores.answers.double().exp().cpu().numpy(), scores.gates.float().cpu().numpy()
        return [
            Answered(probabilities[row], gates[:length, row])
            for row, length in enumerate(batch.lengths.tolist())
        ]

    def decode(
        self, output: Answered, row: Fields, input: Mapping[str, Any], settings: ReaderSettings
    ) -> dict[str, Any]:
        best = np.argsort(-output.probabilities, kind="stable")[: settings.alternatives].tolist()
        answers = [
            {"text": self.inputs.answers[index], "probability": min(1.0, float(output.probabilities[index]))}
            for index in best
        ]
        sentences = [
            {"text": fact, "weight": float(gates.max()), "gates": gates.tolist()}
            for fact, gates in zip(facts_of(input["context"]), output.gates, strict=False)
        ]
        record: dict[str, Any] = {"output": answers[0]["text"], "answers": answers, "sentences": sentences}
        parts = (("context", row["words"]), ("question", row["question"]))
        warnings = [f"the {name} has no words" for name, ids in parts if not len(ids)]
        return record | ({"warnings": warnings} if warnings else {})

    def subject(
        self, network: nn.Module, batch: AnswerBatch, input: Mapping[str, Any], record: Mapping[str, Any]
    ) -> Subject:
        facts = facts_of(input["context"])
        return facts_subject(cast("AnswerNetwork", network), batch, facts, self.inputs.answers, record)

    def score(self, answers: Sequence[str], references: Sequence[Sequence[str]]) -> dict[str, float]:
        return reading_figures(answers, references)

    def baselines(self) -> Mapping[str, Baseline]:
        return {"most_common": self._most_common}

    def rivals(self) -> Sequence[Rival]:
        return [LinearFacts()]


def _answer(output: Answers) -> str:
    return output.texts[0] if output.texts else _NONE
