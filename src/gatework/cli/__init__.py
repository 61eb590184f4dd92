"""The command line. Thin: each command calls one public method; bad input is one line and exit code 2."""

from __future__ import annotations

import errno
import io
import os
import re
import sys
from collections.abc import Sequence
from typing import Any

import typer

from gatework.cli.streams import occupy_closed_streams
from gatework.cli.threads import wait_without_spinning
from gatework.errors import GateworkError

__all__ = ["main"]

BAD_INPUT = 2
INTERRUPTED = 130

# The base of what typer raises for a wrong command line; typer brings its own copy of click, or uses click's,
# and exports neither.
UsageError: Any = typer.BadParameter.__mro__[1]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    Args:
        arguments: without the program's name; `sys.argv` if left out.
    """
    from gatework.cli.app import Interrupted, ReaderGone, app

    occupy_closed_streams()
    if sys.stdout is None:
        return _fail("standard output: it is closed. Send it to a file, or to /dev/null.")
    if isinstance(sys.stdout, io.TextIOWrapper):
        # What a terminal's encoding lacks is shown as an escape; nothing that was computed is lost to an exception.
        sys.stdout.reconfigure(errors="backslashreplace")
    wait_without_spinning()
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        code = app(args=given or ["--help"], prog_name="gatework", standalone_mode=False)
    except UsageError as error:
        return _fail(f"{error.format_message()} See gatework --help.")
    except GateworkError as error:
        return _fail(with_flags(str(error)))
    except (Interrupted, KeyboardInterrupt, typer.Abort):
        print("gatework: interrupted", file=sys.stderr)
        return INTERRUPTED
    except ReaderGone:
        # Python would complain again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        where = error.filename or "the disk"
        return _fail(
            f"{where}: no space is left. Free some, then repeat the command (with --resume to go on)."
        )
    except (RuntimeError, MemoryError) as error:
        from gatework.training.memory import is_out_of_memory

        if not is_out_of_memory(error):
            raise
        return _fail(
            f"memory: there is not enough of it ({str(error) or 'Python got none'}). Take less data at once, smaller "
            "batches, a smaller beam or a smaller network."
        )
    return code if isinstance(code, int) else 0


# How `fit` and `load` name what a flag says, in messages: values stand there in capitals.
_FLAGS = (
    (r"resume=True", "--resume"),
    (r"from_run=RUN", "--from RUN"),
    (r"\b(out|valid)=(RUN|FILE)", r"--\1 \2"),
    (r"columns=\{'(\w+)': 'COLUMN'\}", r"--columns \1=COLUMN"),
    (r"Name it again: cell=", "Name it again: --cell "),
    (r"Name it again: (\w+)=", r"Name it again: --set \1="),
)


def with_flags(message: str) -> str:
    """A message of the library as the command line says it: with its flags in place of arguments."""
    for argument, flag in _FLAGS:
        message = re.sub(argument, flag, message)
    return message


def _fail(message: str) -> int:
    print(f"gatework: {' '.join(message.split())}", file=sys.stderr)
    return BAD_INPUT
