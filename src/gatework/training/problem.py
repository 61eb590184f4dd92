"""What a task gives the loop: a model, batches and a loss. The loop knows nothing else of it.

`ExampleProblem` is the problem of independent examples, `StreamProblem` that of truncated backpropagation
along a stream of tokens; anything else may implement `Problem` itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

import torch
from torch import Tensor, nn

from gatework.data import Fields, Packed, ParallelStreams, TokenStream, length_batches
from gatework.errors import InputError
from gatework.metrics.figure import Figure
from gatework.training import nested

_NO_PARTS: Mapping[str, Tensor] = MappingProxyType({})
_EVALUATION_BUDGET = 4000
LOSS = Figure("loss", higher=False)

Batch = TypeVar("Batch")


class StepLoss(NamedTuple):
    """The loss of one batch.

    total: the *sum* of the losses over the targets, in nats, a scalar with its graph. The loop divides by
        the count over all processes, so that the result does not depend on how a batch is spread.
    count: the number of targets in the batch (padding not counted).
    carry: what goes into the next step: nested tuples, lists or dicts of tensors, or None. The loop
        detaches it (truncated backpropagation through time; Williams & Peng 1990).
    parts: what `total` is made of, by name, each a sum over the same targets and a scalar: shown and
        recorded beside the loss, a target, and without influence on the training. Several processes give the
        same names.
    """

    total: Tensor
    count: int  # type: ignore[assignment]  # shadows tuple.count, which nobody needs here
    carry: Any = None
    parts: Mapping[str, Tensor] = _NO_PARTS


class ParameterGroup(NamedTuple):
    """Parameters that are trained alike.

    names: of the model's parameters, with `*` and `?` as in file names: `("encoder.*",)`.
    factor: what the learning rate is multiplied by.
    frozen_until: epochs (0.5: in the middle of the first) before which these parameters stay as they are:
        the optimizer gathers no moments for them, and the gradient's norm leaves them out.
    """

    names: tuple[str, ...]
    factor: float = 1.0
    frozen_until: float = 0.0


class Problem(Protocol):
    """One training job."""

    @property
    def model(self) -> torch.nn.Module:
        """The module that is trained."""

    def groups(self) -> Sequence[ParameterGroup]:
        """Groups of parameters from the input to the output, for rates of their own and gradual unfreezing.

        A parameter belongs to the first group that names it; one that no group names is trained throughout,
        at the full rate. A problem may leave this method out: it then has no groups.
        """
        return ()

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

        Called on the main process only. Finite numbers, and the same for the same weights.
        """

    def headline(self) -> Figure:
        """The figure of the validation that picks the checkpoint and is compared with `target`.

        A problem may leave this method out: then it is the loss.
        """
        return LOSS

    def judges_start(self) -> bool:
        """Whether the weights before the first step are validated too, and may be the ones that the run keeps.

        A problem may leave this method out: then they are not.
        """
        return False

    def search(self) -> str:
        """How the outputs were found that the validation's figures are of, for people: `greedy search`.

        A problem whose figures are of no search may leave this method out.
        """
        return ""


def search_of(problem: Problem) -> str:
    """How the outputs of the problem's validations are found; empty where it says nothing of it."""
    return problem.search() if hasattr(problem, "search") else ""


def headline_of(problem: Problem) -> Figure:
    """The figure that picks the problem's checkpoint; the loss where it says nothing of it."""
    return problem.headline() if hasattr(problem, "headline") else LOSS


def judges_start(problem: Problem) -> bool:
    """Whether the weights before the first step may be kept; not, where the problem says nothing of it."""
    return problem.judges_start() if hasattr(problem, "judges_start") else False


def groups_of(problem: Problem) -> Sequence[ParameterGroup]:
    """The problem's groups; none where it says nothing of them."""
    return problem.groups() if hasattr(problem, "groups") else ()


class Totals(NamedTuple):
    """A loss summed over data: in nats, the number of targets, and the sums of its parts by name."""

    total: float
    count: int  # type: ignore[assignment]
    parts: dict[str, float]


def total_loss(
    network: nn.Module,
    examples: Packed,
    collate: Callable[[Sequence[Fields]], Batch],
    *,
    by: Sequence[str],
    loss: Callable[[nn.Module, Batch], StepLoss],
) -> Totals:
    """The loss of examples in eval mode, without gradients. The arguments are those of `ExampleProblem`."""
    device = next(network.parameters()).device
    indices = length_batches(examples.lengths(*by), _EVALUATION_BUDGET, seed=0)
    total, count = 0.0, 0
    parts: dict[str, float] = {}
    was_training = network.training
    network.eval()
    try:
        with torch.inference_mode():
            for batch in _Batches(examples, indices, collate):
                step = loss(network, nested.to_device(batch, device))
                total += step.total.item()
                count += step.count
                for name, value in step.parts.items():
                    parts[name] = parts.get(name, 0.0) + value.item()
    finally:
        network.train(was_training)
    return Totals(total, count, parts)


class _Batches(Sequence[Batch]):
    """Batches that are made when they are asked for."""

    def __init__(
        self,
        examples: Packed,
        indices: list[list[int]],
        collate: Callable[[Sequence[Fields]], Batch],
    ) -> None:
        self._examples, self._indices, self._collate = examples, indices, collate

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, index: Any) -> Any:
        return self._collate([self._examples[example] for example in self._indices[index]])


class ExampleProblem(Problem, Generic[Batch]):
    """Independent examples, in batches of like lengths.

    Args:
        network: the model, without the wrapper of several processes.
        train, valid: the examples.
        collate: makes a batch, nested tensors on the CPU, of some examples.
        budget: entries of a batch at most, padding included, in the longest of the fields `by`.
        most: examples of a batch at most; None: as many as the budget allows.
        by: the fields whose lengths decide which examples share a batch.
        seed: of the batches' order.
        loss: of a batch on the model's device; in training mode and in eval mode, as `network.training` says.
        validation: figures beside the validation data's loss.
        headline: the figure that picks the checkpoint (`Problem.headline`).
        search: how the outputs were found that these figures are of (`Problem.search`).
        groups: of the parameters (`Problem.groups`).

    Raises:
        InputError: there is no example to train on, or none to validate on.
    """

    def __init__(
        self,
        network: nn.Module,
        train: Packed,
        valid: Packed,
        collate: Callable[[Sequence[Fields]], Batch],
        *,
        budget: int,
        most: int | None = None,
        by: Sequence[str],
        seed: int,
        loss: Callable[[nn.Module, Batch], StepLoss],
        validation: Callable[[], dict[str, float]] = dict,
        headline: Figure = LOSS,
        search: str = "",
        groups: Sequence[ParameterGroup] = (),
    ) -> None:
        for what, examples in (("training", train), ("validation", valid)):
            if not len(examples):
                raise InputError(f"the {what} data", "holds no example that can be used", "Give more of it")
        self._network, self._train, self._valid, self._collate = network, train, valid, collate
        self._budget, self._most, self._by, self._seed = budget, most, tuple(by), seed
        self._loss, self._validation, self._groups = loss, validation, tuple(groups)
        self._headline, self._search = headline, search

    @property
    def model(self) -> nn.Module:
        return self._network

    def groups(self) -> Sequence[ParameterGroup]:
        return self._groups

    def headline(self) -> Figure:
        return self._headline

    def search(self) -> str:
        return self._search

    def batches(self, epoch: int, rank: int, world: int) -> Sequence[Batch]:
        seed = self._seed * 1_000_003 + epoch
        lengths = self._train.lengths(*self._by)
        indices = length_batches(
            lengths, self._budget, examples=self._most, seed=seed, rank=rank, world=world
        )
        return _Batches(self._train, indices, self._collate)

    def initial_carry(self, rank: int, world: int) -> None:
        """None: examples are independent."""

    def loss(self, model: nn.Module, batch: Batch, carry: None) -> StepLoss:
        return self._loss(model, batch)

    def validate(self, model: nn.Module) -> dict[str, float]:
        total, count, parts = total_loss(
            self._network, self._valid, self._collate, by=self._by, loss=self._loss
        )
        if not count:
            what = "has no output that the training data has too, so that nothing can be compared"
            raise InputError("the validation data", what, "Give validation data of the same kind")
        means = {name: value / count for name, value in parts.items()}
        return {"loss": total / count, **means, **self._validation()}


class StreamProblem(Problem):
    """Truncated backpropagation along a stream of tokens that is read at several places side by side.

    Args:
        network: the model, without the wrapper of several processes.
        train: the tokens.
        streams: B of the whole batch, over all processes: each row reads its own part of the tokens.
        steps: T, the tokens that a gradient goes back through.
        loss: of inputs and targets, (T, B) each on the model's device, after a carry; its carry goes into the
            next step.
        validation: the validation's figures, with at least `loss`.
        groups: of the parameters (`Problem.groups`).

    Raises:
        InputError: the text is shorter than one batch.
    """

    def __init__(
        self,
        network: nn.Module,
        train: TokenStream,
        *,
        streams: int,
        steps: int,
        loss: Callable[[nn.Module, tuple[Tensor, Tensor], Any], StepLoss],
        validation: Callable[[], dict[str, float]],
        groups: Sequence[ParameterGroup] = (),
    ) -> None:
        self._network, self._train = network, train
        self._streams, self._steps = streams, steps
        self._loss, self._validation, self._groups = loss, validation, tuple(groups)
        self.batches(epoch=0, rank=0, world=1)  # refuses a text that is too short before anything starts

    @property
    def model(self) -> nn.Module:
        return self._network

    def groups(self) -> Sequence[ParameterGroup]:
        return self._groups

    def batches(self, epoch: int, rank: int, world: int) -> Sequence[tuple[Tensor, Tensor]]:
        return ParallelStreams(self._train, self._streams, self._steps, rank, world)

    def initial_carry(self, rank: int, world: int) -> None:
        """None: the layers start from their initial state."""

    def loss(self, model: nn.Module, batch: tuple[Tensor, Tensor], carry: Any) -> StepLoss:
        return self._loss(model, batch, carry)

    def validate(self, model: nn.Module) -> dict[str, float]:
        return self._validation()
