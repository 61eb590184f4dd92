"""How near synthetic speech is to the recordings of the voice, and what an independent recogniser makes of it.

    python benchmarks/synthesis.py --runs FOLDER [--parts kathleen,digits] [--voice STEPS] [--judge STEPS]
    python benchmarks/synthesis.py --speed

`kathleen`: six minutes of one speaker, the last 12 sentences as test. The recogniser is trained on the same recordings,
which are few for one.

`digits`: strings of one speaker's spoken digits (FSDD, jackson), in orders that no training string has. Of each digit
the recordings 0 to 4 are the test's, 5 to 7 for validation, 8 to 21 the voice's and 22 to 34 the recogniser's, which
knows the other three speakers too (8 to 34): it has heard none of the recordings that the voice is made of. It hears
words, as the transcriber of `benchmarks/speech.py --parts streaming` does, by the same two trainings with another seed;
the synthesizer's aligner hears characters. `single` are the ten digits alone, spoken at several speeds, beside all test
recordings of them.

A training has one thread. What a folder of runs holds already is gone on with.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from commands import DATA, write_result
from machine import machine
from speech_data import RATE, Digit, all_digits, joined
from speech_runs import RECORDINGS, configured, train_on_strings

import gatework as gw
from gatework.metrics.speech import cer, wer

SPEAKER, SPEEDS = "jackson", (0.8, 0.85, 0.9, 0.95, 1.0, 1.05, 1.1, 1.15, 1.2, 1.25)
TEST, VALID, VOICE, JUDGE = range(5), range(5, 8), range(8, 22), range(22, 35)  # recordings of each digit
NEAR: dict[str, Any] = {"pauses": (0.05, 0.25), "around": False}
LETTERS = {
    "text": "lowercase",
    "hidden_size": 96,
    "num_layers": 1,
    "dropout": 0.1,
    "noise": 0.0,
    "select_by": "loss",
    "learning_rate": 0.003,
    "rivals": False,
    "seed": 1,
    "device": "cpu",
}
Rows = list[dict[str, Any]]


@dataclass
class Part:
    """What is measured.

    Attributes:
        train, valid, test: recordings and texts.
        voice: options of the synthesizer.
        judge: trains the recogniser to be a run in this folder, in so many steps if they are its to choose.
        single: texts, and recordings of them, that are heard alone.
    """

    train: Rows
    valid: Rows
    test: Rows
    voice: Mapping[str, Any]
    judge: Callable[[Path, int], None]
    single: Rows = field(default_factory=list)


def kathleen(runs: Path) -> Part:
    folder = DATA / "speech_synthesis/kathleen_arctic_a"
    lines = [line.split("|") for line in (folder / "metadata.csv").read_text().splitlines()]
    rows = [{"audio": str(folder / "wavs" / f"{name}.wav"), "text": text} for name, text in lines]
    train, valid, rate = rows[:-24], rows[-24:-12], {"rate": 16_000}

    def judge(out: Path, steps: int) -> None:
        gw.Transcriber(**rate, **LETTERS, max_steps=steps).fit(
            train, valid=valid, out=out, resume=out.exists()
        )

    return Part(train, valid, rows[-12:], rate, judge)


def digits(runs: Path) -> Part:
    every = all_digits(RECORDINGS)

    def of(numbers: Sequence[int]) -> list[Digit]:
        return [each for each in every if each.speaker == SPEAKER and each.index in numbers]

    def strings(name: str, some: Sequence[Digit], count: int, seed: int, **how: Any) -> list[Digit]:
        return joined(some, count, runs / "strings" / name, seed, **how)

    voice = strings("voice", of(VOICE), 260, 0, shortest=1, **NEAR)
    orders = {each.text for each in voice}
    test = [each for each in strings("test", of(TEST), 120, 1, **NEAR) if each.text not in orders][:100]
    valid = strings("valid", of(VALID), 60, 2, **NEAR)
    others = [each for each in every if each.speaker != SPEAKER and each.index >= min(VOICE)]
    heard = [*of(JUDGE), *others]

    def judge(out: Path, steps: int) -> None:
        if not (out / "COMPLETE").exists():
            joint = [*strings("judge", heard, 400, 3), *strings("judge-near", heard, 200, 4, **NEAR)]
            train_on_strings(
                configured(runs), out.name, "streaming", (heard, of(VALID)), (joint, valid), "seed=1"
            )

    return Part(
        rows_of(voice),
        rows_of(valid),
        rows_of(test),
        {"rate": RATE, "mels": 40},
        judge,
        rows_of(of(TEST)),
    )


def rows_of(digits: Sequence[Digit]) -> Rows:
    return [{"audio": str(each.path), "text": each.text} for each in digits]


PARTS = {"kathleen": kathleen, "digits": digits}


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
    part.judge(runs / f"{name}-judge", steps["judge"])
    judge = gw.load(runs / f"{name}-judge")
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
