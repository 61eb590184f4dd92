"""The options of training, in one typed model: flags, configuration files and pages are made from it."""

from __future__ import annotations

import re
import types
import typing
from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields, replace
from functools import cache
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from gatework.errors import InputError, RunError, nearest

DEFAULT_EPOCHS = 10
DEVICES = r"^(auto|cpu|mps|cuda(:\d+)?)$"

T = TypeVar("T")


@dataclass(frozen=True)
class OptionRules:
    """What holds for an option beside its type, written in its annotation: `epochs: MayChange[int | None]`.

    resume: whether a training that goes on may be given another value. "may change": how long and where it trains,
        and what its course may need. "new run": it would make another model: a task refuses, `training.fit` says
        so. "never": `training.fit` refuses too, since its moments, random numbers or groups would not fit.
    inherited: a run that starts from another one shares the option with it.
    where: "command line": it names a file of this machine, to be run, read or written, which only somebody at this
        machine may do: on the command line or in a call. A configuration file, which may be a stranger's, and a
        service's client may only name what Gatework has.
    old_names: names of earlier versions, read wherever the option may be given, for ever.
    once: the option whose value a run that does not know this one had for it: an earlier version wrote it.
    auto: where the option is not given, or given as the text `auto`, a task takes what fits its data's size
        (`training/sizing.py`); the default is what large data gets.
    """

    resume: Literal["may change", "new run", "never"] = "new run"
    inherited: bool = False
    where: Literal["anywhere", "command line"] = "anywhere"
    old_names: tuple[str, ...] = ()
    once: str = ""
    auto: bool = False


AUTO = "auto"
MayChange = Annotated[T, OptionRules(resume="may change")]
NeverChanges = Annotated[T, OptionRules(resume="never")]
Inherited = Annotated[T, OptionRules(inherited=True)]
FollowsData = Annotated[T, OptionRules(auto=True)]
CommandLine = Annotated[T, OptionRules(where="command line")]


@cache
def option_rules(model: type[BaseModel], name: str) -> OptionRules:
    """All the rules that an option's annotation states, in one; the plain ones where it states none."""
    plain = OptionRules()
    found: dict[str, Any] = {}
    for mark in model.model_fields[name].metadata:
        if isinstance(mark, OptionRules):
            found |= {
                f.name: getattr(mark, f.name)
                for f in fields(mark)
                if getattr(mark, f.name) != getattr(plain, f.name)
            }
    return replace(plain, **found)


def options_with(model: type[BaseModel], **rules: Any) -> tuple[str, ...]:
    """The names of the options for which these rules hold: `options_with(Options, inherited=True)`."""
    return tuple(
        name
        for name in model.model_fields
        if all(getattr(option_rules(model, name), rule) == value for rule, value in rules.items())
    )


def changed_options(
    where: str,
    model: type[BaseModel],
    before: Mapping[str, Any],
    now: Mapping[str, Any],
    *,
    refused: Collection[str],
) -> list[str]:
    """The options that a resumed training has with another value than before.

    Args:
        before, now: values by name, as JSON has them; an option that only one of them holds is not compared.
        refused: the rules (`OptionRules.resume`) of options that may not differ.

    Raises:
        RunError: one of these differs.
    """
    changed = [name for name in now if name in before and before[name] != now[name]]
    for name in changed:
        if option_rules(model, name).resume in refused:
            raise RunError(
                where,
                f"was begun with {name}={before[name]}, and cannot go on with {now[name]}",
                "Leave the option out, or train a new run (perhaps with from_run=RUN).",
            )
    return changed


def with_new_names(model: type[BaseModel], values: Mapping[str, Any]) -> dict[str, Any]:
    """Values by the options' names of today.

    Raises:
        ValueError: an option is given under two of its names.
    """
    names = {old: name for name in model.model_fields for old in option_rules(model, name).old_names}
    for old, name in names.items():
        if old in values and name in values:
            raise ValueError(f"{old} is the old name of {name}: give one of them")
    return {names.get(name, name): value for name, value in values.items()}


class TrainingOptions(BaseModel):
    """How a model is trained. Durations: the training ends at the first of the budgets that is reached."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _read_old_names(cls, values: Any) -> Any:
        return with_new_names(cls, values) if isinstance(values, Mapping) else values

    @model_validator(mode="before")
    @classmethod
    def _leave_open(cls, values: Any) -> Any:
        """An option given as `auto` is one that is not given."""
        if not isinstance(values, Mapping):
            return values
        auto = options_with(cls, auto=True)
        return {name: value for name, value in values.items() if name not in auto or value != AUTO}

    epochs: FollowsData[MayChange[int | None]] = Field(
        default=None,
        ge=1,
        description=f"passes over the data (auto: none where there is another budget, else at least {DEFAULT_EPOCHS}, "
        "more for small data)",
    )
    max_steps: MayChange[int | None] = Field(default=None, ge=1, description="optimiser steps at most")
    max_minutes: MayChange[float | None] = Field(
        default=None,
        gt=0,
        allow_inf_nan=False,
        description="minutes at most, the validations within them included",
    )

    optimizer: NeverChanges[Literal["adamw", "sgd"]] = Field(default="adamw", description="optimiser")
    learning_rate: FollowsData[MayChange[float]] = Field(
        default=2e-3,
        gt=0,
        allow_inf_nan=False,
        description="highest learning rate (auto: 0.002, up to twice as much for small batches)",
    )
    weight_decay: float = Field(
        default=0.0,
        ge=0,
        allow_inf_nan=False,
        description="decoupled for adamw, L2 for sgd; of matrices only",
    )
    betas: tuple[float, float] = Field(default=(0.9, 0.99), description="decay of adamw's two moments")
    momentum: float = Field(default=0.0, ge=0, lt=1, description="momentum of sgd")
    clip_norm: MayChange[float] = Field(
        default=1.0,
        ge=0,
        allow_inf_nan=False,
        description="gradients are scaled down to this global norm; 0: never",
    )

    schedule: Literal["constant", "cosine", "one_cycle", "inverse_square_root", "plateau"] = Field(
        default="cosine", description="course of the learning rate"
    )
    warmup: float | None = Field(
        default=None,
        ge=0,
        lt=1,
        description="share of the training in which the learning rate rises "
        "(by default 0.02 for cosine and inverse_square_root, 0.3 for one_cycle, else 0)",
    )
    min_lr_ratio: Annotated[float, OptionRules(old_names=("final",))] = Field(
        default=0.01,
        ge=0,
        le=1,
        description="lowest learning rate, as a share of the highest (not for constant)",
    )
    plateau_patience: int = Field(
        default=2,
        ge=1,
        description="plateau: validations without a better loss before the learning rate falls",
    )
    plateau_factor: float = Field(
        default=0.5, gt=0, lt=1, description="plateau: what the learning rate falls to"
    )

    unfreeze_every: NeverChanges[float] = Field(
        default=0.0,
        ge=0,
        allow_inf_nan=False,
        description="with --from: epochs after which each further group of layers is trained too, the last "
        "group alone at first; 0: all at once",
    )
    layer_rate_decay: NeverChanges[float] = Field(
        default=1.0,
        ge=1,
        allow_inf_nan=False,
        description="each group of layers learns so many times more slowly than the one above it (ULMFiT: 2.6)",
    )

    seed: NeverChanges[int] = Field(default=0, ge=0, lt=2**32, description="seed of every random number")
    device: MayChange[str] = Field(
        default="auto", pattern=DEVICES, description="auto, cpu, cuda, cuda:N or mps"
    )
    precision: Literal["auto", "float32", "bf16"] = Field(
        default="auto", description="bf16 mixed precision on a GPU that has it, else float32"
    )

    validate_every: int | None = Field(
        default=None, ge=1, description="steps between validations (by default each epoch; always at the end)"
    )
    patience: int = Field(
        default=0,
        ge=0,
        description="validations without a better one before the training stops; 0: never stops",
    )
    target: MayChange[float | None] = Field(
        default=None,
        allow_inf_nan=False,
        description="the training ends at the first validation whose figure, the one that picks the checkpoint, is at "
        "least this (a loss: at most); none: never",
    )
    average_last: int = Field(
        default=0,
        ge=0,
        description="try the mean of the last so many validated states as well; 0 or 1: do not",
    )

    read_ahead: MayChange[bool] = Field(
        default=False, description="make the next batch in a thread while the last one trains"
    )
    checkpoint_every: MayChange[int | None] = Field(
        default=None, ge=1, description="steps between checkpoints"
    )
    checkpoint_minutes: MayChange[float] = Field(
        default=10.0, gt=0, description="minutes between checkpoints at most"
    )
    keep_checkpoints: MayChange[int] = Field(default=2, ge=1, description="checkpoints that are kept")
    record_every: int = Field(default=20, ge=1, description="steps between records of history.jsonl")
    tensorboard: MayChange[bool] = Field(default=False, description="also write the records for TensorBoard")

    @model_validator(mode="after")
    def _check(self) -> TrainingOptions:
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"betas must lie in [0, 1), got {self.betas}")
        return self

    @property
    def step_tokens(self) -> int:
        """Tokens of one step's batch, roughly. A task's options say what their batch is."""
        return 1

    def batch_for(self, tokens: float) -> dict[str, int]:
        """The options of a batch of so many tokens."""
        return {}

    @property
    def epoch_budget(self) -> int | None:
        """The epochs after which training ends, None where only steps or minutes count."""
        if self.epochs is None and self.max_steps is None and self.max_minutes is None:
            return DEFAULT_EPOCHS
        return self.epochs


Options = TypeVar("Options", bound=BaseModel)


def parse_options(model: type[Options], values: Mapping[str, Any], where: str) -> Options:
    """`model` filled from `values`, which may be typed (a file) or text (`--set name=value`).

    Text is read as the option's type: `true`, `3`, `none` for an option that may be None, and
    `0.9,0.99` for one that holds several values.

    Args:
        model: a pydantic model with `extra="forbid"`.
        values: values by option name.
        where: what they come from, for the message: `--set`, or a file's name.

    Raises:
        InputError: an unknown option (with the nearest right one) or a wrong value.
    """
    values = by_new_names(model, values, where)
    for name in values:
        if name not in model.model_fields:
            raise InputError(where, f"there is no option {name!r}", nearest(name, model.model_fields))
    read = {}
    for name, value in values.items():
        annotation = model.model_fields[name].annotation
        if kind := _confused(value, annotation):
            what = f"option {name!r} cannot be {value!r}: it takes a {kind}"
            raise InputError(where, what, _fix(model, name))
        read[name] = _from_text(value, annotation)
    try:
        return model.model_validate(read)
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0]) if first["loc"] else ""
        message = first["msg"].removeprefix("Value error, ")
        message = message[:1].lower() + message[1:]
        if not name:
            raise InputError(where, message, "Change one of them.") from error
        fix = _fix(model, name)
        if name not in values:
            raise InputError(where, f"option {name!r} is required", fix) from error
        raise InputError(where, f"option {name!r} cannot be {values[name]!r}: {message}", fix) from error


def _fix(model: type[BaseModel], name: str) -> str:
    """What an option is, for an error that refuses its value."""
    field = model.model_fields[name]
    value = AUTO if option_rules(model, name).auto else field.get_default(call_default_factory=True)
    default = "" if field.is_required() else f" (default {value!r})"
    return f"{name}: {field.description or 'see the documentation'}{default}."


def by_new_names(model: type[BaseModel], values: Mapping[str, Any], where: str) -> dict[str, Any]:
    """`with_new_names` for what a user gave.

    Raises:
        InputError: an option is given under two of its names.
    """
    try:
        return with_new_names(model, values)
    except ValueError as error:
        raise InputError(where, str(error), "Leave the old name out.") from error


def file_options(model: type[BaseModel], values: Mapping[Any, Any], where: str) -> dict[str, Any]:
    """The options that a configuration file gives, by their names of today; what it may not say is refused.

    Raises:
        InputError: a key is no option (the nearest one is given), or a value of an option that is for the command
            line alone is more than the name of something that Gatework has: it could run a Python file.
    """
    values = by_new_names(model, values, where)
    for name, value in values.items():
        if name not in model.model_fields:
            raise InputError(where, f"there is no option {name!r}", nearest(str(name), model.model_fields))
        is_name = not isinstance(value, str) or re.fullmatch(r"[\w -]*", value)
        if option_rules(model, name).where == "command line" and not is_name:
            what = f"{name} names a cell in a Python file, which a configuration may not run"
            flag = f"--cell {value}" if name == "cell" else f"--set {name}={value}"
            raise InputError(where, what, f"Give it on the command line: {flag}.")
    return values


def _from_text(value: Any, annotation: Any) -> Any:
    """What a text means for an option of this type; anything but text stays as it is."""
    if not isinstance(value, str):
        return value
    kinds = _kinds(annotation)
    if value.strip().lower() in ("none", "null", "") and type(None) in kinds:
        return None
    if any(typing.get_origin(kind) in (tuple, list) for kind in kinds) and str not in kinds:
        return [part.strip() for part in value.strip("[]() ").split(",") if part.strip()]
    return value


def _confused(value: Any, annotation: Any) -> str | None:
    """The kind that an option of this type is, where pydantic would read a truth value as a number, or the reverse."""
    kinds = _kinds(annotation)
    if isinstance(value, (list, tuple)):
        inner = [kind for several in kinds for kind in typing.get_args(several)]
        return next((kind for each in value for part in inner if (kind := _confused(each, part))), None)
    if isinstance(value, bool):
        return None if bool in kinds or not {int, float} & {*kinds} else "number"
    if isinstance(value, float) and int in kinds and float not in kinds:
        return "whole number"
    return "truth value" if isinstance(value, (int, float)) and bool in kinds else None


def _kinds(annotation: Any) -> tuple[Any, ...]:
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return typing.get_args(annotation)
    return (annotation,)
