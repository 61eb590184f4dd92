"""A conversation on the terminal."""

from __future__ import annotations

import contextlib
import io
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from gatework.cli.streams import standard_input
from gatework.errors import InputError

if TYPE_CHECKING:
    from gatework.tasks.chat_bot import ChatBot

__all__ = ["HELP", "converse"]

HELP = """/reset            forget what was said
/temperature T    0: the likeliest reply; above: draw, 1 as the bot believes
/history          what was said
/help             this
/quit             end (or Ctrl-D)"""


def converse(bot: ChatBot) -> None:
    """Reads lines, prints replies, until the input ends, Ctrl-C, or /quit."""
    conversation = bot.conversation()
    lines = standard_input()
    terminal = lines.isatty()
    if isinstance(lines, io.TextIOWrapper):
        # As predict reads it, whatever the environment says; -sig: without a mark.
        lines.reconfigure(encoding="utf-8-sig")
    if terminal:
        with contextlib.suppress(ImportError):  # a Python that was built without it
            import readline  # noqa: F401  # from now on a line of `input` can be edited, and called back
        print("Say something; /help lists the commands, Ctrl-D ends.")
    for line in _lines("you> " if terminal else ""):
        text = line.strip()
        if not text:
            continue
        command, _, argument = text.partition(" ")
        try:
            match command:
                case "/quit":
                    return
                case "/help":
                    print(HELP)
                case "/reset":
                    conversation.reset()
                    print("(forgotten)")
                case "/history":
                    for number, turn in enumerate(conversation.turns):
                        print(f"{'bot' if number % 2 else 'you'}: {turn}")
                case "/temperature":
                    print(f"({_heat(conversation.settings, argument)})")
                case _ if command.startswith("/"):
                    print(f"There is no command {command}.\n{HELP}")
                case _:
                    print(("bot> " if terminal else "") + conversation.say(text), flush=True)
        except InputError as error:
            print(error, file=sys.stderr)


def _heat(settings: dict[str, object], text: str) -> str:
    try:
        temperature = float(text)
        if not 0 <= temperature < float("inf"):
            raise ValueError
    except ValueError:
        raise InputError(
            "/temperature", f"{text!r} is no number of 0 or more", "Write /temperature 0.7."
        ) from None
    settings.pop("beam", None)
    settings["temperature"] = temperature
    if temperature > 0:
        settings["beam"] = 1
    return f"temperature {temperature:g}" + ("" if temperature else ": the likeliest reply")


def _lines(prompt: str) -> Iterator[str]:
    while True:
        try:
            yield input(prompt)
        except (EOFError, KeyboardInterrupt):
            if prompt:
                print()
            return
        except UnicodeDecodeError as error:
            print(f"That line is not UTF-8 ({error.reason}); say it again.", file=sys.stderr)
