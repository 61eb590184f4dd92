"""Dialogues, turn by turn: each reply with the turns before it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..errors import InputError
from .column_names import check_columns
from .tables import Source, locate_rows
from .text import text_of

__all__ = ["Exchange", "context_text", "read_dialogues"]

COLUMNS = (
    "turns",
    "messages",
    "conversations",
)  # of the last two, OpenAI's and Hugging Face's, and ShareGPT's
_FORMS = (("role", "content"), ("from", "value"))
# Whether a speaker is the second one, who replies; None: the system.
_SPEAKERS = {
    "user": False,
    "human": False,
    "assistant": True,
    "gpt": True,
    "chatgpt": True,
    "bot": True,
    "system": None,
    "developer": None,
}
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


def read_dialogues(
    data: Source,
    column: str | None,
    *,
    context: int,
    second_alone: bool,
    say: Callable[[str], None] | None = None,
) -> Iterator[Exchange]:
    """An exchange for each reply in each dialogue. A turn, or the reply, may be without text, as the dialogue has it.

    A dialogue is a list of texts, the two speakers in turn; or of messages that say whose they are, with `role` (user,
    assistant) and `content`, or with `from` (human, gpt) and `value`. Messages of one speaker in a row are one turn,
    and those of the system are left out. The second speaker is the assistant, whoever begins.

    Args:
        data: rows whose column holds a dialogue.
        column: its name; None: `turns`, `messages` or `conversations`, whichever the row has.
        context: turns before a reply that are kept.
        second_alone: replies of the second speaker only.
        say: is told how many messages of the system were left out.

    Raises:
        InputError: a row holds something else; no dialogue has two turns.
    """
    longest = 0
    system: list[str] = []  # where its messages are
    for row in locate_rows(data, None if column is None else {"turns": column}):
        name = "turns" if column is not None else next((it for it in COLUMNS if it in row.values), "turns")
        check_columns(row.where, {"turns": name}, row.values)
        turns, own_begins = _turns(row.where, row.values[name], system)
        longest = max(longest, len(turns))
        for index in range(1, len(turns)):
            if not (second_alone and (index + own_begins) % 2 == 0):
                yield Exchange(row.where, turns[max(index - context, 0) : index], turns[index])
    if system and say is not None:
        say(f"{len(system):,} messages of the system are left out, the first at {system[0]}.")
    if longest < 2:
        what = "holds no dialogue with a reply: each has one turn at most"
        raise InputError(
            "data", what, 'Give all turns of a dialogue in one row: {"turns": ["Hello", "Good day"]}'
        )


def _turns(where: str, value: Any, system: list[str]) -> tuple[list[str], bool]:
    """The turns of a dialogue, and whether the second speaker begins; notes where the system has a message."""
    if isinstance(value, np.ndarray):  # what pandas reads from Parquet
        value = value.tolist()
    if isinstance(value, Mapping):  # what `datasets` makes of a list of dicts: a dict of lists
        value = _rows_of_columns(where, value)
    if not isinstance(value, list | tuple):
        what = f"the turns are {type(value).__name__} {value!r:.40}"
        raise InputError(where, what, 'Give a list of texts: {"turns": ["Hello", "Good morning"]}')
    places = [f"{where}, turn {number}" for number in range(1, len(value) + 1)]
    if not any(isinstance(turn, Mapping) for turn in value):
        return [text_of(*it, "Give texts, one a turn") for it in zip(places, value, strict=True)], False
    turns: list[str] = []
    speakers: list[bool] = []  # of each turn, whether it is the second one's
    for place, message in zip(places, value, strict=True):
        speaker, text = _message(place, message)
        if speaker is None:
            system.append(place)
        elif speakers and speakers[-1] == speaker:
            turns[-1] = f"{turns[-1]}\n{text}"
        else:
            turns.append(text)
            speakers.append(speaker)
    return turns, bool(speakers and speakers[0])


def _rows_of_columns(where: str, columns: Mapping[str, Any]) -> list[dict[str, Any]]:
    try:
        return [dict(zip(columns, cells, strict=True)) for cells in zip(*columns.values(), strict=True)]
    except (TypeError, ValueError) as error:
        what = f"the turns are a dict whose entries are no lists of one length ({error})"
        raise InputError(where, what, "Give a list of messages") from error


def _message(where: str, message: Any) -> tuple[bool | None, str]:
    """Whether a message is the second speaker's (None: the system's), and its text."""
    shape = 'Give messages as {"role": "user", "content": "Hello"}, or as {"from": "human", "value": "Hello"}'
    form = next((it for it in _FORMS if isinstance(message, Mapping) and set(it) <= message.keys()), None)
    if form is None:
        raise InputError(where, f"is no message: {message!r:.60}", shape)
    role, content = (message[name] for name in form)
    if not isinstance(role, str) or role not in _SPEAKERS:
        what = f"is of {role!r:.40}, who is neither the user nor the assistant"
        raise InputError(where, what, f"Take it out, or name one of {', '.join(_SPEAKERS)}")
    if isinstance(content, np.ndarray):
        content = content.tolist()
    if isinstance(content, list):  # parts, as of a message with pictures
        texts = [part.get("text") if isinstance(part, Mapping) else part for part in content]
        content = "\n".join(text_of(where, text, "Give messages of text alone") for text in texts)
    return _SPEAKERS[role], text_of(where, content, "Give messages of text alone")
