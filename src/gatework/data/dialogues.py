"""Dialogues, turn by turn, as pairs of a context and the reply to it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ..errors import InputError
from .pairs import Pair
from .tables import Source, locate_rows

__all__ = ["context_text", "read_dialogues"]

OTHER, OWN = "> ", "< "  # what the other speaker said, and what the one who replies said


def context_text(turns: Sequence[str], most: int) -> str:
    """The last turns as one text, a line each, marked with who spoke: the last one is the other speaker's."""
    last = [" ".join(turn.split()) for turn in turns[-most:]]
    return "\n".join((OTHER if (len(last) - number) % 2 else OWN) + turn for number, turn in enumerate(last))


def read_dialogues(data: Source, column: str, *, context: int, second_alone: bool) -> Iterator[Pair]:
    """A pair for each reply: the turns before it as one text, and the reply.

    Args:
        data: rows whose column holds a dialogue: a list of texts, the two speakers in turn.
        context: turns before a reply that are kept.
        second_alone: replies of the second speaker only.

    Raises:
        InputError: a row holds something else.
    """
    for row in locate_rows(data, {"turns": column}):
        turns = _turns(row.where, row.values["turns"])
        for number in range(1, len(turns)):
            if second_alone and number % 2 == 0:
                continue
            yield Pair(row.where, context_text(turns[:number], context), turns[number])


def _turns(where: str, value: Any) -> list[str]:
    if not isinstance(value, list | tuple):
        what = f"the turns are {type(value).__name__} {value!r:.40}"
        raise InputError(where, what, 'Give a list of texts: {"turns": ["Hello", "Good morning"]}')
    for number, turn in enumerate(value, start=1):
        if not isinstance(turn, str):
            what = f"turn {number} is {type(turn).__name__} {turn!r:.40}, not a text"
            raise InputError(where, what, "Give texts, one a turn")
    return list(value)
