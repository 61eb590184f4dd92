"""What the layers of a network did in one call: gates and states by step and unit, and what follows from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn

from gatework.inspect.half_life import half_life, kept_share
from gatework.inspect.subject import Alignment, Steps, Subject
from gatework.inspect.telling import Telling, telling_units
from gatework.layers import Recurrent
from gatework.layers.tape import RecordedCall

__all__ = ["Part", "is_alignment", "parts_of", "states_of"]

_LOW, _HIGH = 0.1, 0.9  # a gate below is as good as closed, one above as good as open
_TELLING = 10  # units that are named
_MOST_STEPS = 2000


@dataclass(frozen=True)
class Part:
    """One layer of a network in one direction.

    Attributes:
        name: as on a tape, "encoder.l0_reverse".
        backend: what ran it, and why.
        labels: what stands at each of its T steps.
        joined: between two labels, where they are a text.
        values: gates and states by name, (T, size) each, in the order of the input's steps.
        states: the names of those that are states.
        half_lives: by state, (size,) the steps after which half of a unit's value is left, by the gates alone;
            infinite where none is lost. Of states of which a step keeps a share.
        telling: by target, the units that tell most about it, each with the name of its state.
        left_out: steps past those that are kept here.
    """

    name: str
    backend: str
    labels: Sequence[str]
    joined: str
    values: Mapping[str, np.ndarray]
    states: Sequence[str]
    half_lives: Mapping[str, np.ndarray] = field(default_factory=dict)
    telling: Mapping[str, Sequence[tuple[str, Telling]]] = field(default_factory=dict)
    left_out: int = 0

    def saturation(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Of a gate the share of steps in which each unit is below 0.1, and above 0.9, (size,) each."""
        values = self.values[name]
        return (values < _LOW).mean(0), (values > _HIGH).mean(0)


def parts_of(
    subject: Subject, calls: Sequence[RecordedCall], row: int
) -> tuple[dict[str, Part], list[Alignment]]:
    """The layers of recorded calls, by name, and their alignments; of calls of one module the steps one after another.

    Args:
        row: of a batch, the one that is kept.
    """
    parts: dict[str, Part] = {}
    alignments: list[Alignment] = []
    by_module: dict[str, list[RecordedCall]] = {}
    for call in calls:
        by_module.setdefault(call.module, []).append(call)
    read = {_rows(by_module[name][0]) for name in subject.steps.keys() & by_module.keys()}
    for module, own in by_module.items():
        if read and module not in subject.steps and _rows(own[0]) not in read:
            continue  # what a task does not name, as the characters of each word, is of other rows
        recurrent = subject.module.get_submodule(module)
        for layer in own[0].layers:
            name = ".".join(part for part in (module, layer) if part)
            values = {
                key: np.concatenate([_of_row(each.layers[layer].values[key], row) for each in own])
                for key in own[0].layers[layer].values
            }
            steps = subject.steps.get(module, Steps(()))
            part, weights = _part(name, own[0].backend, values, steps, recurrent)
            parts[name] = part
            alignments += weights
    return parts, alignments


def _rows(call: RecordedCall) -> int:
    layer = next(iter(call.layers.values()))
    return next(iter(layer.values.values())).shape[1]


def _of_row(values: torch.Tensor, row: int) -> np.ndarray:
    return values[:, min(row, values.shape[1] - 1)].detach().float().cpu().numpy()


def _part(
    name: str, backend: str, values: dict[str, np.ndarray], steps: Steps, module: nn.Module
) -> tuple[Part, list[Alignment]]:
    count = len(next(iter(values.values())))
    kept = min(count, len(steps.labels) or count, _MOST_STEPS)
    values = {key: value[:kept] for key, value in values.items()}
    labels = list(steps.labels[:kept]) or [str(step) for step in range(kept)]
    graph: Any = module.cell.graph if isinstance(module, Recurrent) else None
    known = states_of(module)
    weights = [key for key in values if is_alignment(module, key)]
    written = list(steps.written[:kept]) or labels
    alignments = [
        Alignment(f"{name}: {key}", _named(steps.memory, values[key].shape[1]), written, values[key])
        for key in weights
    ]
    values = {key: value for key, value in values.items() if key not in weights}
    states = [key for key in values if key in known]
    half_lives = {}
    for state in states if graph is not None else ():
        if (share := kept_share(graph, state, values)) is not None:
            half_lives[state] = np.broadcast_to(half_life(share), values[state].shape[1:])
    targets = {"its position": list(map(float, range(kept))), **steps.targets}
    telling = {
        what: found
        for what, target in targets.items()
        if (found := _telling(values, states, list(target)[:kept]))
    }
    part = Part(
        name,
        backend,
        labels,
        steps.joined,
        values,
        states,
        half_lives,
        telling,
        max(count, len(steps.labels)) - kept if kept == _MOST_STEPS else 0,
    )
    return part, alignments


def states_of(module: nn.Module) -> set[str]:
    """The names of a recurrent module's states."""
    return {state.name for state in module.cell.graph.states} if isinstance(module, Recurrent) else {"h", "c"}


def is_alignment(module: nn.Module, name: str) -> bool:
    """Whether a value that a recurrent module's tape has is a number for each step of a memory."""
    if not isinstance(module, Recurrent):
        return False
    graph: Any = module.cell.graph
    widths = {**dict(graph.gates)}
    states = {state.name: state.size for state in graph.states}
    width = states[name] if name in states else graph.nodes[widths[name]].width
    return bool(graph.counts_steps(width))


def _named(labels: Sequence[str], count: int) -> list[str]:
    return [*labels[:count], *map(str, range(len(labels[:count]), count))]


def _telling(
    values: Mapping[str, np.ndarray], states: Sequence[str], targets: list[Any]
) -> list[tuple[str, Telling]]:
    found = [(name, each) for name in states for each in telling_units(values[name], targets, _TELLING)]
    return sorted(found, key=lambda pair: -pair[1].bits)[:_TELLING]
