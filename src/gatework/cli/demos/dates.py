"""A demonstration: dates as people write them in many languages, translated into ISO dates."""

from __future__ import annotations

import datetime
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from gatework.cli import printing
from gatework.cli.demos.ending import fell_short, now_you, was_interrupted
from gatework.cli.folders import free_folder
from gatework.errors import MissingExtraError
from gatework.inspect import alignment_text, draw_alignment
from gatework.tasks.translator import Translator

__all__ = ["LANGUAGES", "OPTIONS", "dates", "run"]

LANGUAGES = ("cs", "de", "el", "en", "es", "fi", "fr", "id", "it", "nl", "pl", "pt", "ru", "sv", "tr", "uk")
PATTERNS = ("long", "full", "d MMMM y", "EEE d MMM y", "MMMM d, y")
LEARNED = 0.97  # share of the validation dates that must be right before the training ends
YOURS = "fr 14 juillet 1989"  # a pattern and a language that are learned
FIRST, LAST = datetime.date(1900, 1, 1), datetime.date(2099, 12, 31)
TRAINING, VALIDATION, UNSEEN = 40_000, 200, 1_000
OPTIONS: dict[str, Any] = {
    "tokenizer": "character",
    "embedding_size": 64,
    "hidden_size": 128,
    "batch_tokens": 3000,
    "dropout": 0.0,
    "label_smoothing": 0.0,
    "learning_rate": 0.005,
    "select_by": "exact_match",
    "target": LEARNED,
    "validate_every": 50,
    "max_steps": 600,
    "max_minutes": 10,
}


def dates(count: int, days: Sequence[int], seed: int) -> Iterator[dict[str, str]]:
    """So many dates, `{"source": "de Donnerstag, 3. Januar 2019", "target": "2019-01-03"}`.

    The formats have the month's name, so that a date is never ambiguous; the language is the first token.

    Args:
        days: drawn from, counted from the first of 1900.
        seed: of the draws.
    """
    try:
        from babel.dates import format_date
    except ModuleNotFoundError as error:
        raise MissingExtraError("babel", "tasks") from error
    generator = random.Random(seed)
    for _ in range(count):
        date = FIRST + datetime.timedelta(days=generator.choice(days))
        language, pattern = generator.choice(LANGUAGES), generator.choice(PATTERNS)
        text = format_date(date, format=pattern, locale=language)
        text = generator.choice((text, text, text.lower(), text.upper()))
        yield {"source": f"{language} {text}", "target": date.isoformat()}


def split_days() -> tuple[list[int], list[int], list[int]]:
    """Days for training, for validation and for the test: no day is in two of them, in whatever language."""
    days = list(range((LAST - FIRST).days + 1))
    random.Random(0).shuffle(days)
    return days[2 * UNSEEN :], days[UNSEEN : 2 * UNSEEN], days[:UNSEEN]


def run() -> int:
    """Train until the validation dates are right, print the figures, five translations and an alignment."""
    console = Console()
    known, validation, unseen = split_days()
    out = free_folder(Path("runs"), "demo")
    console.print(
        f"Training on {TRAINING:,} dates in {len(LANGUAGES)} languages, into {out}, until {LEARNED:.0%} of "
        f"{VALIDATION} other dates are right: about a minute on two idle cores, "
        f"{OPTIONS['max_minutes']} minutes at most.",
        highlight=False,
        soft_wrap=True,
    )
    test = list(dates(UNSEEN, unseen, seed=2))
    chosen_by = dates(VALIDATION, validation, seed=3)  # the checkpoint is the best one on these
    model = Translator(**OPTIONS).fit(dates(TRAINING, known, seed=1), valid=chosen_by, out=out)
    if was_interrupted(model.result_, out):
        return 130
    figures = model.evaluate(iter(test))
    printing.figures(figures, title="On days that the model has not seen in any language")
    right = model.result_.best["exact_match"] or 0.0
    fell_short(
        model.result_,
        f"{LEARNED:.0%} of the {VALIDATION} validation dates right",
        f"the translator gets {right:.0%} of them right",
    )
    for record in model.predict([example["source"] for example in test[:5]]):
        console.print(f"  {record['input']:<44} {record['output']}", markup=False, highlight=False)
    shown = model.predict("en Saturday, November 21, 2026", alignment=True)[0]
    console.print(f"\nWhere it looks as it writes each character of {shown['output']}:", highlight=False)
    console.print(alignment_text(**shown["alignment"]), markup=False, highlight=False)
    try:
        draw_alignment(**shown["alignment"], path=out / "alignment.png")
        console.print(f"\nThe same as a picture: {out / 'alignment.png'}", highlight=False)
    except MissingExtraError as error:
        printing.note(f"No picture was drawn: {error}")
    languages = ", ".join(LANGUAGES)
    now_you(console, YOURS, out, f"a language of {languages}, then a day, a month's name and a year")
    return 0
