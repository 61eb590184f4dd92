"""Where a training stands: all that the loop must remember beside weights, optimizer and random numbers."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class Window(BaseModel):
    """Sums over the steps since the last record."""

    model_config = ConfigDict(extra="forbid")

    steps: int = 0
    total: float = 0.0  # summed loss in nats
    count: float = 0.0  # targets
    norm: float = 0.0  # sum of the gradient norms before clipping
    highest_norm: float = 0.0
    learning_rate: float = 0.0  # of the last step
    parts: dict[str, float] = {}  # summed parts of the loss, by name


class TrainingState(BaseModel):
    """The position of a training and its decisions so far. Floats survive JSON to the bit."""

    model_config = ConfigDict(extra="forbid")

    world: int = Field(default=1, ge=1, le=65_536)  # processes
    step: int = Field(default=0, ge=0)  # optimizer steps done
    epoch: int = Field(default=0, ge=0)  # epochs done
    batch: int = Field(default=0, ge=0)  # batches of the current epoch done
    batches: int = Field(default=0, ge=0)  # batches of an epoch
    seconds: float = Field(default=0.0, ge=0)  # time trained, validations and checkpoints included
    records: int = Field(default=0, ge=0)  # lines of history.jsonl

    window: Window = Window()
    norms: list[float] = []  # recent gradient norms
    usual_norm: float | None = None  # their median at the last record, against which an explosion is seen
    warned_at: int | None = None

    validated_at: int | None = None  # step of the last validation
    validated: list[int] = []  # steps of the validations that averaging still needs
    best_at: int | None = None
    best: dict[str, float | None] = {}  # figures of the best validation
    since_best: int = 0  # validations since then
    plateau_share: float = Field(default=1.0, gt=0)  # what the plateau schedule has left of the learning rate
    since_plateau: int = 0

    def advance(self) -> None:
        """One step further."""
        self.step += 1
        self.batch += 1
        if self.batch >= self.batches:
            self.epoch, self.batch = self.epoch + 1, 0
