"""Options from people: checked against their pydantic model, parsed from texts, described for help."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, TypeAdapter, ValidationError

from gatework.errors import InputError, nearest

__all__ = ["check_options", "describe_options", "parse_settings"]

Model = TypeVar("Model", bound=BaseModel)


def check_options(model: type[Model], values: Mapping[str, Any], where: str) -> Model:
    """The model's instance with these values.

    Raises:
        InputError: an unknown name, with the nearest right one; a value that the option does not take.
    """
    for name in values:
        if name not in model.model_fields:
            raise InputError(where, f"unknown option {name!r}", nearest(name, model.model_fields))
    try:
        return model(**values)
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0]) if first["loc"] else ", ".join(values)
        reason = first["msg"].removeprefix("Value error, ")
        what = f"option {name}: {reason[:1].lower()}{reason[1:]}, received {first['input']!r}"
        about = model.model_fields.get(name)
        fix = f"{name} is {about.description}." if about and about.description else "Give another value."
        raise InputError(where, what, fix) from None


def parse_settings(model: type[BaseModel], settings: Iterable[str], where: str = "--set") -> dict[str, Any]:
    """Values by option name from texts like `hidden_size=384`, `cutoffs=[2000,10000]` or `stop=.`

    Raises:
        InputError: a text without `=`, or an unknown name.
    """
    values: dict[str, Any] = {}
    for setting in settings:
        name, equals, text = setting.partition("=")
        if not equals:
            raise InputError(where, f"{setting!r} has no '='", "Write it as name=value.")
        field = model.model_fields.get(name)
        if field is None:
            raise InputError(where, f"unknown option {name!r}", nearest(name, model.model_fields))
        values[name] = _parse(TypeAdapter(field.annotation or str), text)
    return values


def _parse(adapter: TypeAdapter[Any], text: str) -> Any:
    """The text as the option's own kind, else as JSON; else as it is, for the model to refuse."""
    for read in (adapter.validate_strings, adapter.validate_json):
        try:
            return read(text)
        except ValidationError:
            continue
    return text


def describe_options(model: type[BaseModel]) -> list[tuple[str, str, str, str]]:
    """A row for each option: its name, kind, default and description."""
    rows = []
    for name, field in model.model_fields.items():
        default = "required" if field.is_required() else str(field.get_default(call_default_factory=True))
        rows.append((name, _kind(field.annotation), default, field.description or ""))
    return rows


def _kind(annotation: Any) -> str:
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Literal:
        return " | ".join(str(value) for value in arguments)
    if origin in (typing.Union, types.UnionType):
        return " | ".join(_kind(argument) for argument in arguments)
    if annotation is type(None):
        return "none"
    if origin is not None:
        return f"{getattr(origin, '__name__', origin)} of {_kind(arguments[0])}" if arguments else str(origin)
    return {int: "integer", float: "number", str: "text", bool: "true | false", Any: "text"}.get(
        annotation, getattr(annotation, "__name__", str(annotation))
    )
