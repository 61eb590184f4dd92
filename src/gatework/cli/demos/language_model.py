"""A demonstration: a language model of Python's own reference, which every Python carries."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console

from gatework.cli import printing
from gatework.cli.folders import free_folder
from gatework.tasks.language_model import LanguageModel

__all__ = ["OPTIONS", "SENTENCES", "run"]

OPTIONS: dict[str, Any] = {
    "tokenizer": "bpe",
    "vocabulary_size": 1000,
    "hidden_size": 256,
    "num_layers": 1,
    "embedding_size": 256,
    "batch_size": 16,
    "bptt": 32,
    "learning_rate": 0.005,
    "tie_weights": False,
    "max_minutes": 0.9,
}
SENTENCES = ("The statement", "A class is", "If an exception is raised")


def run() -> int:
    """Train for about a minute, print the figures, complete three sentences."""
    from pydoc_data.topics import topics

    console = Console()
    text = "\n".join(topics[name] for name in sorted(topics))
    out = free_folder(Path("runs"), "demo")
    console.print(
        f"Training on the Python reference ({len(text):,} characters) for about a minute, into {out}"
    )
    model = LanguageModel(**OPTIONS).fit(iter([text]), out=out)
    if model.result_.stopped == "interrupted":
        printing.note(f"Interrupted. What was trained so far is in {out}.")
        return 130
    printing.figures(model.metrics_, title="On the last 5 % of the text, which the model has not seen")
    for sentence in SENTENCES:
        console.print(f"\n{sentence}", style="bold", end="")
        for piece in model.stream(sentence, length=60, temperature=0.5, stop="."):
            if isinstance(piece, str):
                console.print(piece, end="", markup=False, highlight=False)
        console.print()
    console.print(f'\nNow you: echo "To be" | gatework predict {out}', markup=False, highlight=False)
    return 0
