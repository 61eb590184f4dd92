"""The translator's options, the settings of a translation, and what goes in and comes out."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field, RootModel

from gatework.tasks.pair_options import Alignment, PairOptions, ScoredText, SearchSettings

__all__ = ["SourceText", "Translation", "TranslationSettings", "TranslatorOptions"]


class TranslatorOptions(PairOptions):
    """How a translator is made and trained."""

    bleu_tokenize: Literal["13a", "intl", "char", "zh", "ja-mecab", "none"] | None = Field(
        None, description="sacrebleu's tokenizer for BLEU (none given: 13a, or none where tokens are words)"
    )
    select_by: Literal["bleu", "loss"] = Field("bleu", description="what the kept checkpoint is best in")
    validation_sentences: int = Field(
        500, ge=1, description="of the validation data are translated each time"
    )

    @property
    def bleu_tokenizer(self) -> str:
        """sacrebleu's name of it."""
        return self.bleu_tokenize or ("none" if self.tokenizer == "word" else "13a")


class TranslationSettings(SearchSettings):
    """How a text is translated."""


class SourceText(RootModel[str]):
    """One input of `predict`: the text to translate."""


class Translation(BaseModel):
    """One output of `predict`."""

    input: str
    output: str = Field(description="the translation")
    score: float = Field(description="log-probability under the length and coverage penalties")
    log_probability: float = Field(description="of the whole translation, in nats")
    alternatives: list[ScoredText] | None = Field(None, description="all translations asked for, best first")
    alignment: Alignment | None = None
    warnings: list[str] | None = Field(None, description="what about the input is unlike the training data")
