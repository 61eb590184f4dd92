"""The reader: questions about texts in, answers with their place and their probability out."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from torch import nn

from gatework.baselines import Baseline, Rival
from gatework.data import Fields, Packed
from gatework.data.answer_places import place_of
from gatework.data.questions import Answers, read_questions
from gatework.errors import InputError
from gatework.inspect import Subject
from gatework.metrics.bootstrap import percentile_intervals
from gatework.metrics.classification import calibration_error
from gatework.metrics.figure import Figure
from gatework.metrics.reading import answer_scores
from gatework.tasks.artifacts import Artifacts
from gatework.tasks.batches import BATCH
from gatework.tasks.example_task import Example, ExampleTask
from gatework.tasks.reader.answer_mode import AnswerMode
from gatework.tasks.reader.documents import Excerpt, excerpt_of, in_documents
from gatework.tasks.reader.mode import Mode, ScoredRecords
from gatework.tasks.reader.options import (
    ReaderInput,
    ReaderOptions,
    ReaderSettings,
    ReadingRecord,
    SentQuestion,
)
from gatework.tasks.reader.span_mode import SpanMode
from gatework.tasks.tokens import unknown_share
from gatework.training import StepLoss
from gatework.training.nested import to_device

__all__ = ["Reader"]

_CALIBRATED = 1000  # questions of the validation data that the temperature is chosen on
_CHARACTERS = 2_000_000  # of passages that are encoded together, once there are more
MODES: Mapping[str, type[Mode]] = {"span": SpanMode, "answer": AnswerMode}


class Reader(ExampleTask):
    """Answers to questions about texts.

    >>> model = Reader(epochs=8).fit("squad/train.json", valid="squad/dev.json", out="runs/squad")
    >>> model.predict({"context": "Rome lies on the Tiber.", "question": "On which river does Rome lie?"})[0]["output"]

    The options are the fields of `ReaderOptions`, the settings of `predict` those of `ReaderSettings`. Data is JSON of
    SQuAD 1.1 and 2.0, or a table with the columns `context`, `question` and `answer`; `gatework.data.questions` says
    more. Without validation data 5 % of the questions are held back, drawn by `split_seed`.
    """

    name: ClassVar[str] = "reader"
    Options = ReaderOptions
    Settings = ReaderSettings
    Input = ReaderInput
    SentInput = SentQuestion
    Output = ReadingRecord
    columns: ClassVar[tuple[str, ...]] = ("context", "question", "answer", "answer_start", "id", "document")
    input_columns = (("context", "question"), ("document", "question"))
    cells: ClassVar[Mapping[str, str]] = {"cell": "cell.json", "answer_cell": "answer_cell.json"}
    headline: ClassVar[Figure] = Figure("f1", higher=True)
    noun: ClassVar[str] = "questions"
    fields = ("words",)
    ensemble_options: ClassVar[tuple[str, ...]] = (
        "mode",
        "no_answer",
        "window",
        "stride",
        "answer_words",
        "subword_rows",
        "side_rows",
    )

    options_: ReaderOptions
    _mode: Mode

    # Data

    def _read(self, data: Any, columns: Mapping[str, str]) -> list[Example]:
        questions = list(read_questions(data, columns))
        empty = [each for each in questions if not each.question.strip() or not "".join(each.context).strip()]
        if empty:
            what = f"{len(empty):,} questions that are empty, or about an empty context, are left out"
            self._say(f"warning: {what}, the first at {empty[0].where}.")
        ids = Counter(each.id for each in questions if each.id is not None)
        if twice := {name: count for name, count in ids.items() if count > 1}:
            first = next(each.where for each in questions if each.id in twice)
            what = f"{len(twice):,} ids stand there more than once, the first at {first}"
            self._say(f"warning: {what}: each question is read by itself.")
        left_out = {id(each) for each in empty}
        examples = [
            Example(each.where, {"context": each.context, "question": each.question}, each.answers)
            for each in questions
            if id(each) not in left_out
        ]
        if hasattr(self, "_mode"):
            self._mode.report(examples)
        return examples

    def _learn(self, train: Sequence[Example], keep: Artifacts) -> None:
        new = self._chosen_options(train)
        self.options_ = self.options_.model_copy(update=new)
        self._mode = MODES[self.options_.mode](self.options_, self._say)
        self._mode.learn(train, keep)
        if train:
            self._mode.report(train)
            self._mode.report(self._valid)

    def _chosen_options(self, train: Sequence[Example]) -> dict[str, str]:
        """The mode, and whether there may be no answer, where the options leave them to the data."""
        chosen = {}
        if self.options_.mode == "auto":
            lists = any(not isinstance(each.input["context"], str) for each in train)
            with_one = [each for each in train if each.output.texts]
            found = (
                0 if lists else sum(_stands_there(each.input["context"], each.output) for each in with_one)
            )
            chosen["mode"] = "answer" if lists or 2 * found < len(with_one) else "span"
        if self.options_.no_answer == "auto":
            chosen["no_answer"] = "true" if any(not each.output.texts for each in train) else "false"
        return chosen

    def _augmented(self, train: list[Example]) -> list[Example]:
        return self._mode.trainable(train)

    def _together(self, examples: Sequence[Example]) -> list[list[int]]:
        """Questions that stand one after another and are about one context, or about one that goes on."""
        groups: list[list[int]] = []
        last: Any = None
        for index, example in enumerate(examples):
            context = example.input["context"]
            if last is None or context[: len(last)] != last:
                groups.append([])
            groups[-1].append(index)
            last = context
        return groups

    # The network

    def _network(self) -> nn.Module:
        return self._mode.network(self.cells_, self._sizes)

    def _joined(self, networks: Sequence[nn.Module]) -> nn.Module:
        return self._mode.joined(networks)

    def _encode(self, input: Any, output: Answers | None = None) -> Fields:
        return self._mode.encode(input, output)

    def _collate(self, rows: Sequence[Fields]) -> Any:
        return self._mode.collate(rows)

    def _loss(self, network: nn.Module, batch: Any) -> StepLoss:
        return self._mode.loss(network, batch)

    def _settle(self, keep: Artifacts) -> None:
        def batches() -> list[Any]:
            rows = [self._valid_rows[index] for index in range(min(len(self._valid_rows), _CALIBRATED))]
            parts = [rows[begin : begin + BATCH] for begin in range(0, len(rows), BATCH)]
            return [to_device(self._collate(part), self.device) for part in parts]

        def answered() -> ScoredRecords:
            some = self._valid[:_CALIBRATED]
            references = [each.output.texts for each in some]
            return self._records([each.input for each in some], self.settings()), references

        self._mode.settle(keep, self.network_, batches, answered)

    def _settle_together(self) -> None:
        self._mode = self._mode.together([member._mode for member in self.members_])

    # Answers and figures

    def ask(
        self, question: str, documents: Sequence[str | os.PathLike[str]], **settings: Any
    ) -> list[dict[str, Any]]:
        """The answers to a question from one's own documents, the best first; none where there is none.

        The paragraphs that have most of the question's words, at most twenty, are read as one context.

        Args:
            documents: text files, or folders of them.
            settings: as for `predict`.

        Returns:
            Of each answer its `text`, `probability` and `expected_f1`, the `document` it stands in with its `start` and
            `end` there in characters, and the `sentence` around it with `sentence_start`.

        Raises:
            InputError: a document that cannot be read; a reader that answers in words of its training data.
        """
        (record,) = self.predict({"document": list(map(str, documents)), "question": question}, **settings)
        return [_in_sentence(answer, record["sentences"]) for answer in record["answers"] if record["output"]]

    def _excerpt(self, item: Mapping[str, Any]) -> Excerpt | None:
        """What is read of an input's documents; None where it has a context.

        Raises:
            InputError: a document that cannot be read; a reader that answers in words of its training data.
        """
        if item.get("document") is None:
            return None
        if self.options_.mode != "span":
            what = "answers in words of its training data, which stand nowhere in a document"
            raise InputError(self.name, what, "Give a context, or train with mode=span.")
        return excerpt_of(item["question"], item["document"])

    def _answer(self, inputs: Sequence[Any], settings: ReaderSettings) -> list[dict[str, Any]]:
        excerpts = [self._excerpt(item) for item in inputs]
        records: list[dict[str, Any]] = []
        group: list[Any] = []
        size = 0
        for item, excerpt in zip(inputs, excerpts, strict=True):
            group.append(_read(item, excerpt))
            size += len("".join(group[-1]["context"]))
            if size > _CHARACTERS:  # the arrays of many long passages are not held together
                records += super()._answer(group, settings)
                group, size = [], 0
        records += super()._answer(group, settings)
        return [
            record if excerpt is None else in_documents(record, excerpt)
            for record, excerpt in zip(records, excerpts, strict=True)
        ]

    def _subject(self, input: Any, record: Mapping[str, Any]) -> Subject:
        input = _read(input, self._excerpt(input))
        batch = to_device(self._collate([self._encode(input)]), self.device)
        return self._mode.subject(self.network_, batch, input, record)

    def _outputs(self, batch: Any, settings: ReaderSettings) -> Sequence[Any]:
        return self._mode.outputs(self.network_, batch, settings)

    def _decode(self, output: Any, row: Fields, input: Any, settings: ReaderSettings) -> dict[str, Any]:
        return self._mode.decode(output, row, input, settings)

    def _references(self, examples: Sequence[Example], rows: Packed) -> list[Any]:
        return [each.output.texts for each in examples]

    def _score(self, outputs: Sequence[str], references: Sequence[Sequence[str]]) -> dict[str, float]:
        return self._mode.score(outputs, references)

    def _own_figures(
        self, records: Sequence[Mapping[str, Any]], references: Sequence[Sequence[str]]
    ) -> dict[str, float]:
        given = [
            (record, texts) for record, texts in zip(records, references, strict=True) if record["answers"]
        ]
        if not given:
            return {}
        right = answer_scores(
            [record["answers"][0]["text"] for record, _ in given], [texts for _, texts in given]
        )
        probabilities = np.array([record["answers"][0]["probability"] for record, _ in given])
        return {"calibration_error": calibration_error(probabilities[:, None], right[:, :1])}

    def _baselines(self) -> Mapping[str, Baseline]:
        return self._mode.baselines()

    def _rivals(self) -> Sequence[Rival]:
        return self._mode.rivals() if self.options_.rivals else ()

    def _remarks(self, outputs: Sequence[str], references: Sequence[Sequence[str]]) -> dict[str, Any]:
        def shares(sums: np.ndarray) -> dict[str, np.ndarray]:
            return {"exact_match": sums[:, 0] / len(outputs), "f1": sums[:, 1] / len(outputs)}

        found = percentile_intervals(answer_scores(outputs, references), shares)
        return {"intervals": {name: [interval.low, interval.high] for name, interval in found.items()}}

    def _unknown(self, rows: Packed) -> dict[str, float]:
        share = unknown_share(rows.arrays.get("words", np.empty(0, np.int32)), 0)
        return {} if share is None else {"words": share}

    def _search_words(self, settings: ReaderSettings) -> str:
        return "the answer of the highest expected F1" if settings.choose == "f1" else "the likeliest answer"


def _stands_there(context: str, answers: Answers) -> bool:
    return any(place_of(context, *pair) is not None for pair in zip(*answers, strict=True))


def _read(item: Mapping[str, Any], excerpt: Excerpt | None) -> Mapping[str, Any]:
    """An input with its context."""
    return item if excerpt is None else {"context": excerpt.text, "question": item["question"]}


def _in_sentence(answer: Mapping[str, Any], sentences: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """An answer in a document, with the sentence around it."""
    before = [
        each
        for each in sentences
        if each["document"] == answer["document"] and each["start"] <= answer["start"]
    ]
    sentence = before[-1]
    names = "text", "probability", "expected_f1", "document", "start", "end"
    return {
        **{name: answer[name] for name in names},
        "sentence": sentence["text"],
        "sentence_start": sentence["start"],
    }
