"""The chat bot's options, the settings of a reply, and what goes in and comes out."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field, RootModel

from gatework.tasks.pair_options import Alignment, PairOptions, ScoredText, SearchSettings

__all__ = ["ChatBotOptions", "Reply", "ReplySettings", "Turns"]


class ChatBotOptions(PairOptions):
    """How a chat bot is made and trained."""

    shared_vocabulary: bool = Field(True, description="one vocabulary and one embedding for both sides")
    context_turns: int = Field(3, ge=1, description="turns before a reply that the bot reads")
    learn: Literal["all", "second"] = Field(
        "all", description="whose turns are replies to learn: all speakers', or the second one's alone"
    )


class ReplySettings(SearchSettings):
    """How a reply is found."""

    length: int | None = Field(60, ge=1, description="tokens at most (none: twice the context's and 20)")
    min_length: int = Field(1, ge=0, description="tokens at least")
    no_repeat: int = Field(3, ge=0, description="no sequence of so many tokens comes twice; 0: off")


class Turns(RootModel[str | list[str]]):
    """One input of `predict`: what was said last, or the turns so far, the last one's the other speaker's."""


class Reply(BaseModel):
    """One output of `predict`."""

    input: str | list[str]
    output: str = Field(description="the reply")
    score: float = Field(description="log-probability under the length and coverage penalties")
    log_probability: float = Field(description="of the whole reply, in nats")
    alternatives: list[ScoredText] | None = Field(None, description="all replies asked for, best first")
    alignment: Alignment | None = None
    warnings: list[str] | None = Field(None, description="what about the input is unlike the training data")
