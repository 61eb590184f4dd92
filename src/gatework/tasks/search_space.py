"""What a sweep searches: options of a task, each in a range or among choices, read from texts and checked."""

from __future__ import annotations

import math
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from gatework.errors import InputError, nearest
from gatework.training import parse_options
from gatework.training.options import by_new_names

if TYPE_CHECKING:
    from optuna.trial import Trial

__all__ = ["LOG_FROM", "Choices", "Dimension", "Range", "default_search", "read_space"]

LOG_FROM = 10.0
"""A range whose upper end is at least so many times its lower one, above 0, is searched on a logarithmic scale."""

_NEVER = {
    "restarts": "a trial is one training",
    "select_by": "the trials are compared by one figure",
    "device": "it changes no figure",
    "tensorboard": "it changes no figure",
}


@dataclass(frozen=True)
class Range:
    """Numbers between two ends, which are among them."""

    low: float
    high: float
    whole: bool

    @property
    def log(self) -> bool:
        return self.low > 0 and self.high >= LOG_FROM * self.low

    def suggest(self, name: str, trial: Trial) -> float:
        """The trial's value: the same however often it is asked for."""
        if self.whole:
            return trial.suggest_int(name, int(self.low), int(self.high), log=self.log)
        return trial.suggest_float(name, self.low, self.high, log=self.log)

    def __str__(self) -> str:
        return f"{self.low:g}..{self.high:g}"


@dataclass(frozen=True)
class Choices:
    """A few values, without an order."""

    values: tuple[bool | int | float | str | None, ...]

    log = False

    def suggest(self, name: str, trial: Trial) -> bool | int | float | str | None:
        """The trial's value: the same however often it is asked for."""
        return trial.suggest_categorical(name, self.values)

    def __str__(self) -> str:
        return ",".join(map(str, self.values))


Dimension = Range | Choices


def default_search(model: type[BaseModel], given: Mapping[str, Any]) -> dict[str, str]:
    """What is searched where nothing is named: the learning rate, and dropout where the task has it."""
    usual = {"learning_rate": "0.0005..0.01", "dropout": "0..0.5"}
    return {name: text for name, text in usual.items() if name in model.model_fields and name not in given}


def read_space(
    model: type[BaseModel], search: Mapping[str, str | Sequence[Any]], given: Mapping[str, Any]
) -> dict[str, Dimension]:
    """The dimensions of a search, by option.

    Args:
        model: the task's options.
        search: by option `"LOW..HIGH"`, or `"A,B,C"`, or a sequence of values.
        given: options that are the same in every trial.

    Raises:
        InputError: no such option, one that is given already or cannot be searched, a value that it cannot have, or a
            range that is none.
    """
    search = by_new_names(model, search, "--search")
    if not search:
        raise InputError("--search", "names nothing to search", "Name an option: learning_rate=0.001..0.01.")
    return {name: _dimension(model, name, values, given) for name, values in search.items()}


def _dimension(
    model: type[BaseModel], name: str, values: str | Sequence[Any], given: Mapping[str, Any]
) -> Dimension:
    if name not in model.model_fields:
        raise InputError("--search", f"there is no option {name!r}", nearest(name, model.model_fields))
    if name in given:
        raise InputError("--search", f"{name} is given as {given[name]} already", "Search it, or set it.")
    if name in _NEVER:
        raise InputError("--search", f"{name} is not searched: {_NEVER[name]}", "Leave it out, or --set it.")

    def checked(value: Any) -> Any:
        typed = getattr(parse_options(model, {**given, name: value}, "--search"), name)
        return typed if typed is None or isinstance(typed, bool | int | float | str) else value

    kinds = _kinds(model.model_fields[name].annotation)
    if isinstance(values, str) and ".." in values and {int, float} & {*kinds}:
        low, high = (checked(part.strip()) for part in values.split("..", 1))
        numbers = [end for end in (low, high) if isinstance(end, int | float) and not isinstance(end, bool)]
        if len(numbers) < 2 or not numbers[0] < numbers[1] or not all(map(math.isfinite, numbers)):
            what = f"{name}={values} is no range: two numbers are, the lower one first"
            raise InputError("--search", what, f"Write it as {name}=0.1..0.5, or name values: {name}=a,b.")
        return Range(low, high, whole=float not in kinds)
    parts = [part.strip() for part in values.split(",")] if isinstance(values, str) else list(values)
    choices = tuple(dict.fromkeys(checked(part) for part in parts))
    if len(choices) < 2:
        what = f"{name}={values} leaves nothing to choose"
        raise InputError("--search", what, f"Give a range, {name}=LOW..HIGH, or several values, {name}=A,B.")
    return Choices(choices)


def _kinds(annotation: Any) -> tuple[Any, ...]:
    return typing.get_args(annotation) or (annotation,)
