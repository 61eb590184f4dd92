"""The options of a reader, the settings of its predictions, and its record."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from gatework.tasks.options import (
    MOST_HYPOTHESES,
    MOST_LAYERS,
    MOST_UNITS,
    CellOption,
    PredictionSettings,
    RivalOptions,
)
from gatework.training.options import FollowsData, Inherited

__all__ = ["ReaderInput", "ReaderOptions", "ReaderSettings", "ReadingRecord", "SentQuestion"]

MOST_ROWS = 2**24
MOST_WORDS = 1000  # of an answer


class ReaderOptions(RivalOptions):
    """How a reader is made and trained."""

    mode: Inherited[Literal["auto", "span", "answer"]] = Field(
        "auto",
        description="what answers: a piece of the passage (span), or an answer of the training data (answer; auto: "
        "where contexts are lists of sentences, or fewer than half of the answers stand in their passages)",
    )
    no_answer: Inherited[Literal["auto", "true", "false"]] = Field(
        "auto",
        description="learn that a passage may not hold the answer (auto: where the training data has such questions)",
    )

    lowercase: Inherited[bool] = Field(True, description="words that differ in case alone are one")
    min_frequency: Inherited[int] = Field(
        2, ge=1, description="rarer words are unknown; their pieces are read"
    )
    vocabulary_size: Inherited[int | None] = Field(
        None, ge=1, description="words at most, the most frequent ones (none: all)"
    )
    window: Inherited[int] = Field(
        400,
        ge=2,
        le=MOST_UNITS,
        description="words of a passage that are read at a time; of a longer one overlapping windows",
    )
    stride: Inherited[int] = Field(
        200, ge=1, le=MOST_UNITS, description="words from the begin of one window to that of the next"
    )
    answer_words: Inherited[int] = Field(
        20, ge=1, le=MOST_WORDS, description="words of the longest answer that is a piece of a passage"
    )
    max_length: int = Field(
        800, ge=1, description="words of a passage; questions about longer ones are left out of the training"
    )
    batch_tokens: FollowsData[int] = Field(
        4000,
        ge=1,
        description="words of a batch's passages at most, padding included (auto: 4000, fewer for small data)",
    )

    cell: CellOption = Field(
        "gru", description="the recurrent layers' cell, of the catalogue or FILE.py:NAME"
    )
    answer_cell: CellOption = Field(
        "qrn",
        description="the cell that reduces a question by facts (answer mode), of the catalogue or FILE.py:NAME",
    )
    num_layers: Inherited[int] = Field(
        2, ge=1, le=MOST_LAYERS, description="layers that reduce a question, one on another (answer mode)"
    )
    exchange: Literal["none", "asked", "all"] = Field(
        "none",
        description="which words of like places training exchanges in a story, its question and its answer: those of "
        "groups with a word of a question or an answer (asked), or of all groups (answer mode)",
    )
    embedding_size: Inherited[int] = Field(64, ge=1, le=MOST_UNITS, description="width of a word's vector")
    subword_rows: Inherited[int] = Field(
        2**14,
        ge=0,
        le=MOST_ROWS,
        description="of the table of pieces of words, of 3 to 5 characters, whose vectors are added to a word's (0: "
        "there is none)",
    )
    hidden_size: Inherited[int] = Field(64, ge=1, le=MOST_UNITS, description="units of each direction")
    side_rows: Inherited[int] = Field(
        2**17,
        ge=1,
        le=MOST_ROWS,
        description="of the table of the linear part's features: what is seen at a word, with the kind of question",
    )
    dropout: float = Field(
        0.3, ge=0, lt=1, description="at the layers' inputs and outputs, one mask a passage"
    )
    word_dropout: float = Field(
        0.5,
        ge=0,
        allow_inf_nan=False,
        description="a word with n occurrences is made unknown in training with probability a / (a + n); this is a",
    )
    side_dropout: float = Field(
        0.3, ge=0, lt=1, description="share of the linear part's features left out in training"
    )


class ReaderSettings(PredictionSettings):
    """How a question is answered."""

    alternatives: int = Field(
        1,
        ge=1,
        le=MOST_HYPOTHESES,
        description="answers that are given, the best first; of pieces of a passage no two overlap",
    )
    choose: Literal["f1", "exact_match"] = Field(
        "f1",
        description="which piece of a passage is best: that of the highest F1 to be expected, or the likeliest one",
    )


class SentQuestion(BaseModel):
    """A question that is sent from elsewhere, and the text that answers it or its sentences; never a file's path."""

    model_config = ConfigDict(extra="forbid")

    context: str | list[str]
    question: str


class ReaderInput(BaseModel):
    """One input of `predict`: a question, and the text that answers it, its sentences, or documents that hold it."""

    model_config = ConfigDict(extra="forbid")

    context: str | list[str] | None = None
    document: str | list[str] | None = Field(
        None,
        description="a text file, a folder of them, or several: the paragraphs with most of the question's words are "
        "read as one context (span mode)",
    )
    question: str

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.context is None) == (self.document is None):
            raise ValueError("it has one of context and document")
        return self


class ReadAnswer(BaseModel):
    """An answer: characters start … end - 1 of the context, or of its document, where it is a piece of it."""

    text: str
    probability: float = Field(description="that this is the answer, no more and no less")
    expected_f1: float | None = Field(
        None, description="the F1 of its words with the right answer's, to be expected"
    )
    start: int | None = None
    end: int | None = None
    document: str | None = Field(None, description="the file in which it stands, where documents were given")


class ReadSentence(BaseModel):
    """A sentence of the context, with characters start … end - 1 of it, or of its document, where that is a text."""

    text: str
    weight: float = Field(
        description="span mode: of the answer's beginning there; answer mode: how much it changed the question, the "
        "highest of `gates`"
    )
    gates: list[float] | None = Field(
        None,
        description="answer mode: how much it changed the question in each layer from the lowest on, forward and "
        "backward",
    )
    start: int | None = None
    end: int | None = None
    document: str | None = None


class ReadingRecord(BaseModel):
    """One output of `predict`."""

    input: ReaderInput
    output: str = Field(description="the best answer; empty where there is none")
    answers: list[ReadAnswer] = Field(description="the best answers, also where there may be none")
    sentences: list[ReadSentence] = Field(description="of the context, in their order")
    no_answer_probability: float | None = Field(
        None, description="that the context holds no answer, where that is learned"
    )
    warnings: list[str] | None = Field(None, description="what about the input is unlike the training data")
