"""How near synthetic speech is to the recordings of the voice, and what an independent recogniser makes of it.

    python benchmarks/synthesis.py --runs FOLDER [--parts kathleen,digits] [--voice STEPS] [--judge STEPS]
    python benchmarks/synthesis.py --speed

`kathleen`: six minutes of one speaker, the last 12 sentences as test. The recogniser is trained on the same recordings,
which are few for one.

`digits`: strings of one speaker's spoken digits (FSDD, jackson), joined from training recordings (index 5 on); the
test's strings are in orders that no training string has, and are joined from the others. The recogniser hears words; it
is trained with another seed on other strings of this speaker and on single digits of all, with their speed changed and
with noise. `single` are the ten digits alone, spoken at five speeds, beside all test recordings of them.

A training has one thread. What a folder of runs holds already is gone on with.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from commands import DATA, write_result
from machine import machine
from speech_data import RATE, Digit, all_digits, joined

import gatework as gw
from gatework.metrics.speech import cer, wer

SPEAKER, SPEEDS = "jackson", (0.8, 0.9, 1.0, 1.1, 1.25)
LETTERS = {
    "text": "lowercase",
    "hidden_size": 96,
    "num_layers": 1,
    "dropout": 0.1,
    "noise": 0.0,
    "select_by": "loss",
}
WORDS = {
    "tokenizer": "word",
    "mels": 40,
    "hidden_size": 96,
    "frequency_gap": 6,
    "speed": 0.15,
    "batch_tokens": 1500,
}
JUDGE = {"learning_rate": 0.003, "rivals": False, "seed": 1, "device": "cpu"}
Rows = list[dict[str, Any]]


@dataclass
class Part:
    """What is measured.

    Attributes:
        train, valid, test: recordings and texts.
        heard: what the recogniser is trained on; its validation data is `valid`.
        voice, judge: options.
        single: texts, and recordings of them, that are heard alone.
    """

    train: Rows
    valid: Rows
    test: Rows
    heard: Rows
    voice: Mapping[str, Any]
    judge: Mapping[str, Any]
    single: Rows = field(default_factory=list)


def kathleen(runs: Path) -> Part:
    folder = DATA / "speech_synthesis/kathleen_arctic_a"
    lines = [line.split("|") for line in (folder / "metadata.csv").read_text().splitlines()]
    rows = [{"audio": str(folder / "wavs" / f"{name}.wav"), "text": text} for name, text in lines]
    train, rate = rows[:-24], {"rate": 16_000}
    return Part(train, rows[-24:-12], rows[-12:], train, rate, rate | LETTERS)


def digits(runs: Path) -> Part:
    every = all_digits(DATA / "speech_recognition/fsdd/recordings")
    own = [each for each in every if each.speaker == SPEAKER]
    new, known = ([each for each in own if (each.index >= 5) == old] for old in (False, True))
    near: dict[str, Any] = {"pauses": (0.05, 0.25), "around": False}

    def strings(name: str, some: Sequence[Digit], count: int, seed: int, **how: Any) -> list[Digit]:
        return joined(some, count, runs / "strings" / name, seed, **how)

    told = strings("voice", known, 260, 0, shortest=1, **near)
    orders = {each.text for each in told}
    test = [each for each in strings("test", new, 120, 1, **near) if each.text not in orders]
    heard = strings("judge", [each for each in own if each.index >= 8], 300, 2, shortest=1)
    return Part(
        rows_of(told[15:]),
        rows_of(told[:15]),
        rows_of(test[:100]),
        rows_of([*heard, *(each for each in every if each.index >= 8)]),
        {"rate": RATE, "mels": 40},
        {"rate": RATE, **WORDS},
        rows_of([each for each in own if each.index < 5]),
    )


def rows_of(digits: Sequence[Digit]) -> Rows:
    return [{"audio": str(each.path), "text": each.text} for each in digits]


PARTS = {"kathleen": kathleen, "digits": digits}


def recogniser(part: Part, out: Path, steps: int) -> gw.Transcriber:
    """The one that listens."""
    model = gw.Transcriber(**JUDGE, **part.judge, max_steps=steps)
    return model.fit(part.heard, valid=part.valid, out=out, resume=out.exists())


def speaker(part: Part, out: Path, steps: Mapping[str, int]) -> gw.Synthesizer:
    """The one that speaks."""
    model = gw.Synthesizer(
        **part.voice,
        aligner_steps=steps["aligner"],
        max_steps=steps["voice"],
        validate_every=max(1, steps["voice"] // 6),
        device="cpu",
    )
    return model.fit(part.train, valid=part.valid, out=out, resume=out.exists())


def measure(name: str, runs: Path, steps: Mapping[str, int]) -> dict[str, Any]:
    """A part's figures."""
    part, begun = PARTS[name](runs), time.monotonic()
    judge = recogniser(part, runs / f"{name}-judge", steps["judge"])
    heard = time.monotonic()
    voice = speaker(part, runs / name, steps)
    spoken = time.monotonic()
    figures = voice.evaluate(part.test, transcriber=str(runs / f"{name}-judge"))
    result: dict[str, Any] = {
        **{key: figures[key] for key in ("model", "baselines", "references")},
        "test": len(part.test),
        "steps": dict(steps),
        "seconds": {"recogniser": round(heard - begun, 1), "synthesizer": round(spoken - heard, 1)},
    }
    if part.single:
        result["single"] = alone(part.single, voice, judge, runs / f"{name}-single")
    voice.predict([row["text"] for row in part.test[:5]], out=str(runs / f"{name}-spoken"))
    print(name, result, flush=True)
    return result


def alone(recorded: Rows, voice: gw.Synthesizer, judge: gw.Transcriber, out: Path) -> dict[str, Any]:
    """What is heard in single words: in the recordings of them, and spoken at several speeds."""
    texts = sorted({row["text"] for row in recorded})
    said = [
        (record["text"], record["output"])
        for speed in SPEEDS
        for record in voice.predict(texts, out=str(out / str(speed)), speed=speed)
    ]
    found = {}
    for what, pairs in (
        ("recordings", [(row["text"], row["audio"]) for row in recorded]),
        ("synthetic", said),
    ):
        outputs = [record["output"] for record in judge.predict([sound for _, sound in pairs], times=False)]
        wanted = [text for text, _ in pairs]
        wrong = sorted(
            {(text, output) for text, output in zip(wanted, outputs, strict=True) if text != output}
        )
        found[what] = {
            "count": len(pairs),
            "wer": wer(outputs, wanted),
            "cer": cer(outputs, wanted),
            "wrong": wrong,
        }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--parts", default=",".join(PARTS))
    parser.add_argument("--runs", type=Path, help="a folder for the runs")
    parser.add_argument("--judge", type=int, default=1200, help="steps of the recogniser")
    parser.add_argument("--aligner", type=int, default=1000, help="steps of the aligner")
    parser.add_argument("--voice", type=int, default=3000, help="steps of the synthesizer")
    parser.add_argument("--speed", action="store_true")
    chosen = parser.parse_args()
    if chosen.speed:
        from synthesis_speed import speeds

        write_result("speech_synthesis_speed", speeds())
        return
    if chosen.runs is None:
        parser.error("give --runs, a folder for the runs")
    steps = {"judge": chosen.judge, "aligner": chosen.aligner, "voice": chosen.voice}
    for name in chosen.parts.split(","):
        load = os.getloadavg()[0]
        result = {**measure(name, chosen.runs.resolve(), steps), "load_before": load, "machine": machine()}
        write_result(f"speech_synthesis_{name}", result)


if __name__ == "__main__":
    main()
