"""What comes from the command line and from files: options, columns, inputs."""

from __future__ import annotations

import codecs
import itertools
import json
import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TextIO

from gatework.cli.invocation import program
from gatework.cli.streams import standard_input
from gatework.errors import InputError, MissingExtraError

if TYPE_CHECKING:
    from pydantic import BaseModel

    from gatework.tasks.base import Task
    from gatework.tasks.forecaster import Forecaster

__all__ = [
    "forecaster_to_draw",
    "open_output",
    "read_columns",
    "read_config",
    "read_inputs",
    "read_settings",
    "resume_command",
    "split_runs",
]


def read_config(path: Path, task: type[Task]) -> dict[str, Any]:
    """The options in a YAML file, or those of a run by its config.json.

    The loader makes plain values only: the file cannot run code.

    Raises:
        InputError: the file is missing, is no mapping, gives an option twice, belongs to a run of another task, or
            says what a file may not (`file_options`).
    """
    try:
        import yaml

        from gatework.cli.yaml_loader import Loader
    except ModuleNotFoundError as error:
        raise MissingExtraError("PyYAML", "tasks") from error
    from gatework.training.options import file_options

    try:
        with path.open(encoding="utf-8") as file:
            values = yaml.load(file, Loader)
    except OSError as error:
        raise InputError(str(path), f"cannot be read ({error.strerror})", "Check the path.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(str(path), f"is not YAML ({error})", "Write one `name: value` a line.") from error
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise InputError(str(path), f"is a {type(values).__name__}", "Write one `name: value` a line.")
    if {"format_version", "task", "options"} <= values.keys():  # a run's config.json
        if values["task"] != task.name:
            what = f"belongs to a run of {values['task']}, not of {task.name}"
            raise InputError(str(path), what, "Give a configuration of the same task.")
        values = values["options"]
    return file_options(task.Options, values, str(path))


def read_columns(text: str) -> dict[str, str]:
    """The mapping of `text=review,label=stars`."""
    columns = {}
    for part in filter(None, text.split(",")):
        name, equals, column = part.partition("=")
        if not equals or not column:
            raise InputError("--columns", f"{part!r} has no '='", "Write it as text=review.")
        columns[name.strip()] = column.strip()
    return columns


def split_runs(paths: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """(the runs at the beginning of some paths, the files after them). A run is a folder with a config.json."""
    files = list(itertools.dropwhile(lambda path: (path / "config.json").is_file(), paths))
    return list(paths[: len(paths) - len(files)]), files


def read_settings(settings: Sequence[str], model: type[BaseModel], where: str) -> dict[str, str]:
    """The settings of `--set NAME=VALUE`, as text; their names and values are checked.

    Raises:
        InputError: there is no such setting, or a value is wrong.
    """
    from gatework.tasks.options import split_settings
    from gatework.training import parse_options

    values = split_settings(settings)
    parse_options(model, values, where)
    return values


def read_inputs(file: str) -> Path | Iterator[str]:
    """What `predict` reads: a file's path; the lines of a pipe, or of the standard input for `-`, as they come."""
    path = Path(file)
    if file == "-":
        return _lines("standard input", _standard_input())
    return _lines(file, path.open("rb")) if path.is_fifo() else path


def read_input(given: str) -> Any:
    """One input of a task, as it is written on a command line: JSON, the name of a file, or else a text."""
    if given.lstrip()[:1] in ("{", "["):
        try:
            return json.loads(given)
        except json.JSONDecodeError:
            return given
    try:
        return Path(given) if Path(given).exists() else given
    except (OSError, ValueError):  # too long for a name, or with a character that no name has
        return given


def forecaster_to_draw(model: Task, file: str) -> Forecaster:
    """The model, if its forecasts of a file can be drawn.

    Raises:
        InputError: it is no forecaster, or the file cannot be read again for the picture.
    """
    from gatework.tasks.forecaster import Forecaster

    if not isinstance(model, Forecaster):
        what = f"draws forecasts, and the run is a {model.name}"
        raise InputError("--plot", what, "Leave it out, or give the run of a forecaster.")
    if file == "-" or Path(file).is_fifo():
        raise InputError("--plot", "reads the inputs a second time, which a pipe has not", "Give a file.")
    return model


def _lines(name: str, source: BinaryIO) -> Iterator[str]:
    """Lines without their line ends."""
    for number, line in enumerate(source, start=1):
        where = f"{name}, line {number}"
        text = line.removeprefix(codecs.BOM_UTF8) if number == 1 else line
        if b"\0" in text:
            raise InputError(where, "is not text (it holds a zero byte)", "Give text in UTF-8.")
        try:
            yield text.decode("utf-8").removesuffix("\n").removesuffix("\r")
        except UnicodeDecodeError as error:
            what = f"byte 0x{text[error.start]:02x} at byte {error.start} of the line is not UTF-8"
            raise InputError(where, what, "Convert it to UTF-8.") from error


def _standard_input() -> BinaryIO:
    """The standard input, read through an object of its own.

    A thread may still wait for a line when the program ends; Python then dies of the lock that this thread holds on
    `sys.stdin.buffer`.
    """
    text = standard_input()
    try:
        return open(text.fileno(), "rb", closefd=False)  # read to the end of the program
    except OSError:  # no file: a test's, or a notebook's
        return text.buffer


def open_output(path: Path | None) -> AbstractContextManager[TextIO]:
    """A file to write text to, or the standard output for None."""
    if path is None:
        return nullcontext(sys.stdout)
    try:
        return path.open("w", encoding="utf-8")
    except OSError as error:
        raise InputError(str(path), f"cannot be written ({error.strerror})", "Check the path.") from error


def resume_command() -> str:
    """The command that goes on with the training that this one began."""
    arguments = [argument for argument in sys.argv[1:] if argument != "--resume"]
    return f"{program()} {shlex.join([*arguments, '--resume'])}"
