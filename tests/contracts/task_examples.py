"""One small example a task for the contract of tasks: data, inputs and options that train in a second."""

from __future__ import annotations

import math
import random
import re
import struct
import tempfile
import wave as wave_files
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from gatework.data.sound import read_sound
from gatework.data.word_spans import word_spans
from gatework.tasks.transcriber import Transcriber

__all__ = ["EXAMPLES", "TaskExample"]

Row = Mapping[str, Any]


@dataclass(frozen=True)
class TaskExample:
    """What `check_task` needs to know of a task.

    Attributes:
        rows: training data by the task's own columns, enough for ten steps and a part to hold back.
        valid: validation data of the same form.
        inputs: of `predict`, at least three and different; of different lengths where inputs have one.
        options: a network of 8 to 16 units that trains for about ten steps in a second. What draws random numbers
            in training (dropout) is on, so that the resume test sees it.
        settings: of `predict`, with which it is a function of the input.
        parts: an input as the items that a session is fed, None where it is none of a session; None: the task needs
            whole inputs.
        streaming: options without which its runs need whole inputs.
        rubbish: a row that has the right columns and no value that the task can read.
        inherited: an option, with another value than `options` gives it, which a run that is started from
            another one may not change.
        beforehand: trains in a folder what the options may name, so that it is not trained in every check; gives the
            options that name it.
    """

    rows: Sequence[Row]
    valid: Sequence[Row]
    inputs: Sequence[Any]
    options: Mapping[str, Any]
    rubbish: Row
    inherited: tuple[str, Any] = ("hidden_size", 9)
    beforehand: Callable[[Path], Mapping[str, Any]] | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    parts: Callable[[Any], Sequence[Any] | None] | None = None
    streaming: Mapping[str, Any] = field(default_factory=dict)


WORDS = {"one": "eins", "two": "zwei", "three": "drei", "four": "vier"}
PAIRS = [{"source": f"{a} {b}", "target": f"{WORDS[b]} {WORDS[a]}"} for a in WORDS for b in WORDS]
PAIRS += [{"source": f"{a} {b} {c}", "target": f"{WORDS[c]}"} for a in WORDS for b in WORDS for c in WORDS]
LINES = [{"text": f"the {a} and the {b}."} for a in WORDS for b in WORDS for _ in range(2)]
TALKS = [
    {"turns": [f"i am {a}", f"welcome {a}", f"who is {b}", "no idea" if a == b else f"not {a}"]}
    for a in WORDS
    for b in WORDS
]

NETWORK = {"embedding_size": 6, "hidden_size": 8, "learning_rate": 0.02, "device": "cpu", "dropout": 0.2}
ENCODER_DECODER = NETWORK | {"tokenizer": "word", "batch_tokens": 60, "max_steps": 10}
CITIES = {"rome": "I-city", "oslo": "O", "bern": "O", "york": "I-city"}
ORDERS = [
    {
        "tokens": ["fly", "to", first, last, "on", "day", "now"][: 7 - skipped],
        "tags": ["O", "O", "B-city", CITIES[last], "O", "B-day", "O"][: 7 - skipped],
        "label": "trip" if skipped < 2 else "stay",
    }
    for first in CITIES
    for last in CITIES
    for skipped in range(3)
]

FILMS = [
    {"text": f"{a} {b} film", "label": "good" if a in ("great", "lovely") else "bad"}
    for b in ("old", "new", "long", "short", "silent")
    for a in ("great", "awful", "lovely", "boring")
]


TRIPS = [
    {
        "context": f"{who} went to {city} on {day}. It was far away.",
        "question": question,
        "answer": city if question.startswith("Where") else day,
    }
    for who, day in (("Ann", "Monday"), ("Ben", "May 3"), ("Eve", "a rainy day"))
    for city in ("New Rome", "Oslo", "Bern")
    for question in (f"Where did {who} go?", f"When did {who} go to {city}?")
]


def wave(name: str, first: int, count: int) -> Row:
    """A row that holds a series with a season of 4 days."""
    target = [float(10 + 3 * (step % 4) + (step * step) % 7) for step in range(first, first + count)]
    days = [f"2024-{1 + step // 28:02}-{1 + step % 28:02}" for step in range(first, first + count)]
    return {"series": name, "time": days, "target": target}


WAVES = [wave(name, first, 28) for first, name in enumerate("abcdefgh")]

SOUNDS = tempfile.TemporaryDirectory(prefix="gatework-sounds-")  # goes with the process that made it
RATE = 8000
TONES = {"ba": 400.0, "do": 900.0, "fi": 1700.0}


def spoken(words: str, number: int) -> list[float]:
    """Samples of made-up speech: each word is a tone of 0.1 s, with silence around it."""
    generator = random.Random(number)
    silence = [0.0] * 240
    samples = list(silence)
    for word in re.findall(r"\w+", words):
        pitch = 2 * math.pi * TONES[word] * generator.uniform(0.95, 1.05) / RATE
        samples += [0.4 * math.sin(pitch * n) for n in range(800)] + silence
    return [value + generator.gauss(0, 0.01) for value in samples]


def recording(words: str, number: int) -> Row:
    """A row that names a file with made-up speech, and what is said in it."""
    samples = spoken(words, number)
    path = Path(SOUNDS.name) / f"{words.replace(' ', '-')}-{number}.wav"
    with wave_files.open(str(path), "wb") as file:
        file.setparams((1, 2, RATE, 0, "NONE", ""))
        file.writeframes(struct.pack(f"<{len(samples)}h", *(int(32767 * value) for value in samples)))
    return {"audio": str(path), "text": words}


SPEECH = [recording(words, n) for n, words in enumerate(("ba", "do", "fi ba", "do fi", "ba do fi", "fi") * 4)]

VOICES = [
    {**recording(words, n), "speaker": "ann" if n % 3 else "ben"}
    for n, words in enumerate(("do", "do, do", "do do", "do", "ba", "fi ba.", "ba do", "do fi") * 2)
]


def aligner_of_voices(folder: Path) -> dict[str, Any]:
    """A transcriber's run that finds the characters of `VOICES`."""
    sizes = {"rate": RATE, "mels": 16, "channels": 4, "hidden_size": 8, "num_layers": 1, "rivals": False}
    training = {"text": "lowercase", "select_by": "loss", "max_steps": 3, "device": "cpu"}
    Transcriber(**sizes, **training).fit(VOICES, valid=VOICES[:3], out=folder / "aligner")
    return {"aligner": str(folder / "aligner")}


def steps_of(series: Any) -> list[Any]:
    """The steps of a series: values, or rows with their times."""
    if isinstance(series, list):
        return series
    times = series.get("time", [None] * len(series["target"]))
    return [{"time": time, "target": value} for time, value in zip(times, series["target"], strict=True)]


def chunks_of(sound: Any) -> list[Any]:
    """The samples of a recording, some hundred at a time."""
    samples = read_sound(sound, RATE) if isinstance(sound, str) else np.array(sound["array"], np.float32)
    return [samples[begin : begin + 700] for begin in range(0, len(samples), 700)]


EXAMPLES: dict[str, TaskExample] = {
    "classifier": TaskExample(
        rows=FILMS,
        valid=FILMS[::4],
        inputs=["great film", "awful", "a lovely and silent film of 1920", ""],
        options=NETWORK
        | {
            "character_size": 4,
            "subword_rows": 32,
            "min_frequency": 1,
            "side_rows": 64,
            "batch_tokens": 30,
            "max_steps": 10,
            "validate_every": 5,
        },
        settings={"alternatives": 2},
        rubbish={"text": 3.5, "label": "good"},
        parts=str.split,
        streaming={"bidirectional": False},
    ),
    "language-model": TaskExample(
        rows=LINES,
        valid=LINES[:5],
        inputs=["the on", "", "the three and the f", "nine"],
        options=NETWORK
        | {
            "num_layers": 2,
            "batch_size": 2,
            "steps": 12,
            "ngram_order": 2,
            "output_dropout": 0.2,
            "max_steps": 10,
        },
        settings={"length": 6, "seed": 3},
        rubbish={"text": 3.5},
        parts=lambda text: [text],
    ),
    "translator": TaskExample(
        rows=PAIRS,
        valid=PAIRS[::8],
        inputs=["one two", "three", "four one two three", "nine one"],
        options=ENCODER_DECODER | {"scheduled_sampling": 0.2, "validate_every": 5, "validation_sentences": 4},
        settings={"beam": 2, "length": 5},
        rubbish={"source": "one", "target": 3.5},
    ),
    "chatbot": TaskExample(
        rows=TALKS,
        valid=TALKS[::5],
        inputs=["i am one", ["i am two", "welcome two", "who is two"], "who is three"],
        options=ENCODER_DECODER,
        settings={"beam": 2, "length": 5},
        rubbish={"turns": "one"},
        parts=lambda turns: [turns] if isinstance(turns, str) else None,
    ),
    "forecaster": TaskExample(
        rows=WAVES,
        valid=[wave("a", 3, 24), wave("b", 5, 24)],
        inputs=[
            wave("a", 0, 20),
            [5.0, 6.0, 9.0, 5.0, 6.0, 8.0],
            {"target": [3.0, None, 4.0]},
            wave("n", 2, 9),
        ],
        options={
            "cell": "gru_d",  # which reads masks and gaps beside its input
            "horizon": 3,
            "season": 4,
            "window": 6,
            "hidden_size": 8,
            "dropout": 0.2,
            "learning_rate": 0.02,
            "batch_steps": 24,
            "max_steps": 10,
            "validate_every": 5,
            "device": "cpu",
        },
        settings={"horizon": 2},
        rubbish={"series": "r", "time": ["2024-01-01", "2024-01-02"], "target": [1.0, "one"]},
        parts=steps_of,
    ),
    "reader": TaskExample(
        rows=TRIPS,
        valid=TRIPS[::4],
        inputs=[
            {"context": "Ben went to York on Friday.", "question": "Where did Ben go?"},
            {
                "context": "It was late. Eve went home on foot, on May 9, to Oslo.",
                "question": "When did Eve go?",
            },
            {"context": TRIPS[0]["context"], "question": "Who?"},
            {"context": "", "question": "Where?"},
        ],
        options=NETWORK
        | {
            "min_frequency": 1,
            "subword_rows": 32,
            "side_rows": 64,
            "answer_words": 4,
            "window": 12,
            "stride": 6,
            "batch_tokens": 60,
            "max_steps": 10,
            "validate_every": 5,
        },
        settings={"alternatives": 2},
        rubbish={"context": 3.5, "question": "Where?", "answer": "Rome"},
    ),
    "synthesizer": TaskExample(
        rows=VOICES,
        valid=[{**row, "speaker": None} for row in VOICES[::5]],  # a damaged run may know others
        inputs=["do ba fi", {"text": "ba, do. Fi"}, "do", {"text": "fi", "speaker": None}],
        options={
            "rate": RATE,
            "mels": 16,
            "embedding_size": 6,
            "channels": 8,
            "hidden_size": 8,
            "dropout": 0.2,
            "aligner_steps": 3,
            "learning_rate": 0.02,
            "batch_tokens": 200,
            "max_steps": 10,
            "validate_every": 5,
            "device": "cpu",
        },
        settings={"speed": 2.0},
        rubbish={"audio": 3.5, "text": "ba", "speaker": "ann"},
        beforehand=aligner_of_voices,
    ),
    "tagger": TaskExample(
        rows=ORDERS,
        valid=ORDERS[::6],
        inputs=["fly to New Rome, on day", ["fly", "to", "bern"], "unheard words", "on oslo now"],
        options=NETWORK | {"character_size": 4, "side_rows": 64, "batch_tokens": 60, "max_steps": 10},
        rubbish={"tokens": ["one", "two"], "tags": ["O"], "label": "trip"},
        parts=lambda text: text if isinstance(text, list) else [text[b:e] for b, e in word_spans(text)],
        streaming={"bidirectional": False, "crf": False, "learn_label": False},
    ),
    "transcriber": TaskExample(
        rows=SPEECH,
        valid=SPEECH[::5],
        inputs=[
            SPEECH[0]["audio"],
            SPEECH[4]["audio"],
            {"array": spoken("do ba ba", 99), "sampling_rate": RATE},
            SPEECH[2]["audio"],
        ],
        options={
            "rate": RATE,
            "mels": 12,
            "channels": 3,
            "hidden_size": 8,
            "dropout": 0.2,
            "noise": 0.5,
            "learning_rate": 0.02,
            "batch_tokens": 200,
            "max_steps": 10,
            "validate_every": 5,
            "device": "cpu",
        },
        settings={"beam": 3, "alternatives": 2},
        rubbish={"audio": 3.5, "text": "ba"},
        parts=chunks_of,
        streaming={"bidirectional": False},
    ),
}
