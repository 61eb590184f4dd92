"""The options of a classifier, the settings of its predictions, and a record."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field, RootModel

from gatework.tasks.classifier.pooling import PoolingName
from gatework.tasks.options import MOST_LAYERS, MOST_UNITS, CellOption, PredictionSettings, RivalOptions
from gatework.tasks.tokens import TokenOptions
from gatework.tasks.word_vectors import VectorOptions
from gatework.training.options import Inherited

__all__ = ["ClassificationRecord", "ClassificationSettings", "ClassifierInput", "ClassifierOptions"]

MOST_ROWS = 2**24


class ClassifierOptions(TokenOptions, RivalOptions, VectorOptions):
    """How a classifier is made and trained."""

    input: Inherited[Literal["auto", "text", "sequence"]] = Field(
        "auto",
        description="what is classified: a text, or a sequence of numbers or of rows of numbers, one a step (auto: "
        "sequence for .ts files, and where there is a column sequence and none of texts)",
    )
    several: Inherited[bool] = Field(False, description="an example has any number of labels, not one")

    min_frequency: Inherited[int] = Field(
        2, ge=1, description="rarer tokens are unknown; their pieces are read"
    )
    tokenizer: Inherited[Literal["character", "word", "bpe"]] = Field(
        "word",
        description="what a token of a text is; word: runs of letters and digits, and every other sign",
    )
    lowercase: Inherited[bool] = Field(
        True, description="words that differ in case alone are one; their characters keep their case"
    )
    batch_examples: int | None = Field(
        64,
        ge=1,
        description="examples of a batch at most: with a bound, the loss of an example counts alike in a batch of long "
        "ones and of short ones (none: as many as batch_tokens holds)",
    )
    max_length: int = Field(
        1000,
        ge=2,
        description="tokens of a text that are read: of a longer one the first and the last; longer sequences are left "
        "out of the training",
    )

    cell: CellOption = Field(
        "gru", description="the recurrent layers' cell, of the catalogue or FILE.py:NAME"
    )
    embedding_size: Inherited[int] = Field(128, ge=1, le=MOST_UNITS, description="width of a token's vector")
    subword_rows: Inherited[int] = Field(
        2**14,
        ge=0,
        le=MOST_ROWS,
        description="of the table of pieces of words, of 3 to 5 characters, whose vectors are added to a word's (words "
        "only; 0: there is none)",
    )
    character_size: Inherited[int] = Field(
        0,
        ge=0,
        le=MOST_UNITS,
        description="width of what a recurrent network makes of a word's characters, an even number (words only; 0: "
        "nothing)",
    )
    hidden_size: Inherited[int] = Field(128, ge=1, le=MOST_UNITS, description="units of each direction")
    num_layers: Inherited[int] = Field(1, ge=1, le=MOST_LAYERS, description="recurrent layers")
    bidirectional: Inherited[bool] = Field(True, description="read in both directions")
    pooling: Inherited[tuple[PoolingName, ...]] = Field(
        ("attention", "max"),
        min_length=1,
        description="how the states of all steps become one vector: attention, max, mean, last, or several, joined",
    )
    side_path: Inherited[bool] = Field(
        True,
        description="a linear model inside the network, whose scores are added: of a text's words, pairs and pieces of "
        "words, of a sequence's statistics",
    )
    side_rows: Inherited[int] = Field(
        2**18, ge=1, le=MOST_ROWS, description="of the table of a text's hashed features"
    )

    dropout: float = Field(
        0.5, ge=0, lt=1, description="of the inputs and the outputs of the recurrent layers"
    )
    word_dropout: float = Field(
        0.25,
        ge=0,
        allow_inf_nan=False,
        description="a token with n occurrences is made unknown in training with probability a / (a + n); this is a",
    )
    side_dropout: float = Field(
        0.5, ge=0, lt=1, description="share of the side path's features left out in training"
    )
    mix_rival: bool = Field(
        False,
        description="mix the probabilities of the linear rival into the network's, by the share of the least log loss "
        "on the validation data; the loss among the figures, and explanations, are of the network alone",
    )
    weights: Literal["equal", "balanced"] = Field(
        "equal",
        description="of examples in the loss; balanced: rare labels weigh more, and probabilities are set right again "
        "on the validation data",
    )
    select_by: Literal["macro_f1", "accuracy", "loss"] = Field(
        "macro_f1",
        description="the figure of the validations that picks the checkpoint and is compared with `target`",
    )


class ClassificationSettings(PredictionSettings):
    """How an input is classified."""

    alternatives: int = Field(
        0, ge=0, le=1000, description="also give so many labels, the most probable first"
    )
    abstain_below: float = Field(
        0.0,
        ge=0,
        le=1,
        description="no label where the highest probability is lower; with several: none below it",
    )
    explain: bool = Field(
        False,
        description="also say which tokens weighed most: attention, and the gradient through all states",
    )


class ClassifierInput(RootModel[str | list[float] | list[list[float]]]):
    """One input of `predict`: a text; or a sequence, a number a step, or a row of numbers a step."""


class ScoredLabel(BaseModel):
    label: str
    probability: float


class WeighedToken(BaseModel):
    """What one token, or step, had to do with the answer's first label."""

    token: str
    span: tuple[int, int] | None = Field(None, description="its characters in the text")
    attention: float | None = Field(
        None, description="the share of the state after this token in what is pooled; they sum to 1"
    )
    gradient: float = Field(
        description="what this token's vector adds to the label's score, by integrated gradients"
    )


class ClassificationRecord(BaseModel):
    """One output of `predict`."""

    input: str | list[float] | list[list[float]]
    output: str | list[str] | None = Field(
        description="the label; the list of labels where an example may have several; null where it abstains"
    )
    probability: float = Field(description="of the label; with several labels, the highest of all labels")
    probabilities: dict[str, float] = Field(description="of every label")
    alternatives: list[ScoredLabel] | None = None
    tokens: list[WeighedToken] | None = Field(None, description="with explain: each token, or step")
