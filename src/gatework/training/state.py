"""Where a training stands: all that the loop must remember beside weights, optimizer and random numbers."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Count = Annotated[int, Field(ge=0, le=2**53)]  # beyond, a float cannot hold it exactly
Number = Annotated[float, Field(allow_inf_nan=False)]


class Window(BaseModel):
    """Sums over the steps since the last record."""

    model_config = ConfigDict(extra="forbid")

    steps: Count = 0
    total: Number = 0.0  # summed loss in nats
    count: Number = 0.0  # targets
    norm: Number = 0.0  # sum of the gradient norms before clipping
    highest_norm: Number = 0.0
    learning_rate: Number = 0.0  # of the last step
    parts: dict[str, Number] = {}  # summed parts of the loss, by name


class TrainingState(BaseModel):
    """The position of a training and its decisions so far. Floats survive JSON to the bit."""

    model_config = ConfigDict(extra="forbid")

    world: int = Field(default=1, ge=1, le=65_536)  # processes
    step: Count = 0  # optimizer steps done
    epoch: Count = 0  # epochs done
    batch: Count = 0  # batches of the current epoch done
    batches: Count = 0  # batches of an epoch
    seconds: float = Field(
        default=0.0, ge=0, allow_inf_nan=False
    )  # time trained, validations and checkpoints included
    records: Count = 0  # lines of history.jsonl

    window: Window = Window()
    norms: list[Number] = []  # recent gradient norms
    usual_norm: Number | None = None  # their median at the last record, against which an explosion is seen
    warned_at: Count | None = None

    validated_at: Count | None = None  # step of the last validation
    validated: list[Count] = []  # steps of the validations that averaging still needs
    best_at: Count | None = None
    best: dict[str, Number | None] = {}  # figures of the best validation
    since_best: Count = 0  # validations since then
    plateau_share: float = Field(
        default=1.0, gt=0, allow_inf_nan=False
    )  # what the plateau schedule has left of the learning rate
    since_plateau: Count = 0

    def take_over(self, other: TrainingState) -> None:
        """Become a copy of another state; whoever holds this one sees it."""
        for name, value in other.model_copy(deep=True):
            setattr(self, name, value)

    def advance(self) -> None:
        """One step further."""
        self.step += 1
        self.batch += 1
        if self.batch >= self.batches:
            self.epoch, self.batch = self.epoch + 1, 0
