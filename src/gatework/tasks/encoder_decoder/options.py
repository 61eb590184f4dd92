"""The options of an encoder-decoder, the settings of a search, and parts of a record."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field, model_validator

from gatework.tasks.decoding import DecodingSettings
from gatework.tasks.extended_vocabulary import ExtensionOptions
from gatework.tasks.options import (
    MOST_HYPOTHESES,
    MOST_LAYERS,
    MOST_TOKENS,
    MOST_UNITS,
    CellOption,
    ExampleOptions,
)
from gatework.tasks.word_vectors import VectorOptions
from gatework.training.options import Inherited

__all__ = ["Alignment", "EncoderDecoderOptions", "SearchRecord", "SearchSettings"]


class EncoderDecoderOptions(ExtensionOptions, ExampleOptions, VectorOptions):
    """How an encoder-decoder is made and trained."""

    tokenizer: Inherited[Literal["bpe", "word", "character"]] = Field(
        "bpe", description="what a token is; word: the text comes as tokens with spaces between them"
    )
    shared_vocabulary: Inherited[bool] = Field(
        False, description="one vocabulary and one embedding for both sides"
    )

    cell: CellOption = Field("gru", description="the encoder's cell, of the catalogue or FILE.py:NAME")
    decoder_cell: CellOption = Field(
        "bahdanau_gru",
        description="the decoder's: bahdanau_gru, bahdanau_lstm or luong_lstm attend; cho_gru reads one fixed "
        "context; gru, lstm and the like only start from the source; or FILE.py:NAME",
    )
    hidden_size: Inherited[int] = Field(
        256, ge=1, le=MOST_UNITS, description="units of each direction of the encoder, and of the decoder"
    )
    embedding_size: Inherited[int] = Field(256, ge=1, le=MOST_UNITS, description="width of a token's vector")
    num_layers: Inherited[int] = Field(1, ge=1, le=MOST_LAYERS, description="layers of the encoder")
    decoder_layers: Inherited[int] = Field(
        1, ge=1, le=MOST_LAYERS, description="layers of the decoder; those above the first are of `cell`"
    )
    bidirectional: Inherited[bool] = Field(True, description="the encoder reads in both directions")
    tie_weights: Inherited[bool] = Field(
        True, description="one matrix for the target's embedding and the softmax"
    )

    target_vectors: str | None = Field(
        None, description="as word_vectors, which are the source's, for the target's embedding"
    )

    dropout: float = Field(
        0.2, ge=0, lt=1, description="dropout at embeddings, between layers, before the softmax"
    )
    label_smoothing: float = Field(
        0.1, ge=0, lt=1, description="probability spread over the vocabulary in training"
    )
    scheduled_sampling: float = Field(
        0.0, ge=0, lt=1, description="share of the decoder's inputs in training that are its own guesses"
    )


class SearchSettings(DecodingSettings):
    """How an output is found: by a beam search, greedily (beam=1), or drawn at random (temperature above 0)."""

    beam: int = Field(5, ge=1, le=MOST_HYPOTHESES, description="hypotheses of the beam search; 1: greedy")
    length_penalty: float = Field(1.0, ge=0, description="0 ranks by probability, more favours length")
    coverage_penalty: float = Field(
        0.0, ge=0, description="more favours outputs that attend to all of the source"
    )
    no_repeat: int = Field(
        0, ge=0, le=MOST_TOKENS, description="no sequence of so many tokens comes twice; 0: off"
    )
    min_length: int = Field(0, ge=0, le=MOST_TOKENS, description="tokens at least")
    length: int | None = Field(
        None, ge=1, le=MOST_TOKENS, description="tokens at most (none: twice the source's and 20)"
    )
    temperature: float = Field(
        0.0, ge=0, description="above 0: draw, 1: by the model's own probabilities; needs beam=1"
    )
    replace_unknown: bool = Field(
        True, description="an unknown word becomes the source word with the most attention weight"
    )
    alignment: bool = Field(False, description="also give the attention weights of each token")

    def in_words(self) -> str:
        """The search, for people."""
        if self.temperature > 0:
            return f"drawn at temperature {self.temperature:g}"
        return "greedy search" if self.beam == 1 else f"beam search, {self.beam} hypotheses"

    @model_validator(mode="after")
    def _check_draws(self) -> SearchSettings:
        if self.temperature > 0 and self.beam > 1:
            raise ValueError(
                f"temperature={self.temperature} draws one output: it needs beam=1, not {self.beam}"
            )
        return self


class ScoredText(BaseModel):
    output: str
    score: float
    log_probability: float = Field(description="of the whole output, in nats")


class Alignment(BaseModel):
    source: list[str]
    target: list[str]
    weights: list[list[float]] = Field(description="a row a target token, which sums to 1 over the source's")


class SearchRecord(BaseModel):
    """What a task of pairs says of an output."""

    output: str = Field(description="the best output")
    score: float = Field(description="log-probability under the length and coverage penalties")
    log_probability: float = Field(description="of the whole output, in nats")
    alternatives: list[ScoredText] | None = Field(None, description="all outputs asked for, best first")
    alignment: Alignment | None = None
    warnings: list[str] | None = Field(None, description="what about the input is unlike the training data")
