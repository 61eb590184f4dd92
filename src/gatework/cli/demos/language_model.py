"""A demonstration: a language model of Python's own reference, which every Python carries."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console

from gatework.cli import printing
from gatework.cli.demos.ending import fell_short, now_you, was_interrupted
from gatework.cli.folders import free_folder
from gatework.tasks.language_model import LanguageModel

__all__ = ["OPTIONS", "SENTENCES", "run"]

LEARNED = 3.3  # nats a token of the validation text, at which the training ends
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
    "target": LEARNED,
    "validate_every": 50,
    "max_steps": 600,
    "max_minutes": 10,
}
SENTENCES = ("The statement", "A class is", "If an exception is raised")


def run() -> int:
    """Train until the validation text is likely enough, print the figures, complete three sentences."""
    from pydoc_data.topics import topics

    console = Console()
    text = "\n".join(topics[name] for name in sorted(topics))
    out = free_folder(Path("runs"), "demo")
    console.print(
        f"Training on the Python reference ({len(text):,} characters), into {out}, until its last 5 % cost at most "
        f"{LEARNED} nats a token: about a minute on two idle cores, {OPTIONS['max_minutes']} minutes at most.",
        highlight=False,
        soft_wrap=True,
    )
    model = LanguageModel(**OPTIONS).fit(iter([text]), out=out)
    if was_interrupted(model.result_, out):
        return 130
    printing.figures(model.metrics_, title="On the last 5 % of the text, which the model has not seen")
    fell_short(
        model.result_, f"{LEARNED} nats a token", f"the loss is {model.result_.best['loss']:.2f} nats a token"
    )
    for sentence in SENTENCES:
        console.print(f"\n{sentence}", style="bold", end="")
        for piece in model.stream(sentence, length=60, temperature=0.5, stop="."):
            if isinstance(piece, str):
                console.print(piece, end="", markup=False, highlight=False)
        console.print()
    now_you(console, SENTENCES[0], out, "the beginning of a sentence of Python's reference")
    return 0
