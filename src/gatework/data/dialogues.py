"""Dialogues, turn by turn: each reply with the turns before it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..errors import InputError
from .tables import Source, locate_rows
from .text import text_of

__all__ = ["Exchange", "context_text", "read_dialogues"]

OTHER, OWN = "> ", "< "  # what the other speaker said, and what the one who replies said


class Exchange(NamedTuple):
    """A reply, the last turns before it, and where they were found."""

    where: str
    turns: list[str]
    reply: str


def context_text(turns: Sequence[str], most: int) -> str:
    """The last turns as one text, a line each, marked with who spoke: the last one is the other speaker's.

    A turn without text has no line. Where the last turn has none, nothing was said to reply to: the text is empty.
    """
    last = [" ".join(turn.split()) for turn in turns[-most:]]
    if not last or not last[-1]:
        return ""
    marks = [OTHER if (len(last) - index) % 2 else OWN for index in range(len(last))]
    return "\n".join(mark + turn for mark, turn in zip(marks, last, strict=True) if turn)


def read_dialogues(data: Source, column: str, *, context: int, second_alone: bool) -> Iterator[Exchange]:
    """An exchange for each reply in each dialogue. A turn, or the reply, may be without text, as the dialogue has it.

    Args:
        data: rows whose column holds a dialogue: a list of texts, the two speakers in turn.
        context: turns before a reply that are kept.
        second_alone: replies of the second speaker only.

    Raises:
        InputError: a row holds something else; no dialogue has two turns.
    """
    longest = 0
    for row in locate_rows(data, {"turns": column}):
        turns = _turns(row.where, row.values["turns"])
        longest = max(longest, len(turns))
        for index in range(1, len(turns)):
            if not (second_alone and index % 2 == 0):
                yield Exchange(row.where, turns[max(index - context, 0) : index], turns[index])
    if longest < 2:
        what = "holds no dialogue with a reply: each has one turn at most"
        raise InputError(
            "data", what, 'Give all turns of a dialogue in one row: {"turns": ["Hello", "Good day"]}'
        )


def _turns(where: str, value: Any) -> list[str]:
    if isinstance(value, np.ndarray):  # what pandas reads from Parquet
        value = value.tolist()
    if not isinstance(value, list | tuple):
        what = f"the turns are {type(value).__name__} {value!r:.40}"
        raise InputError(where, what, 'Give a list of texts: {"turns": ["Hello", "Good morning"]}')
    return [
        text_of(f"{where}, turn {number}", turn, "Give texts, one a turn")
        for number, turn in enumerate(value, 1)
    ]
