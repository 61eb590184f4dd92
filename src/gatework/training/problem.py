"""What a task gives the loop: a model, batches and a loss. The loop knows nothing else of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor


class StepLoss(NamedTuple):
    """The loss of one batch.

    total: the *sum* of the losses over the targets, in nats, a scalar with its graph. The loop divides by
        the count over all processes, so that the result does not depend on how a batch is spread.
    count: the number of targets in the batch (padding not counted).
    carry: what goes into the next step: nested tuples, lists or dicts of tensors, or None. The loop
        detaches it (truncated backpropagation through time; Williams & Peng 1990).
    """

    total: Tensor
    count: int  # type: ignore[assignment]  # shadows tuple.count, which nobody needs here
    carry: Any = None


class Problem(Protocol):
    """One training job."""

    @property
    def model(self) -> torch.nn.Module:
        """The module that is trained."""

    def batches(self, epoch: int, rank: int, world: int) -> Sequence[Any]:
        """The batches of this process in this epoch, by index.

        A function of its arguments alone (shuffle with a generator seeded by the epoch): a resumed
        training asks again and goes on at an index. Of equal length on every rank.
        """

    def initial_carry(self, rank: int, world: int) -> Any:
        """The carry at the start of each epoch; None where steps are independent."""

    def loss(self, model: torch.nn.Module, batch: Any, carry: Any) -> StepLoss:
        """The loss of a batch, which is on the model's device.

        `model` is `self.model` or, with several processes, a wrapper that averages its gradients: it must
        be called, `model(...)`, once, and only through it may the loss depend on the parameters.
        """

    def validate(self, model: torch.nn.Module) -> dict[str, float]:
        """Figures of the model (in eval mode, without gradients), with at least `loss`.

        The checkpoint that is kept is the one whose `objective` is lowest, or its loss where there is none.

        Called on the main process only. Finite numbers, and the same for the same weights.
        """
