"""Recordings of what happened inside: `with gw.record(model) as tape:`."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from gatework.errors import nearest
from gatework.graph import Graph
from gatework.graph.variants import values_by_name
from gatework.layers.structure import LayerStack

Align = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class RecordedLayer:
    """One layer in one direction, during one call.

    Attributes:
        values: gates, states and attention weights by name, (T, B, size), in the order of the input's steps and
            rows; zero past a row's length.
        pushes: by state, the zeros that were added to it at every step, whose gradients are the state's; None where
            there are no gradients. In the order in which the layer went through its steps.
        skips: by state, what leaves its steps out, in that order too; None where no step may be left out.
        align: brings what is in that order into the order of the input's steps and rows.
    """

    values: dict[str, Tensor]
    pushes: dict[str, Tensor | None] = field(repr=False)
    skips: dict[str, Tensor | None] = field(repr=False)
    align: Align = field(repr=False)

    def gradient(self, name: str) -> Tensor:
        """The gradient of the loss at a state after every step, (T, B, size).

        Call it after `backward()`. It is the total derivative: through what the step makes of the state, through the
        output at that step and through all later steps.

        Raises:
            KeyError: the name of no state.
            RuntimeError: no gradient has flowed.
        """
        if name not in self.pushes:
            states = ", ".join(map(repr, self.pushes))
            raise KeyError(f"There are gradients of states on the tape ({states}), none of {name!r}.")
        push = self.pushes[name]
        if push is None or push.grad is None:
            raise RuntimeError(
                "No gradient has reached the recorded states: call backward() on a loss that depends on this layer's "
                "output, outside torch.no_grad()."
            )
        return self.align(push.grad)


@dataclass(frozen=True)
class RecordedCall:
    """One call of one recurrent module.

    Attributes:
        module: its name inside the module that was recorded; empty for that module itself.
        backend: what ran it, and why.
        layers: by name: `l0`, `l0_reverse`, `l1`, …
    """

    module: str
    backend: str
    layers: dict[str, RecordedLayer]


class Tape:
    """What `gatework.record` keeps: a list of calls, in the order in which they were made.

    Attributes:
        calls: one entry a call of a recurrent module.
    """

    def __init__(
        self,
        module: nn.Module,
        names: Iterable[str] | None = None,
        leave_out: Tensor | None = None,
        scale: Mapping[str, float] | None = None,
    ) -> None:
        self.calls: list[RecordedCall] = []
        self.leave_out, self.scale = leave_out, dict(scale or {})
        self._names = None if names is None else frozenset(names)
        self._modules = {id(inner): name for name, inner in module.named_modules(remove_duplicate=True)}

    def covers(self, module: nn.Module) -> bool:
        """Whether a module is recorded."""
        return id(module) in self._modules

    def wants(self, name: str) -> bool:
        """Whether values of this name are kept."""
        return self._names is None or name in self._names

    def add(self, module: nn.Module, backend: str, layers: dict[str, RecordedLayer]) -> None:
        """Notes a call; of its values those that are wanted are kept."""
        layers = {
            name: replace(each, values={key: value for key, value in each.values.items() if self.wants(key)})
            for name, each in layers.items()
        }
        self.calls.append(RecordedCall(self._modules[id(module)], backend, layers))

    def __getitem__(self, name: str) -> Tensor:
        """A value of the last call by name: `tape["forget"]`, `tape["l1.forget"]`, `tape["encoder.l0_reverse.h"]`.

        Returns:
            (T, B, size). A name without a layer means the first layer's forward direction; one without a
            module, the module called last.

        Raises:
            KeyError: nothing of this name was recorded; the message lists what was.
        """
        layer, value = self._find(name)
        return layer.values[value]

    def gradient(self, name: str = "h") -> Tensor:
        """The gradient at a state after every step, (T, B, size), by the same names as `tape[…]`."""
        layer, value = self._find(name, gradient=True)
        return layer.gradient(value)

    def gradients(self, loss: Tensor) -> dict[str, Tensor]:
        """The gradient of a loss at every state of the last call of each module, (T, B, size) each, by name.

        Unlike `backward()` it leaves the gradients of all parameters as they are, and keeps what it went through for
        further losses. A state that the loss does not depend on has zeros.

        Raises:
            RuntimeError: no recorded state has gradients: the call was made in torch.no_grad().
        """
        return self._gradients(loss, lambda recorded: recorded.pushes)

    def left_out(self, loss: Tensor) -> dict[str, Tensor]:
        """What leaving out a unit of a state at a step would add to a loss, to first order, (T, B, size) each, by name.

        Summed over the units and states of all layers: what leaving out the step would add. For tapes of
        `record(…, leave_out=…)`, around which the loss is followed; of steps that are not left out where it is 0.

        Raises:
            RuntimeError: no step may be left out.
        """
        return self._gradients(loss, lambda recorded: recorded.skips)

    def _gradients(
        self, loss: Tensor, inputs: Callable[[RecordedLayer], Mapping[str, Tensor | None]]
    ) -> dict[str, Tensor]:
        of_name = {
            ".".join(part for part in (call.module, layer, state) if part): (recorded, value)
            for call in self.calls
            for layer, recorded in call.layers.items()
            for state, value in inputs(recorded).items()
            if value is not None
        }
        if not of_name:
            raise RuntimeError("Nothing with gradients is recorded: call the module outside torch.no_grad().")
        values = [value for _, value in of_name.values()]
        found = torch.autograd.grad(loss, values, retain_graph=True, allow_unused=True)
        return {
            name: recorded.align(torch.zeros_like(value) if gradient is None else gradient)
            for (name, (recorded, value)), gradient in zip(of_name.items(), found, strict=True)
        }

    def names(self) -> list[str]:
        """The names of everything recorded."""
        names = {
            ".".join(part for part in (call.module, layer, value) if part)
            for call in self.calls
            for layer, recorded in call.layers.items()
            for value in recorded.values
        }
        return sorted(names)

    def _find(self, name: str, *, gradient: bool = False) -> tuple[RecordedLayer, str]:
        *path, value = name.split(".")
        layer = path.pop() if path and path[-1].startswith("l") and path[-1][1:2].isdigit() else "l0"
        module = ".".join(path)
        for call in reversed(self.calls):
            if (not path or call.module == module) and layer in call.layers:
                recorded = call.layers[layer]
                if gradient or value in recorded.values:
                    return recorded, value
        known = self.names()
        raise KeyError(
            f"{name!r} is not on the tape. {nearest(name, known) if known else 'The tape is empty.'}"
        )


_tapes: ContextVar[tuple[Tape, ...]] = ContextVar("gatework_tapes", default=())


@contextmanager
def record(
    module: nn.Module,
    names: Iterable[str] | None = None,
    *,
    leave_out: Tensor | None = None,
    scale: Mapping[str, float] | None = None,
) -> Iterator[Tape]:
    """Keeps gates, states and attention weights of every recurrent layer inside a module.

    Works in train and eval mode. Where a backend cannot give gates, as torch's fused operators cannot, another runs
    instead, and `tape.calls[i].backend` says which.

    Args:
        module: recorded with all that is inside it.
        names: of the gates and states to keep; all by default.
        leave_out: (T, B), 1 where a row's states, of every layer and in both directions, stay as they were, as if the
            step had not been there; 0 elsewhere. Of calls of so many steps and rows.
        scale: what gates are multiplied by, by their names, in every layer that has them: 0 switches one off. What the
            tape keeps is the gate as the step used it.

    Raises:
        TypeError: `module` is no torch module.
        ValueError: `names` or `scale` holds what no recurrent layer inside the module has; the message lists what there
            is. A scale that is no finite number.
    """
    if not isinstance(module, nn.Module):
        raise TypeError(f"record takes a torch.nn.Module, and was given {type(module).__name__}.")
    if names is not None:
        names = [names] if isinstance(names, str) else list(names)
        _check_names(module, names)
    if scale:
        _check_scale(module, scale)
    tape = Tape(module, names, leave_out, scale)
    token = _tapes.set((*_tapes.get(), tape))
    try:
        yield tape
    finally:
        _tapes.reset(token)


def _check_names(module: nn.Module, names: Iterable[str]) -> None:
    """Refuses names that are no gate and no state of a recurrent layer inside a module."""
    known: set[str] = set()
    for inner in module.modules():
        stack: object = getattr(inner, "stack", None)
        if isinstance(stack, LayerStack):
            known |= {name for name, _ in stack.graph.gates} | {state.name for state in stack.graph.states}
    for name in names:
        if name not in known:
            hint = nearest(name, sorted(known)) if known else "There is no recurrent layer in it."
            raise ValueError(f"{type(module).__name__} has no gate and no state {name!r}. {hint}")


def _check_scale(module: nn.Module, scale: Mapping[str, float]) -> None:
    """Refuses names that are no gate of a recurrent layer inside a module, and what is no finite number."""
    stacks: list[object] = [getattr(inner, "stack", None) for inner in module.modules()]
    known = {name for stack in stacks if isinstance(stack, LayerStack) for name, _ in stack.graph.gates}
    for name, factor in scale.items():
        if name not in known:
            hint = nearest(name, sorted(known)) if known else "There is no recurrent layer in it."
            raise ValueError(f"{type(module).__name__} has no gate {name!r}. {hint}")
        if not math.isfinite(factor):
            raise ValueError(f"the gate {name!r} is to be multiplied by {factor}: give a finite number.")


def taped_names(graph: Graph, tapes: Sequence[Tape]) -> tuple[str, ...] | None:
    """The gates and states of a cell that some of the tapes keep; None where there is no tape."""
    if not tapes:
        return None
    return tuple(name for name in values_by_name(graph) if any(tape.wants(name) for tape in tapes))


def skips_of(tapes: Sequence[Tape], steps: int, rows: int) -> Tensor | None:
    """Which steps of a call of such a shape are left out, (T, B); None where no tape leaves any out."""
    every = (tape.leave_out for tape in tapes if tape.leave_out is not None)
    return next((skips for skips in every if tuple(skips.shape) == (steps, rows)), None)


def scales_of(tapes: Sequence[Tape]) -> tuple[tuple[str, float], ...]:
    """What gates are multiplied by; of several tapes that scale one gate, by all of their factors."""
    factors: dict[str, float] = {}
    for tape in tapes:
        for name, factor in tape.scale.items():
            factors[name] = factors.get(name, 1.0) * float(factor)
    return tuple(sorted(factors.items()))


def recording() -> bool:
    """Whether any tape records in this thread."""
    return bool(_tapes.get())


def tapes_of(module: nn.Module) -> tuple[Tape, ...]:
    """The tapes that are recording a module."""
    return tuple(tape for tape in _tapes.get() if tape.covers(module))
