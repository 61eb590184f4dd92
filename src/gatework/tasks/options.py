"""Options as the command line and the help page see them: split from texts, and described."""

from __future__ import annotations

import inspect
import json
import types
import typing
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, NamedTuple

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PlainSerializer, model_validator

from gatework.errors import InputError
from gatework.graph import Cell
from gatework.training import TrainingOptions
from gatework.training.options import (
    AUTO,
    CommandLine,
    FollowsData,
    Inherited,
    OptionRules,
    option_rules,
    options_with,
    with_new_names,
)

# What a single prediction may ask for: a service answers strangers.
MOST_HYPOTHESES = 1000
MOST_TOKENS = 100_000
# Beyond any use, and small enough to be counted with: a run's options may be a stranger's.
MOST_UNITS = 2**20
MOST_LAYERS = 1000
MOST_RESTARTS = 1000

__all__ = [
    "MOST_HYPOTHESES",
    "MOST_LAYERS",
    "MOST_TOKENS",
    "MOST_UNITS",
    "CellOption",
    "ExampleOptions",
    "OptionHelp",
    "PredictionSettings",
    "RivalOptions",
    "TaskOptions",
    "describe_options",
    "inherited_options",
    "shared_options",
    "split_settings",
]


def _check_cell(cell: Any) -> Any:
    if isinstance(cell, (str, Cell)):
        return cell
    raise ValueError("a cell is a name, FILE.py:NAME, or a gatework.Cell")


def _cell_name(cell: Any) -> str:
    return cell if isinstance(cell, str) else cell.name


# A cell of the catalogue by name, FILE.py:NAME (never from a configuration file), or a gatework.Cell.
CellOption = Inherited[
    CommandLine[Annotated[Any, AfterValidator(_check_cell), PlainSerializer(_cell_name, return_type=str)]]
]


class PredictionSettings(BaseModel):
    """How predictions are made. As it stands, it is the settings of a task that has none."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _read_old_names(cls, values: Any) -> Any:
        return with_new_names(cls, values) if isinstance(values, Mapping) else values


class TaskOptions(TrainingOptions):
    """How a task's run is made, beside one training."""

    restarts: int = Field(
        1,
        ge=1,
        le=MOST_RESTARTS,
        description="trainings, each with a seed of its own from `seed` on and all of the budget; the run keeps the "
        "one with the best figures on the validation data",
    )


class ExampleOptions(TaskOptions):
    """How independent examples are held back and batched."""

    split_seed: Annotated[int, OptionRules(once="seed")] = Field(
        0,
        ge=0,
        lt=2**32,
        description="which examples are held back: with the same one, runs of other seeds too",
    )

    batch_tokens: FollowsData[int] = Field(
        3000,
        ge=1,
        description="tokens of a batch at most, padding included (auto: 3000, fewer for small data)",
    )
    batch_examples: int | None = Field(
        None, ge=1, description="examples of a batch at most (none: as many as batch_tokens holds)"
    )
    max_length: int = Field(
        200, ge=1, description="tokens of an example; longer ones are left out of the training"
    )

    @property
    def step_tokens(self) -> int:
        return self.batch_tokens

    def batch_for(self, tokens: float) -> dict[str, int]:
        return {"batch_tokens": round(tokens)}


class RivalOptions(ExampleOptions):
    """Whether strong simple predictors stand beside the model."""

    rivals: bool = Field(
        True,
        description="fit the strong simple baselines on the training data too, to stand beside the model",
    )


class OptionHelp(NamedTuple):
    """One line of help: an option's name, kind, default and description; the default in YAML too."""

    name: str
    kind: str
    default: str
    description: str
    yaml: str


def split_settings(settings: Iterable[str], where: str = "--set") -> dict[str, str]:
    """Values by name from texts like `hidden_size=384`, still as text.

    Raises:
        InputError: a text without `=`.
    """
    values = {}
    for setting in settings:
        name, equals, text = setting.partition("=")
        if not equals:
            raise InputError(where, f"{setting!r} has no '='", "Write it as name=value.")
        values[name.strip().replace("-", "_")] = text
    return values


def inherited_options(parent: BaseModel, given: Mapping[str, Any]) -> dict[str, Any]:
    """The options that a run shares with the one that it is started from.

    Raises:
        InputError: one of them was given another value.
    """
    return shared_options(
        {name: getattr(parent, name) for name in options_with(type(parent), inherited=True)}, given
    )


def shared_options(shared: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Options of the run that is started from, as those of the new run.

    Raises:
        InputError: one of them was given another value.
    """
    for name, value in shared.items():
        if name in given and _shown(given[name]) != _shown(value):
            raise InputError(
                f"option {name}",
                f"the run that is started from has {name}={_shown(value)}; {_shown(given[name])} was given",
                "Leave it out: the network and its tokens are that run's.",
            )
    return dict(shared)


def _shown(value: Any) -> str:
    """An option's value as text; a cell by its name, whether it comes from a file or not."""
    return value.name if isinstance(value, Cell) else str(value).rpartition(".py:")[2]


def describe_options(model: type[BaseModel]) -> list[OptionHelp]:
    """The help of every option of a pydantic model: its own fields first, then class by class those it inherits."""
    order = dict.fromkeys(
        name for cls in model.__mro__ for name in inspect.get_annotations(cls) if name in model.model_fields
    )
    fields = {name: model.model_fields[name] for name in order}
    helps = []
    for name, field in fields.items():
        default = None if field.is_required() else field.get_default(call_default_factory=True)
        default = AUTO if option_rules(model, name).auto else default
        text = "" if field.is_required() else _text(default)
        shown = json.dumps(default, ensure_ascii=False)  # JSON is YAML
        helps.append(OptionHelp(name, _kind(field.annotation), text, field.description or "", shown))
    return helps


def _text(value: Any) -> str:
    if value is None:
        return "none"
    return ",".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def _kind(annotation: Any) -> str:
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Literal:
        return "|".join(str(value) for value in arguments)
    if origin in (typing.Union, types.UnionType):
        return "|".join(_kind(argument) for argument in arguments if argument is not type(None))
    if origin in (list, tuple):
        return f"{_kind(arguments[0])},…"
    return {int: "integer", float: "number", bool: "true|false"}.get(annotation, "text")
