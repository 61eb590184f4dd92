"""What a request asks: its inputs and settings, read from JSON and held to the service's limits."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from pydantic_core import from_json

from gatework.data.sound import read_header
from gatework.errors import InputError
from gatework.serve.options import ServiceOptions
from gatework.serve.refusals import BadRequest, TooLarge
from gatework.tasks.base import Task

__all__ = ["Asked", "read_inputs", "read_json", "read_request", "read_settings"]

_LARGEST_INTEGER = 2**63


class Asked(NamedTuple):
    """One input, checked, and how it is to be answered; inputs with equal settings may be answered together."""

    input: Any
    settings: Mapping[str, Any]


def read_json(body: bytes) -> Any:
    """What JSON says.

    Raises:
        BadRequest: it is no JSON, or holds NaN or Infinity, which JSON has not.
    """
    try:
        return from_json(body, allow_inf_nan=False)
    except ValueError as error:
        raise BadRequest(f"the body is not JSON: {error}") from None


def read_request(body: bytes, task: Task, options: ServiceOptions) -> list[Asked]:
    """The inputs of `{"inputs": […], "settings": {…}}`.

    Raises:
        BadRequest: it is something else, or an input or a setting is wrong.
        TooLarge: more than the service allows.
    """
    given = read_json(body)
    if not isinstance(given, dict) or "inputs" not in given or not given.keys() <= {"inputs", "settings"}:
        raise BadRequest('the body is not an object like {"inputs": […], "settings": {…}}')
    settings = given.get("settings")
    if settings is not None and not isinstance(settings, dict):
        raise BadRequest(f"settings: {_shown(settings)} is no object, name by name: {{}} for none")
    return read_inputs(given["inputs"], read_settings(settings or {}, task, options), task, options)


def read_settings(given: Mapping[str, Any], task: Task, options: ServiceOptions) -> dict[str, Any]:
    """Settings of predictions.

    Raises:
        BadRequest: there is no such setting, it names a file, or its value is wrong or more than is allowed.
    """
    try:
        task.check_sent(given)
        chosen = task.settings(**given)
    except InputError as error:
        raise BadRequest(str(error)) from None
    except TypeError as error:
        raise BadRequest(f"settings: {error}") from None
    for name in chosen.model_fields_set:
        value, most = getattr(chosen, name), options.most_of_setting(name)
        if most is not None and value is not None and value > most:
            raise BadRequest(f"setting {name}: {value} is more than this service allows, {most}")
    measure(dict(given), options, "settings")
    return dict(given)


def read_inputs(given: Any, settings: Mapping[str, Any], task: Task, options: ServiceOptions) -> list[Asked]:
    """Inputs, each with its settings.

    Raises:
        BadRequest: they are no list, or one of them is wrong.
        TooLarge: they are too many, or one is too long.
    """
    if not isinstance(given, list) or not given:
        raise BadRequest("inputs: this is no list of one input or more")
    if len(given) > options.inputs:
        raise TooLarge(f"inputs: {len(given):,} are more than this service takes at once, {options.inputs:,}")
    return [_asked(item, number, settings, task, options) for number, item in enumerate(given)]


def _asked(item: Any, number: int, settings: Mapping[str, Any], task: Task, options: ServiceOptions) -> Asked:
    where = f"inputs[{number}]"
    characters = measure(item, options, where)
    try:
        read = task.read_sent(item)
        if task.hears:
            _check_sound(read, options, where)
    except InputError as error:
        raise BadRequest(f"{where}: {error.what}") from None
    return Asked(read, _bounded(settings, characters, task, options))


def _bounded(
    settings: Mapping[str, Any], characters: int, task: Task, options: ServiceOptions
) -> Mapping[str, Any]:
    """The settings, with a bound on the answer's length where a long input would have a longer one."""
    field = task.Settings.model_fields.get("length")
    open_ended = field is not None and field.default is None and settings.get("length") is None
    if open_ended and 2 * characters + 20 > options.tokens:
        return {**settings, "length": options.tokens}
    return settings


def _check_sound(sound: Mapping[str, Any], options: ServiceOptions, where: str) -> None:
    seconds = read_header(sound, where).seconds
    if seconds > options.seconds:
        raise TooLarge(
            f"{where}: {seconds:,.1f} s of sound are more than this service takes, {options.seconds:g} s"
        )


def measure(item: Any, options: ServiceOptions, where: str) -> int:
    """The characters of all texts in a JSON value.

    Raises:
        TooLarge: they are too many, or its numbers are.
        BadRequest: a number that no computer's are.
    """
    characters = numbers = 0
    left: list[Any] = [item]
    while left:
        value = left.pop()
        if isinstance(value, str):
            characters += len(value)
        elif isinstance(value, dict):
            characters += sum(map(len, value))
            left.extend(value.values())
        elif isinstance(value, list):
            left.extend(value)
        else:
            numbers += 1
            if isinstance(value, int) and abs(value) > _LARGEST_INTEGER:
                raise BadRequest(
                    f"{where}: an integer of {value.bit_length()} bits is none of ours, which have 64"
                )
            if isinstance(value, float) and not math.isfinite(value):
                raise BadRequest(f"{where}: a number is beyond what 64 bits hold")
    if characters > _sound_or_text(item, options):
        raise TooLarge(
            f"{where}: {characters:,} characters are more than this service takes, {options.characters:,}"
        )
    if numbers > options.numbers:
        raise TooLarge(f"{where}: {numbers:,} numbers are more than this service takes, {options.numbers:,}")
    return characters


def _sound_or_text(item: Any, options: ServiceOptions) -> float:
    """Characters that an input may have: of base64 as many as a body holds, whose sound is measured in seconds."""
    if isinstance(item, dict) and item.keys() == {"bytes"}:
        return math.inf
    return options.characters


def _shown(value: Any) -> str:
    return f"{value!r:.60}"
