"""Each registered task at its smallest: options, training and validation rows, for tests that hold for all."""

from __future__ import annotations

import random
from typing import Any, NamedTuple

from gatework import tasks

WORDS = ("the", "cat", "dog", "sat", "ran", "on", "a", "mat", "big", "red")


class Tiny(NamedTuple):
    """options, data and validation data with which a task trains in a second or two."""

    options: dict[str, Any]
    train: list[dict[str, Any]]
    valid: list[dict[str, Any]]


def _texts(count: int, seed: int) -> list[str]:
    generator = random.Random(seed)
    return [" ".join(generator.choices(WORDS, k=generator.randint(2, 5))) for _ in range(count)]


def _language_model(count: int, seed: int) -> list[dict[str, Any]]:
    return [{"text": text} for text in _texts(count, seed)]


def _pairs(count: int, seed: int) -> list[dict[str, Any]]:
    return [{"source": text, "target": text[::-1]} for text in _texts(count, seed)]


def _dialogues(count: int, seed: int) -> list[dict[str, Any]]:
    texts = _texts(2 * count, seed)
    return [{"turns": texts[2 * i : 2 * i + 2]} for i in range(count)]


TRAINING = {"epochs": 2, "device": "cpu", "record_every": 2}
PAIRS = {**TRAINING, "hidden_size": 6, "embedding_size": 5, "batch_tokens": 120, "tokenizer": "character"}
LANGUAGE = {
    **TRAINING,
    "hidden_size": 6,
    "num_layers": 1,
    "embedding_size": 5,
    "batch_size": 4,
    "ngram_order": 2,
}

SMALLEST = {
    "language-model": Tiny({**LANGUAGE, "steps": 8}, _language_model(40, 1), _language_model(8, 2)),
    "translator": Tiny({**PAIRS, "validation_sentences": 2}, _pairs(30, 1), _pairs(4, 2)),
    "chatbot": Tiny(PAIRS, _dialogues(30, 1), _dialogues(4, 2)),
}


def tiny(name: str) -> Tiny:
    """The entry of a task; a new task needs one."""
    if name not in SMALLEST:
        raise KeyError(f"tests/tasks/tiny.py has no entry for the task {name!r}: {tasks.names()}")
    return SMALLEST[name]
