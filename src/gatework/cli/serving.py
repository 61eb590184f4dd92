"""The command that serves runs: its options, and the packages that it needs."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gatework.errors import InputError, MissingExtraError

if TYPE_CHECKING:
    from gatework.serve import ServiceOptions

__all__ = ["TOKEN", "read_options", "serve_runs"]

TOKEN = "GATEWORK_TOKEN"
"""The environment variable that holds a token, where no file does."""


def read_options(settings: Sequence[str], token_file: Path | None) -> ServiceOptions:
    """The options of `--set`, and the token of a file or of the environment.

    Raises:
        InputError: an option that there is not, a wrong value, or a file that cannot be read.
    """
    from gatework.serve import ServiceOptions
    from gatework.tasks.options import split_settings
    from gatework.training import parse_options

    values: dict[str, Any] = dict(split_settings(settings))
    if "token" in values:
        what = "would be seen by everybody who lists this machine's processes"
        raise InputError("--set token", what, f"Give --token-file FILE, or the environment variable {TOKEN}.")
    if token_file is not None:
        values["token"] = _first_line(token_file)
    elif os.environ.get(TOKEN):
        values["token"] = os.environ[TOKEN]
    return parse_options(ServiceOptions, values, "serve")


def serve_runs(runs: Sequence[str], *, host: str, port: int, device: str, options: ServiceOptions) -> None:
    """`gatework.serve.server.serve`, once the names of the runs are known to be good.

    Raises:
        MissingExtraError: what serves is not installed.
    """
    try:
        from gatework.serve.server import serve
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "gatework":
            raise
        raise MissingExtraError("fastapi", "serve") from error
    serve(runs, host=host, port=port, device=device, options=options)


def _first_line(path: Path) -> str:
    try:
        with path.open(encoding="utf-8") as file:
            return file.readline().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            str(path), f"cannot be read ({error})", "Write the token in its first line."
        ) from error
