"""The settings that every task has that finds its output token by token: a beam search, or draws."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from gatework.tasks.options import MOST_HYPOTHESES, PredictionSettings

__all__ = ["DecodingSettings"]


class DecodingSettings(PredictionSettings):
    """How tokens are found. A task gives its own defaults of the beam, the penalty and the temperature."""

    beam: int = Field(ge=1, le=MOST_HYPOTHESES, description="hypotheses of the beam search")
    alternatives: int = Field(
        1,
        ge=1,
        le=MOST_HYPOTHESES,
        description="outputs of the beam search to show, best first, at most beam",
    )
    length_penalty: float = Field(ge=0, description="beam: 0 ranks by probability, more favours length")
    temperature: float = Field(ge=0, description="of draws; 1: by the model's own probabilities")
    top_k: int = Field(0, ge=0, description="draw from so many likeliest tokens; 0: from all")
    top_p: float = Field(1.0, gt=0, le=1, description="draw from the likeliest tokens of this probability")
    seed: int = Field(0, ge=0, description="seed of the draws")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.alternatives > self.beam:
            raise ValueError(f"alternatives is at most beam, which is {self.beam}, not {self.alternatives}")
        return self
