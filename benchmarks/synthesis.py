"""How near synthetic speech is to the recordings of the voice, and what an independent recogniser makes of it.

`kathleen`: six minutes of one speaker, the last 12 sentences as test. `digits`: strings of one speaker's spoken digits
(FSDD, jackson), joined from training recordings; the test's strings are in orders that no training string has. Before
the synthesizer a transcriber with another seed is trained on the same training recordings: it hears the recordings of
the test, and what is spoken of their texts.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from commands import write_result
from machine import machine

import gatework as gw
from gatework.data import read_sound
from gatework.metrics.speech import cer, wer

DATA = Path(os.environ.get("GATEWORK_DATA", "../shared/data"))
WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
JUDGE = {
    "text": "lowercase",
    "hidden_size": 96,
    "num_layers": 1,
    "dropout": 0.1,
    "noise": 0.0,
    "learning_rate": 0.003,
    "select_by": "loss",
    "rivals": False,
    "seed": 1,
}
Rows = list[dict[str, Any]]


def kathleen() -> tuple[Rows, Rows, dict[str, Any]]:
    """Training and test recordings, and options."""
    folder = DATA / "speech_synthesis/kathleen_arctic_a"
    lines = [line.split("|") for line in (folder / "metadata.csv").read_text().splitlines()]
    rows = [{"audio": str(folder / "wavs" / f"{name}.wav"), "text": text} for name, text in lines]
    return rows[:-12], rows[-12:], {"rate": 16_000}


def digits() -> tuple[Rows, Rows, dict[str, Any]]:
    """Strings of 3 to 7 of one speaker's digits: 150 of recordings from 5 on, and 30 of recordings 0 to 4."""
    folder, rate = DATA / "speech_recognition/fsdd/recordings", 8000
    chooser = np.random.default_rng(0)
    recordings = len(list(folder.glob("0_jackson_*.wav")))  # of each digit, from 0 on

    def string(numbers: Sequence[int], order: Sequence[int]) -> dict[str, Any]:
        parts = []
        for digit in order:
            number = int(chooser.choice(numbers))
            pause = np.zeros(int(rate * chooser.uniform(0.05, 0.2)), np.float32)
            parts += [read_sound(folder / f"{digit}_jackson_{number}.wav", rate), pause]
        samples = np.concatenate(parts)
        return {
            "audio": {"array": samples, "sampling_rate": rate},
            "text": " ".join(WORDS[digit] for digit in order),
        }

    heard: set[tuple[int, ...]] = set()
    train, test = [], []
    while len(train) < 150:
        order = tuple(chooser.integers(0, 10, chooser.integers(3, 8)).tolist())
        heard.add(order)
        train.append(string(range(5, recordings), order))
    while len(test) < 30:
        order = tuple(chooser.integers(0, 10, chooser.integers(3, 8)).tolist())
        if order not in heard:
            test.append(string(range(5), order))
    return train, test, {"rate": rate}


PARTS = {"kathleen": kathleen, "digits": digits}


def measure(name: str, runs: Path, steps: Mapping[str, int]) -> dict[str, Any]:
    """A part's figures."""
    train, test, options = PARTS[name]()
    begun = time.monotonic()
    judge = gw.Transcriber(**JUDGE, **options, max_steps=steps["judge"], device="cpu")
    judge.fit(train, valid=train[:12], out=runs / f"{name}-judge")
    heard = time.monotonic()
    voice = gw.Synthesizer(
        **options,
        aligner_steps=steps["aligner"],
        max_steps=steps["voice"],
        validate_every=steps["voice"] // 5,
        device="cpu",
    ).fit(train[:-12], valid=train[-12:], out=runs / name)
    spoken = time.monotonic()
    figures = voice.evaluate(test)
    texts = [row["text"] for row in test]
    out = runs / f"{name}-spoken"
    records = voice.predict(texts, out=str(out))
    wanted = [text.lower() for text in texts]
    result: dict[str, Any] = {
        "model": figures["model"],
        "baselines": figures["baselines"],
        "test": len(test),
        "steps": dict(steps),
        "seconds": {"recogniser": round(heard - begun, 1), "synthesizer": round(spoken - heard, 1)},
    }
    for what, sounds in (
        ("recordings", [row["audio"] for row in test]),
        ("synthetic", [record["output"] for record in records]),
    ):
        found = [record["output"] for record in judge.predict(sounds, times=False)]
        result[what] = {"wer": wer(found, wanted), "cer": cer(found, wanted)}
    print(name, result, flush=True)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--runs", type=Path, required=True, help="a new folder for the runs")
    parser.add_argument("--judge", type=int, default=900, help="steps of the recogniser")
    parser.add_argument("--aligner", type=int, default=600, help="steps of the aligner")
    parser.add_argument("--voice", type=int, default=3000, help="steps of the synthesizer")
    chosen = parser.parse_args()
    steps = {"judge": chosen.judge, "aligner": chosen.aligner, "voice": chosen.voice}
    for part in chosen.parts:
        result = {**measure(part, chosen.runs, steps), "machine": machine()}
        write_result(f"speech_synthesis_{part}", result)


if __name__ == "__main__":
    main()
