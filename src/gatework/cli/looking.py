"""`gatework inspect`: what a run does with an input, as a page, as pictures and in sentences."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gatework import tasks
from gatework.cli import printing
from gatework.cli.settings import read_columns, read_input, read_settings

__all__ = ["look_inside"]


def look_inside(
    run: Path,
    given: str,
    out: Path,
    pictures: Path | None,
    *,
    columns: str,
    device: str,
    settings: Sequence[str],
) -> None:
    """Write the report of an input, and print how the gradient flows and what carried the answer."""
    model = tasks.load(run, device=device)
    chosen: dict[str, Any] = dict(read_settings(settings, model.Settings, f"predict with {model.name}"))
    found = model.inspect(read_input(given), out, columns=read_columns(columns), **chosen)
    printing.note(f"The report is in {out}.")
    if pictures is not None:
        found.draw(pictures)
        printing.note(f"Its pictures are in {pictures}.")
    for each in (*(found.flow.states.values() if found.flow else ()), *found.reasons):
        print(each)
