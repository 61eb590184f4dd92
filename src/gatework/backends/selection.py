"""Which backend runs a layer: what the user asked for, or what `auto` takes."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache
from types import ModuleType, TracebackType
from typing import cast

import torch
from torch import Tensor

from gatework.backends import eager, llvm, torch_fused
from gatework.backends.admission import all_plain, in_a_mode, mode_refusal, tensor_refusal
from gatework.backends.costs import SLOWER, advantage, cost_table
from gatework.backends.program import Backend, DenseBackend, Request
from gatework.backends.reasons import Reason
from gatework.errors import GateworkError, nearest
from gatework.graph import Graph

BACKENDS: dict[str, ModuleType] = {"eager": eager, "torch": torch_fused, "llvm": llvm}
NAMES = ("auto", *BACKENDS)
_chosen: ContextVar[str] = ContextVar("gatework_backend", default="auto")

named_somewhere = False
"""Whether some thread has chosen a backend by name: torch.compile cannot ask a thread for its choice, but sees this."""
_named = 0
_counting = threading.Lock()


class BackendError(GateworkError, RuntimeError):
    """A backend was asked for by name and cannot serve: the message says why."""


class backend:
    """Chooses the backend: `gw.backend("eager")` from here on, `with gw.backend("eager"):` inside a block.

    The choice belongs to the thread (or the asynchronous task) that makes it. Threads that are started afterwards, an
    executor's among them, begin with `auto`: whoever wants another backend there says so there. Layers themselves may
    be called from several threads at once.

    Args:
        name: `auto` takes the engine, `llvm`, wherever it can run and the cost table (`backends/costs.py`) does not
            say that torch's fused operator is quicker; else that operator, and for cells that it does not know the
            eager reference. The table is the committed one of the processor's instruction set, or one of this machine's
            own (`gatework bench tune`), with which `auto` may choose otherwise than elsewhere until it is tuned
            again. A backend named outright raises BackendError where it cannot serve.

    Raises:
        ValueError: there is no such backend.
    """

    def __init__(self, name: str) -> None:
        if name not in NAMES:
            raise ValueError(f"There is no backend {name!r}. {nearest(name, NAMES)}")
        self.name = name
        self._before = _chosen.get()
        _choose(name)

    def __enter__(self) -> backend:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _choose(self._before)


def _choose(name: str) -> None:
    global _named, named_somewhere
    with _counting:
        _named += (name != "auto") - (_chosen.get() != "auto")
        named_somewhere = _named > 0
    _chosen.set(name)


def asked() -> str:
    """The backend that this thread has asked for; `auto` where it has asked for none."""
    return _chosen.get()


@dataclass(frozen=True)
class Choice:
    """A backend and the reason for it.

    Attributes:
        name: of the backend.
        why: the reason as a code.
    """

    name: str
    why: Reason

    @property
    def reason(self) -> str:
        """Why it is the one, in a sentence."""
        return str(self.why)

    def __str__(self) -> str:
        return f"{self.name}: {self.reason}"

    @property
    def backend(self) -> Backend:
        return _backend(self.name)

    @property
    def dense(self) -> DenseBackend | None:
        """The backend's linear maps; None where they are torch's."""
        return _backend(self.name).dense_backend()


_LINEAR = Choice("llvm", Reason("linear"))


@lru_cache(maxsize=4096)
def choose(graph: Graph, sizes: tuple[tuple[str, int], ...], request: Request) -> Choice:
    """The backend that runs a graph.

    Args:
        sizes: values of the sizes that the graph names.
        request: all that the decision reads of the call.

    Raises:
        BackendError: the backend asked for by name cannot serve.
    """
    name = request.asked
    if request.empty:
        return Choice("eager", Reason("empty"))
    if name == "auto":
        return _automatic(graph, sizes, request)
    why_not = _backend(name).refusal(graph, sizes, request)
    if why_not is not None and request.record:
        return Choice("eager", Reason("tape", (name,)))
    if why_not is not None:
        raise BackendError(f"The backend {name!r} was asked for and cannot serve: {why_not}.")
    return Choice(name, Reason("by name"))


def linear_choice(tensors: Sequence[Tensor]) -> Choice:
    """The backend that runs a linear map: the engine wherever it can, unless another was asked for by name.

    Args:
        tensors: the input, the weight, and the bias where there is one.
    """
    if asked() not in ("auto", llvm.name):
        return Choice("torch", Reason("other linear"))
    input, *parameters = tensors
    filled = input.numel() and parameters[0].numel()
    if filled and not in_a_mode() and all_plain((input,), parameters, input.dtype):
        return _LINEAR  # as nearly every call's is, found without the reasons
    why_not = mode_refusal() or tensor_refusal(tensors)
    if why_not is None and torch.is_autocast_enabled("cpu"):
        why_not = Reason("autocast")
    if why_not is None and any(t.dtype is not tensors[0].dtype or not t.numel() for t in tensors):
        why_not = Reason("dtypes differ")
    return Choice("torch", why_not) if why_not is not None else _LINEAR


def result_memory(shape: Sequence[int], like: Tensor) -> Tensor:
    """A tensor without numbers yet, of another's device and dtype: on the CPU in memory that is used again."""
    if like.device.type == "cpu" and like.is_floating_point():
        return llvm.empty(shape, like.dtype)
    return like.new_empty(shape)


def _automatic(graph: Graph, sizes: tuple[tuple[str, int], ...], request: Request) -> Choice:
    """What `auto` takes."""
    no_engine = llvm.refusal(graph, sizes, request)
    no_operator = torch_fused.refusal(graph, sizes, request)
    if no_engine is None and request.autocast is not None:
        no_engine = Reason("autocast")
    if no_engine is None and request.compiled:
        return Choice("llvm", Reason("compiled"))
    if no_engine is None and request.one_step and not graph.inputs_of_kind("memory"):
        no_engine = Reason("one step")
    if no_engine is None and request.repaid:
        return Choice("llvm", Reason("repaid step"))
    if no_operator is not None:
        if no_engine is None:
            return Choice("llvm", Reason("own equations", (no_operator,)))
        return Choice("eager", Reason("neither", (no_engine, no_operator)))
    kind = torch_fused.fused_kind(graph)
    if no_engine is not None and request.transform:
        return Choice("eager", Reason("transform", (no_engine,)))
    if no_engine is not None or kind is None:
        return Choice("torch", Reason("fused", (no_engine, graph.name)))
    ratio = advantage(kind, request.rows, dict(sizes).get("hidden_size", 1), request.training)
    what, table = "training" if request.training else "forward", cost_table().called
    if ratio < SLOWER:
        return Choice("torch", Reason("torch is quicker", (1 / ratio, what, table)))
    return Choice("llvm", Reason("engine is quicker", (ratio, what, table)))


def _backend(name: str) -> Backend:
    return cast(Backend, BACKENDS[name])
