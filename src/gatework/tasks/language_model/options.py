"""The language model's options, the settings of a completion, and what goes in and comes out."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    Field,
    RootModel,
    field_validator,
)

from gatework.errors import InputError
from gatework.layers.softmax import default_cutoffs
from gatework.tasks.decoding import DecodingSettings
from gatework.tasks.options import (
    MOST_HYPOTHESES,
    MOST_LAYERS,
    MOST_TOKENS,
    MOST_UNITS,
    CellOption,
)
from gatework.tasks.stream_task import StreamOptions
from gatework.tasks.tokens import BYTE_PAIRS
from gatework.tasks.word_vectors import VectorOptions
from gatework.training.options import Inherited, OptionRules

__all__ = ["KIND_DEFAULTS", "Completion", "CompletionSettings", "LanguageModelOptions", "Prompt"]

LARGE_VOCABULARY = 10_000

# What `LanguageModelOptions` take instead of their defaults (made for characters) with another tokenizer.
KIND_DEFAULTS: dict[str, dict[str, Any]] = {
    "character": {},
    "bpe": {
        "vocabulary_size": BYTE_PAIRS,
        "embedding_size": 256,
        "tie_weights": True,
        "bptt": 64,
        "ngram_order": 4,
    },
    "word": {
        "embedding_size": 256,
        "hidden_size": 512,
        "tie_weights": True,
        "bptt": 35,
        "embedding_dropout": 0.2,
        "output_dropout": 0.3,
        "ngram_order": 4,
    },
}


class LanguageModelOptions(StreamOptions, VectorOptions):
    """How a language model is made and trained; some defaults follow the kind of tokenizer."""

    tokenizer: Inherited[Literal["character", "word", "bpe"]] = Field(
        "character", description="what a token is"
    )

    cell: CellOption = Field("lstm", description="a cell of the catalogue, or FILE.py:NAME")
    hidden_size: Inherited[int] = Field(
        384, ge=1, le=MOST_UNITS, description="units of a recurrent layer (word: 512)"
    )
    num_layers: Inherited[int] = Field(2, ge=1, le=MOST_LAYERS, description="recurrent layers")
    proj_size: Inherited[int] = Field(
        0, ge=0, le=MOST_UNITS, description="units of the states that a cell projects; 0: none"
    )
    residual: Inherited[bool] = Field(
        False, description="every layer but the first adds its input to its output"
    )
    embedding_size: Inherited[int] = Field(
        64, ge=1, le=MOST_UNITS, description="width of a token's vector (bpe, word: 256)"
    )
    tie_weights: Inherited[bool] = Field(
        False, description="one matrix for embedding and softmax (bpe, word: true)"
    )
    adaptive_softmax: Inherited[Literal["auto", "on", "off"]] = Field(
        "auto", description=f"softmax in clusters of frequency; auto: on from {LARGE_VOCABULARY} tokens"
    )
    cutoffs: Inherited[list[int] | None] = Field(
        None, description="first token of each tail of the adaptive softmax (none: at 1/16 and 5/16 of them)"
    )

    embedding_dropout: float = Field(0.0, ge=0, lt=1, description="dropout of the embedding (word: 0.2)")
    dropout: float = Field(0.1, ge=0, lt=1, description="dropout between the layers")
    output_dropout: float = Field(0.1, ge=0, lt=1, description="dropout before the softmax (word: 0.3)")
    recurrent_dropout: float = Field(0.0, ge=0, lt=1, description="dropout of the recurrent products' input")
    zoneout: float = Field(0.0, ge=0, lt=1, description="share of state units that keep their value")

    bptt: Annotated[int, OptionRules(old_names=("steps",))] = Field(
        128, ge=1, description="tokens that the gradient goes back through (bpe: 64, word: 35)"
    )
    ngram_order: Inherited[int] = Field(6, ge=1, description="longest n-gram of the baseline (bpe, word: 4)")

    @field_validator("adaptive_softmax", mode="before")
    @classmethod
    def _read_yaml(cls, value: Any) -> Any:
        return {True: "on", False: "off"}.get(value, value)  # what YAML makes of a bare on or off

    def softmax_cutoffs(self, vocabulary_size: int) -> list[int]:
        """The adaptive softmax's cutoffs for this vocabulary; empty for the plain softmax.

        Raises:
            InputError: the option's cutoffs do not fit the vocabulary.
        """
        large = vocabulary_size >= LARGE_VOCABULARY
        if self.adaptive_softmax == "off" or (self.adaptive_softmax == "auto" and not large):
            return []
        cutoffs = default_cutoffs(vocabulary_size) if self.cutoffs is None else self.cutoffs
        if not cutoffs or any(low >= high for low, high in pairwise([0, *cutoffs, vocabulary_size])):
            what = f"{cutoffs} do not rise between 0 and the vocabulary's {vocabulary_size} tokens"
            raise InputError("option cutoffs", what, "Give others, or adaptive_softmax=off.")
        return cutoffs


class CompletionSettings(DecodingSettings):
    """How a text is completed: tokens are drawn one by one, or a beam above 1 seeks the likeliest text."""

    length: int = Field(200, ge=1, le=MOST_TOKENS, description="tokens of the completion at most")
    stop: str | None = Field(None, description="end after the first token that holds this text")
    temperature: float = Field(
        0.7, ge=0, description="0: always the likeliest token; 1: by the model's own probabilities"
    )
    beam: int = Field(1, ge=1, le=MOST_HYPOTHESES, description="hypotheses of a beam search; 1: none")
    length_penalty: float = Field(0.0, ge=0, description="beam: 0 ranks by probability, more favours length")
    next_tokens: Annotated[int, OptionRules(old_names=("next",))] = Field(
        0, ge=0, description="also give the probabilities of so many likeliest next tokens"
    )


class Prompt(RootModel[str]):
    """One input of `predict`: the text to complete, which may be empty."""


class TokenProbability(BaseModel):
    token: str
    probability: float


class Alternative(BaseModel):
    output: str
    log_probability: float = Field(description="of the whole completion, in nats")


class Completion(BaseModel):
    """One output of `predict`."""

    input: str
    output: str = Field(description="the completion, without the input")
    log_probability: float = Field(description="of the whole completion, in nats")
    alternatives: list[Alternative] | None = Field(None, description="of a beam search, best first")
    next: list[TokenProbability] | None = Field(None, description="likeliest tokens right after the input")
