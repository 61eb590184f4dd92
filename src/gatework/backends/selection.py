"""Which backend runs a layer: what the user asked for, or what `auto` takes."""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from types import ModuleType, TracebackType
from typing import cast

from torch import Tensor

from gatework.backends import eager, llvm, torch_fused
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
        name: `auto` takes torch's fused operators for the cells that they know and the eager reference for
            the rest; `llvm`, the engine, runs where it is named. A backend named outright raises BackendError
            where it cannot serve.

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
) -> Choice:
    """The backend that runs a graph.

    Args:
        sizes: values of the sizes that the graph names.
        record: gates are to be kept.
        like: a tensor of the call's device and dtype.
        empty: there are no steps or no rows.

    Raises:
        BackendError: the backend asked for by name cannot serve.
    """
    asked = _chosen.get()
    if empty:
        return Choice("eager", "there is nothing to compute")
    if asked == "auto":
        why_not = torch_fused.refusal(graph, record=record, sizes=sizes, like=like)
        if why_not is None:
            return Choice("torch", f"torch has a fused operator for the equations of {graph.name}")
        return Choice("eager", why_not)
    if record and asked != "eager":
        return Choice("eager", f"the backend {asked!r} keeps no gates, and a tape is recording")
    why_not = _backend(asked).refusal(graph, record=record, sizes=sizes, like=like)
    if why_not is not None:
        raise BackendError(f"The backend {asked!r} was asked for and cannot serve: {why_not}.")
    return Choice(asked, "it was asked for by name")


def _backend(name: str) -> Backend:
    return cast(Backend, BACKENDS[name])
