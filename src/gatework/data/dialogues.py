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
    """The last turns as one text, a line each, marked with who spoke: the last one is the other speaker's.

    A turn without text has no line. Where the last turn has none, nothing was said to reply to: the text is empty.
    """
    last = [" ".join(turn.split()) for turn in turns[-most:]]
    if not last or not last[-1]:
        return ""
    marks = [OTHER if (len(last) - index) % 2 else OWN for index in range(len(last))]
    return "\n".join(mark + turn for mark, turn in zip(marks, last, strict=True) if turn)


def read_dialogues(data: Source, column: str, *, context: int, second_alone: bool) -> Iterator[Pair]:
    """A pair for each reply: the turns before it as one text, and the reply. Either may be empty, where the dialogue
    has a turn without text.

    Args:
        data: rows whose column holds a dialogue: a list of texts, the two speakers in turn.
        context: turns before a reply that are kept.
        second_alone: replies of the second speaker only.

    Raises:
        InputError: a row holds something else.
    """
    for row in locate_rows(data, {"turns": column}):
        turns = _turns(row.where, row.values["turns"])
        for index in range(1, len(turns)):
            if not (second_alone and index % 2 == 0):
                yield Pair(row.where, context_text(turns[:index], context), turns[index])


def _turns(where: str, value: Any) -> list[str]:
    if not isinstance(value, list | tuple):
        what = f"the turns are {type(value).__name__} {value!r:.40}"
        raise InputError(where, what, 'Give a list of texts: {"turns": ["Hello", "Good morning"]}')
    for number, turn in enumerate(value, start=1):
        if not isinstance(turn, str):
            what = f"turn {number} is {type(turn).__name__} {turn!r:.40}, not a text"
            raise InputError(where, what, "Give texts, one a turn")
    return list(value)
