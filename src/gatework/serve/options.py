"""What a service allows, and how long it waits."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["MIB", "ServiceOptions"]

MIB = 2**20


class ServiceOptions(BaseModel):
    """Limits are there for strangers: what is beyond one is refused with a sentence that names it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    wait: float = Field(
        default=2.0,
        ge=0,
        le=10_000,
        description="milliseconds that an input which finds its run idle waits for others, to be answered with them; "
        "it does not wait where the input before it was answered alone",
    )
    batch: int = Field(default=64, ge=1, le=65_536, description="inputs that are answered together at most")
    queue: int = Field(
        default=1024,
        ge=1,
        description="inputs that wait for a run at most; beyond it requests are told to come again",
    )

    body: float = Field(default=8.0, gt=0, description="MiB of a request's body at most")
    bodies: float = Field(
        default=256.0, gt=0, description="MiB of all requests' bodies that are read at one time"
    )
    message: float = Field(default=1.0, gt=0, description="MiB of a WebSocket's message at most")
    inputs: int = Field(default=256, ge=1, description="inputs of a request at most")
    characters: int = Field(default=50_000, ge=1, description="characters of an input's texts at most")
    numbers: int = Field(default=2_000_000, ge=1, description="numbers of an input at most")
    seconds: float = Field(default=300.0, gt=0, description="seconds of an input's sound at most")
    tokens: int = Field(
        default=1000, ge=1, description="of a setting that counts tokens (length, min_length, …)"
    )
    hypotheses: int = Field(
        default=32, ge=1, description="of a setting that counts hypotheses (beam, alternatives)"
    )
    steps: int = Field(
        default=1000, ge=1, description="of a setting that counts steps or paths (horizon, paths, steps)"
    )

    timeout: float = Field(
        default=60.0, gt=0, description="seconds until a request is answered, or told that it is not"
    )
    connections: int = Field(default=4096, ge=1, description="connections at one time")
    sessions: int = Field(default=1024, ge=1, description="WebSocket streams at one time")
    idle: float = Field(
        default=300.0, gt=0, description="seconds without a message after which a stream is put away"
    )
    kept: float = Field(
        default=64.0, ge=0, description="MiB of streams put away that can be taken up again by token"
    )
    fed: float = Field(
        default=64.0, gt=0, description="MiB of messages that a stream reads of one input at most"
    )
    grace: float = Field(default=30.0, ge=0, description="seconds that a stop waits for what has begun")
    look: float = Field(default=2.0, gt=0, description="seconds between looks at the runs' folders")

    token: str | None = Field(
        default=None,
        min_length=16,
        pattern=r"^[!-~]+$",
        repr=False,
        description="what requests carry as `Authorization: Bearer …` (none: nobody is asked)",
    )
    hosts: tuple[str, ...] = Field(
        default=(), description="further names by which the service is reached (the Host header)"
    )
    origins: tuple[str, ...] = Field(
        default=(),
        description="other pages that may use the service, such as https://example.org (none: only its own)",
    )

    def most_of_setting(self, name: str) -> int | None:
        """The largest value of a prediction's setting; None: the task's own bound is enough."""
        return {
            "length": self.tokens,
            "min_length": self.tokens,
            "no_repeat": self.tokens,
            "next_tokens": self.tokens,
            "top_k": None,
            "beam": self.hypotheses,
            "alternatives": self.hypotheses,
            "horizon": self.steps,
            "paths": self.steps,
            "steps": self.steps,
        }.get(name)
