"""How the runs beside this file were made, by the version that had these three tasks first.

They stay as they are: every later version loads them and predicts what `expected.json` says. Run with a folder to make
others of the version at hand: `python tests/tasks/golden/make.py FOLDER`.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import gatework as gw

LINES = ["the cat sat", "a dog ran", "the dog sat", "a cat ran"] * 6
WORDS = {"one": "eins", "two": "zwei", "three": "drei"}
PAIRS = [{"source": f"{a} {b}", "target": f"{WORDS[b]} {WORDS[a]}"} for a in WORDS for b in WORDS] * 3
TURNS = [{"turns": ["i am ada", "welcome ada", "hello", "good morning"]}] * 20

SMALL = {"hidden_size": 4, "embedding_size": 4, "max_steps": 12, "learning_rate": 0.02, "device": "cpu"}
PAIR_OPTIONS = SMALL | {"tokenizer": "word", "max_steps": 120, "batch_tokens": 60, "select_by": "loss"}
RUNS: dict[str, tuple[str, dict[str, Any], list[Any]]] = {
    "language-model": (
        "LanguageModel",
        SMALL | {"num_layers": 1, "batch_size": 2, "steps": 8, "ngram_order": 2},
        LINES,
    ),
    "translator": ("Translator", PAIR_OPTIONS, PAIRS),
    "chatbot": (
        "ChatBot",
        {name: value for name, value in PAIR_OPTIONS.items() if name != "select_by"},
        TURNS,
    ),
}
INPUTS: dict[str, list[Any]] = {
    "language-model": ["the c", ""],
    "translator": ["one two", "three nine"],
    "chatbot": ["hello", ["i am ada", "welcome ada", "hello"]],
}
SETTINGS: dict[str, dict[str, Any]] = {
    "language-model": {"length": 8, "seed": 1},
    "translator": {"beam": 2, "length": 4},
    "chatbot": {"beam": 2, "length": 4},
}


def data(name: str) -> Any:
    """The training data of a run."""
    return iter(line + "\n" for line in LINES) if name == "language-model" else iter(RUNS[name][2])


def main(folder: Path) -> None:
    """Train the three runs and note what they predict and score."""
    expected = {}
    for name, (task, options, _) in RUNS.items():
        model = getattr(gw, task)(**options).fit(data(name), out=folder / name)
        shutil.rmtree(folder / name / "checkpoints")
        expected[name] = {
            "predictions": model.predict(INPUTS[name], **SETTINGS[name]),
            "figures": model.evaluate(data(name)),
        }
    (folder / "expected.json").write_text(json.dumps(expected, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
