"""The options of a tagger, the settings of its predictions, and its record."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field, RootModel

from gatework.tasks.options import MOST_LAYERS, MOST_UNITS, CellOption, PredictionSettings, RivalOptions
from gatework.tasks.word_vectors import VectorOptions
from gatework.training.options import Inherited

__all__ = ["TaggedRecord", "TaggerInput", "TaggerOptions", "TaggerSettings"]

MOST_ROWS = 2**24


class TaggerOptions(RivalOptions, VectorOptions):
    """How a tagger is made and trained."""

    tag_column: str = Field(
        "last",
        description="of files of columns, the tags': last, a number from 1, or a name in CoNLL-U (upos)",
    )
    cut_spans: Literal["error", "drop", "widen"] = Field(
        "error",
        description="what is done with a marked span that begins or ends inside a word, or overlaps another",
    )
    malformed_tags: Literal["repair", "error"] = Field(
        "repair", description="what is done with BIO and BIOES tags that stand where they may not"
    )
    learn_label: Inherited[bool] = Field(
        True, description="learn the sentence's label too, where the training data has labels"
    )
    label_weight: float = Field(
        1.0, ge=0, allow_inf_nan=False, description="of the label's loss beside that of a sentence's tags"
    )

    lowercase: Inherited[bool] = Field(
        True, description="words that differ in case alone are one; their characters keep their case"
    )
    min_frequency: Inherited[int] = Field(1, ge=1, description="rarer words are unknown")
    vocabulary_size: Inherited[int | None] = Field(
        None, ge=1, description="words at most, the most frequent ones (none: all)"
    )

    cell: CellOption = Field(
        "lstm", description="the recurrent layers' cell, of the catalogue or FILE.py:NAME"
    )
    embedding_size: Inherited[int] = Field(100, ge=1, le=MOST_UNITS, description="width of a word's vector")
    character_size: Inherited[int] = Field(
        50,
        ge=0,
        le=MOST_UNITS,
        description="width of what is made of a word's characters, an even number; 0: nothing is",
    )
    subword_rows: Inherited[int] = Field(
        0,
        ge=0,
        le=MOST_ROWS,
        description="of the table of pieces of words, of 3 to 5 characters, whose vectors are added to a word's (0: "
        "there is none)",
    )
    hidden_size: Inherited[int] = Field(200, ge=1, le=MOST_UNITS, description="units of each direction")
    num_layers: Inherited[int] = Field(1, ge=1, le=MOST_LAYERS, description="recurrent layers")
    bidirectional: Inherited[bool] = Field(
        True,
        description="read in both directions; without, a tag depends on no later word, as a stream needs",
    )
    crf: Inherited[bool] = Field(
        True, description="learn scores of tags beside each other: a linear-chain CRF, not a softmax a word"
    )
    side_path: Inherited[bool] = Field(
        True,
        description="a linear model inside the network, whose scores are added: of words, affixes, shapes, neighbours",
    )
    side_rows: Inherited[int] = Field(
        2**15, ge=1, le=MOST_ROWS, description="of the table of the side path's hashed features"
    )
    gazetteers: tuple[str, ...] = Field(
        (),
        description="files of names, an entry a line: words in an entry have its file as a feature of the side path",
    )
    span_lists: Inherited[bool] = Field(
        False,
        description="the spans of the training data are lists of names too, one a type, as features of the side path; "
        "a training sentence is looked up in the lists of all others",
    )

    replaced_copies: int = Field(
        0,
        ge=0,
        le=100,
        description="of each training sentence so many more copies, in which spans have the words of other spans of "
        "their type in the training data (each span with probability 1/2)",
    )
    dropout: float = Field(
        0.5, ge=0, lt=1, description="at the layers' inputs and outputs, one mask a sentence"
    )
    recurrent_dropout: float = Field(
        0.0, ge=0, lt=1, description="of what enters the recurrent products, one mask a sentence"
    )
    word_dropout: float = Field(
        0.25,
        ge=0,
        allow_inf_nan=False,
        description="a word with n occurrences is made unknown in training with probability a / (a + n); this is a",
    )
    side_dropout: float = Field(
        0.3, ge=0, lt=1, description="share of the side path's features left out in training"
    )
    select_by: Literal["span_f1", "accuracy", "sentence_accuracy", "loss"] = Field(
        "span_f1",
        description="the figure of the validations that picks the checkpoint and is compared with `target`; with a "
        "label sentence_accuracy counts sentences that are right in everything",
    )


class TaggerSettings(PredictionSettings):
    """How a sentence is tagged."""

    confidence: bool = Field(
        True, description="also give the probability of every tag, span and label, and the second choices"
    )


class TaggerInput(RootModel[str | list[str]]):
    """One input of `predict`: a text, which is cut into words by one simple rule, or a list of words.

    `predict` takes a list of strings for several texts: a sentence of words stands in a list of its own.
    """


class ScoredTag(BaseModel):
    tag: str
    probability: float


class TaggedSpan(BaseModel):
    """Characters start … end - 1 of the text, words first … last - 1."""

    type: str
    text: str
    start: int
    end: int
    first: int
    last: int
    probability: float | None = Field(
        None, description="that these words are a span of this type, no more and no fewer"
    )


class TaggedRecord(BaseModel):
    """One output of `predict`."""

    input: str | list[str]
    output: list[str] = Field(description="a tag for every word")
    tokens: list[str] = Field(description="the words")
    spans: list[TaggedSpan] = Field(
        description="of the tags; their characters are the text's, or those of a list of words with a space between"
    )
    probabilities: list[float] | None = Field(None, description="of every tag, given the whole sentence")
    second: list[ScoredTag | None] | None = Field(None, description="of every word the next likely tag")
    label: str | None = Field(None, description="of the sentence, where labels were learned")
    label_probability: float | None = None
    second_label: ScoredTag | None = None
    warnings: list[str] | None = Field(None, description="what about the input is unlike the training data")
