"""What a report is about: a network, one call of it, and what stands at the steps of its layers, all as data."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

__all__ = ["Alignment", "Outcome", "Steps", "Subject"]

Target = str | float | None


@dataclass(frozen=True)
class Steps:
    """What stands at the steps of a recurrent layer.

    Attributes:
        labels: T texts, such as the tokens that are read.
        targets: by what they are called, T texts or numbers that the units may tell of; None where nothing is known.
        memory: S texts of what the layer attends to, if it does.
        written: T texts that it attends to them for, where they are not the labels: a decoder reads a token, and looks
            at the source to write the next one.
        joined: what stands between two labels where they are read as one text.
    """

    labels: Sequence[str]
    targets: Mapping[str, Sequence[Target]] = field(default_factory=dict)
    memory: Sequence[str] = ()
    written: Sequence[str] = ()
    joined: str = " "


@dataclass(frozen=True)
class Outcome:
    """A number that the call comes to, to be explained.

    Attributes:
        name: in words.
        inside: the name of the recurrent layer whose steps explain it.
        value: of what the call gives, the number, a tensor of no dimension.
    """

    name: str
    inside: str
    value: Callable[[Any], Tensor]


@dataclass(frozen=True)
class Alignment:
    """How much of each thing was read for each other: weights (T, S), target by source."""

    name: str
    source: Sequence[str]
    target: Sequence[str]
    weights: Any


@dataclass(frozen=True)
class Subject:
    """One call of a network.

    Attributes:
        module: with recurrent layers inside, or one itself.
        call: runs it on the input, always with the same result.
        steps: by the name of a recurrent layer inside the module, empty for the module itself.
        outcomes: what is explained; the gradient of the first is followed.
        alignments: of what the call gives, those that no layer's tape has.
        train: how a change of the layer is tried, from the change's arguments; None where it cannot be.
    """

    module: nn.Module
    call: Callable[[], Any]
    steps: Mapping[str, Steps] = field(default_factory=dict)
    outcomes: Sequence[Outcome] = ()
    alignments: Callable[[Any], Sequence[Alignment]] = lambda result: ()
    train: Callable[[str], str | None] = lambda change: None
