"""What answer mode reads: facts and a question as ids of words, a fact a row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from gatework.data import Fields
from gatework.data.facts import facts_of, words_of
from gatework.tasks.artifacts import JsonArtifact
from gatework.tasks.words import WordVocabulary

__all__ = ["UNKNOWN_WORD", "AnswerBatch", "AnswerInputs", "KnownAnswers"]

_PADDING, UNKNOWN_WORD = (
    0,
    1,
)  # ids of no word and of an unknown one; word i of the vocabulary has the id i + 2


class KnownAnswers(JsonArtifact):
    """The answers of the training data, the most frequent first."""

    answers: tuple[str, ...]


class AnswerBatch(NamedTuple):
    """B questions, about at most T facts of at most W words each.

    facts: (T, B, W) ids of words, 0 past a fact's last word; lengths: (B,) facts of each question.
    questions: (B, Q) ids of words, 0 past the last one.
    answers: (B,) which answer is right, -1 where it is none of the training data's; None: nobody knows.
    """

    facts: Tensor
    lengths: Tensor
    questions: Tensor
    answers: Tensor | None


class AnswerInputs:
    """Encodes questions and makes batches of them.

    Args:
        vocabulary: of the words of facts, questions and answers.
        answers: A.
    """

    def __init__(self, vocabulary: WordVocabulary, answers: Sequence[str]) -> None:
        self.vocabulary, self.answers = vocabulary, tuple(answers)
        self._numbers = {answer: number for number, answer in enumerate(self.answers)}

    @property
    def ids(self) -> int:
        """Ids of words, that of padding and that of unknown words among them."""
        return self.vocabulary.size + 1

    def id(self, word: str) -> int:
        return self.vocabulary.word_id(word) + UNKNOWN_WORD

    def encode(self, input: Mapping[str, Any], answer: str | None) -> Fields:
        """`words`, (T',) ids of the words of all facts, fact after fact; `fact_words`, (T,) words of each;
        `question`, (Q,) ids; and with an answer `answer`, (1,)."""
        facts = [[self.id(word) for word in words_of(fact)] for fact in facts_of(input["context"])] or [[]]
        fields = {
            "words": np.array([id for fact in facts for id in fact], np.int32),
            "fact_words": np.array([len(fact) for fact in facts], np.int32),
            "question": np.array([self.id(word) for word in words_of(input["question"])], np.int32),
        }
        if answer is not None:
            fields["answer"] = np.array([self._numbers.get(answer, -1)], np.int32)
        return fields

    def collate(self, rows: Sequence[Fields]) -> AnswerBatch:
        """A batch of encoded questions."""
        counts = [row["fact_words"] for row in rows]
        width = max(1, *(int(count.max()) for count in counts))
        facts = np.full((len(rows), max(map(len, counts)), width), _PADDING, np.int64)
        questions = np.full((len(rows), max(1, *(len(row["question"]) for row in rows))), _PADDING, np.int64)
        for index, (row, count) in enumerate(zip(rows, counts, strict=True)):
            facts[index, : len(count)][np.arange(width) < count[:, None]] = row["words"]
            questions[index, : len(row["question"])] = row["question"]
        known = "answer" in rows[0]
        return AnswerBatch(
            torch.from_numpy(facts.transpose(1, 0, 2).copy()),
            torch.tensor([len(count) for count in counts]),
            torch.from_numpy(questions),
            torch.tensor([int(row["answer"][0]) for row in rows]) if known else None,
        )

    def answer_words(self) -> Tensor:
        """(A, P) ids of the words of each answer, 0 past its last one."""
        words = [[self.id(word) for word in words_of(answer)] for answer in self.answers]
        table = torch.zeros(len(words), max(1, *map(len, words)), dtype=torch.int64)
        for row, ids in zip(table, words, strict=True):
            row[: len(ids)] = torch.tensor(ids, dtype=torch.int64)
        return table
