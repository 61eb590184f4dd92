"""Which backend runs a layer: what the user asked for, or what `auto` takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from types import ModuleType, TracebackType
from typing import cast

import torch
from torch import Tensor

from gatework.backends import eager, llvm, torch_fused
from gatework.backends.admission import autocast_refusal, mode_refusal, tensor_refusal
from gatework.backends.costs import SLOWER, advantage
from gatework.backends.program import Backend
from gatework.errors import GateworkError, nearest
from gatework.graph import Graph

BACKENDS: dict[str, ModuleType] = {"eager": eager, "torch": torch_fused, "llvm": llvm}
NAMES = ("auto", *BACKENDS)
_chosen: ContextVar[str] = ContextVar("gatework_backend", default="auto")


class BackendError(GateworkError, RuntimeError):
    """A backend was asked for by name and cannot serve: the message says why."""


class backend:
    """Chooses the backend: `gw.backend("eager")` from here on, `with gw.backend("eager"):` inside a block.

    The choice belongs to the thread (or the asynchronous task) that makes it.

    Args:
        name: `auto` takes the engine, `llvm`, wherever it can run and the cost table (`backends/costs.py`) does not
            say that torch's fused operator is quicker; else that operator, and for cells that it does not know the
            eager reference. A backend named outright raises BackendError where it cannot serve.

    Raises:
        ValueError: there is no such backend.
    """

    def __init__(self, name: str) -> None:
        if name not in NAMES:
            raise ValueError(f"There is no backend {name!r}. {nearest(name, NAMES)}")
        self.name = name
        self._before = _chosen.get()
        _chosen.set(name)

    def __enter__(self) -> backend:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _chosen.set(self._before)


@dataclass(frozen=True)
class Choice:
    """A backend and the reason for it.

    Attributes:
        name: of the backend.
        reason: why it is the one, in a sentence.
    """

    name: str
    reason: str

    def __str__(self) -> str:
        return f"{self.name}: {self.reason}"

    @property
    def backend(self) -> Backend:
        return _backend(self.name)


def choose(
    graph: Graph,
    sizes: Mapping[str, int],
    *,
    record: bool,
    like: Tensor,
    empty: bool = False,
    rows: int = 1,
    one_step: bool = False,
    tensors: Sequence[Tensor] = (),
) -> Choice:
    """The backend that runs a graph.

    Args:
        sizes: values of the sizes that the graph names.
        record: gates are to be kept.
        like: a tensor of the call's device and dtype.
        empty: there are no steps or no rows.
        rows: of the batch.
        one_step: the call is for a single step.
        tensors: every further tensor that the call reads.

    Raises:
        BackendError: the backend asked for by name cannot serve.
    """
    asked = _chosen.get()
    if empty:
        return Choice("eager", "there is nothing to compute")
    if asked == "auto":
        return _automatic(graph, sizes, record, like, rows, one_step, tensors)
    if record and asked != "eager":
        return Choice("eager", f"the backend {asked!r} keeps no gates, and a tape is recording")
    why_not = mode_refusal() if _backend(asked) is llvm else None
    why_not = why_not or _backend(asked).refusal(graph, record=record, sizes=sizes, like=like)
    if why_not is None and _backend(asked) is llvm:
        why_not = tensor_refusal([like, *tensors])
    if why_not is not None:
        raise BackendError(f"The backend {asked!r} was asked for and cannot serve: {why_not}.")
    return Choice(asked, "it was asked for by name")


def linear_choice(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Choice:
    """The backend that runs a linear map: the engine wherever it can, unless another was asked for by name."""
    asked = _chosen.get()
    if asked not in ("auto", "llvm"):
        return Choice(
            "torch", "another backend was asked for by name, and none but the engine has a linear map"
        )
    tensors = (input, weight) if bias is None else (input, weight, bias)
    why_not = mode_refusal() or autocast_refusal() or tensor_refusal(tensors)
    if why_not is None and any(tensor.dtype is not input.dtype or not tensor.numel() for tensor in tensors):
        why_not = "there is nothing to compute, or the dtypes differ"
    if why_not is not None:
        return Choice("torch", why_not)
    return Choice("llvm", "it runs linear maps wherever it can")


def _automatic(
    graph: Graph,
    sizes: Mapping[str, int],
    record: bool,
    like: Tensor,
    rows: int,
    one_step: bool,
    tensors: Sequence[Tensor],
) -> Choice:
    """What `auto` takes."""
    no_engine = mode_refusal() or llvm.refusal(graph, record=record, sizes=sizes, like=like)
    no_engine = no_engine or autocast_refusal() or tensor_refusal([like, *tensors])
    no_operator = torch_fused.refusal(graph, record=record, sizes=sizes, like=like)
    if no_engine is None and one_step and not graph.inputs_of_kind("memory"):
        no_engine = "a single step does not repay the engine's call"
    if no_operator is not None:
        if no_engine is None:
            return Choice("llvm", f"the engine runs every cell's own equations, and {no_operator}")
        return Choice("eager", f"{no_engine}, and {no_operator}")
    kind = torch_fused.fused_kind(graph)
    assert kind is not None
    if no_engine is not None and torch._C._functorch.peek_interpreter_stack() is not None:
        return Choice("eager", f"{no_engine}, nor into torch's fused operator")
    if no_engine is not None:
        return Choice("torch", f"{no_engine}, and torch has a fused operator for {graph.name}")
    training = torch.is_grad_enabled()
    ratio = advantage(kind, rows, sizes.get("hidden_size", 1), training)
    what = "training" if training else "forward"
    if ratio < SLOWER:
        return Choice(
            "torch", f"its operator was measured {1 / ratio:.2f} times as fast at about this shape, {what}"
        )
    return Choice(
        "llvm", f"it was measured {ratio:.2f} times as fast as torch's operator at about this shape, {what}"
    )


def _backend(name: str) -> Backend:
    return cast(Backend, BACKENDS[name])
