"""Stories of the bAbI tasks (Weston et al. 2015, arXiv:1502.05698): facts, and questions that stand between them.

A line begins with its number in its story; a story begins where the number is 1 again. A question's line holds the
question, its answer and the numbers of the facts that matter, with tabs between them; every other line is a fact. What
matters is left out: an answer is to be learned without it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from ..errors import InputError
from .files import read_lines

__all__ = ["StoryQuestion", "is_babi", "read_babi"]

_FORM = "A line is '1 a fact' or '2 a question?<tab>its answer<tab>1', numbered from 1 in each story"


class StoryQuestion(NamedTuple):
    """A question of a story, and where it stands.

    facts: of the story, as far as they stand before the question, in order.
    answer: a word, or several with commas between them.
    story: names the story in its file: questions of one story share facts.
    """

    where: str
    facts: list[str]
    question: str
    answer: str
    story: str


def is_babi(path: Path) -> bool:
    """Whether a text file's first line is the first of a story.

    Raises:
        InputError: the file cannot be read as text (`gatework.data.files`).
    """
    _, first = next(read_lines(path))
    number, space, fact = first.partition(" ")
    return number == "1" and bool(space) and "\t" not in fact


def read_babi(path: Path) -> Iterator[StoryQuestion]:
    """The questions of a file of stories, in order; never more than a story in memory.

    Raises:
        InputError: a line without its number, a question without facts, text or answer, a file without a question; see
            `gatework.data.files` for the rest.
    """
    facts: list[str] = []
    story, number, found = 0, 0, False
    for line, text in read_lines(path):
        if not text.strip():
            continue
        where = f"{path}, line {line}"
        begin, _, rest = text.partition(" ")
        expected = number + 1
        if begin not in {"1", str(expected)}:
            wanted = f"{expected}, or 1 for a new story" if number else "1"
            raise InputError(where, f"begins with {begin[:20]!r} and not with its number, {wanted}", _FORM)
        number = int(begin)
        if number == 1:
            story, facts = story + 1, []
        question, tab, answer = rest.partition("\t")
        if not question.strip():
            raise InputError(where, "holds its number alone", _FORM)
        if not tab:
            facts.append(question.strip())
            continue
        answer = answer.partition("\t")[0].strip()
        if not answer:
            raise InputError(where, "is a question without an answer", _FORM)
        if not facts:
            raise InputError(where, "is a question before the first fact of its story", _FORM)
        found = True
        yield StoryQuestion(where, list(facts), question.strip(), answer, f"{path}, story {story}")
    if not found:
        raise InputError(str(path), "holds facts and no question", _FORM)
