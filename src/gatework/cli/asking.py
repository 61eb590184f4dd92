"""Questions on the terminal about one's own documents, the answer marked in its sentence."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gatework.cli.streams import standard_input
from gatework.errors import InputError

if TYPE_CHECKING:
    from gatework.tasks.reader import Reader

__all__ = ["answer_questions"]

_SHOWN = 300  # characters of a sentence on either side of the answer


def answer_questions(
    reader: Reader,
    documents: Sequence[Path],
    questions: Iterable[str] | None,
    *,
    as_json: bool,
    settings: Mapping[str, Any],
) -> None:
    """Print the answers to questions.

    Args:
        questions: None: the lines of the standard input, until it ends.
        as_json: an object a question, with all of its answers.
        settings: of `predict`.
    """
    colours = sys.stdout.isatty()
    for question in _lines() if questions is None else questions:
        if not question.strip():
            continue
        try:
            answers = reader.ask(question, documents, **settings)
        except InputError as error:
            if questions is not None or not sys.stdin.isatty():
                raise
            print(error, file=sys.stderr)  # the next question may be answered
            continue
        if as_json:
            print(json.dumps({"question": question, "answers": answers}, ensure_ascii=False), flush=True)
        else:
            print("\n".join([_shown(each, colours) for each in answers] or ["(no answer)"]), flush=True)


def _shown(answer: Mapping[str, Any], colours: bool) -> str:
    begin = answer["start"] - answer["sentence_start"]
    end = answer["end"] - answer["sentence_start"]
    sentence = answer["sentence"]
    before, after = sentence[max(0, begin - _SHOWN) : begin], sentence[end : end + _SHOWN]
    mark, close = ("\x1b[1;4m", "\x1b[0m") if colours else ("»", "«")
    whole = " ".join(f"{before}{mark}{answer['text']}{close}{after}".split())
    where = f"{answer['document']}, characters {answer['start']} to {answer['end']}"
    return f"{answer['text']}  ({answer['probability']:.0%})\n  {whole}\n  {where}"


def _lines() -> Iterator[str]:
    lines = standard_input()
    if isinstance(lines, io.TextIOWrapper):
        lines.reconfigure(encoding="utf-8-sig")  # as predict reads it, whatever the environment says
    if lines.isatty():
        print("Ask something; Ctrl-D ends.")
    while True:
        try:
            yield input("> " if lines.isatty() else "")
        except (EOFError, KeyboardInterrupt):
            return
        except UnicodeDecodeError as error:
            raise InputError(
                "standard input", f"is not UTF-8 ({error.reason})", "Write it as UTF-8."
            ) from error
