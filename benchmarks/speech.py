"""What the transcriber reaches on spoken digits (FSDD): known speakers, unknown ones, strings of digits, little data.

    python benchmarks/speech.py [--parts digits,speakers,strings,few,streaming] [--variants words,speaker,…]
        [--only 0,1,…] [--runs FOLDER]
    python benchmarks/speech.py --choose [--only 0,1,…] [--variants speaker,shorter,floor,wider,copies] [--runs FOLDER]
    python benchmarks/speech.py --speed [--runs FOLDER]

1,400 recordings of four speakers at 8 kHz, 35 of each digit by each speaker.

digits: five rotations of the official test indices (0 to 4, then 5 to 9, …), two recordings of each digit and speaker
for validation, the rest for training. Labels are words; `characters` is the same with a label for each character, so
that any text could come out.
speakers: one speaker in turn is heard in the test only. `speaker` is normalised by the speakers' recordings that are
given together, as the training data's are, and `recording` knows of each recording nothing but itself; `chosen` is
what `--choose` found without the speaker.
strings: strings of 3 to 7 digits that are joined from test recordings (index 0 to 4) of one speaker, with random
pauses; training strings are joined from the others, anew for each seed. How far the words' times are from the known
ones.
few: three recordings of each digit by one speaker for training, in turn for each speaker; the test has 32 of each.
The network is trained without the templates, and they tell the words apart with it when it answers.
streaming: a transcriber of one direction that was trained on single digits, and then on strings, beside itself on whole
files.

`--choose` compares variants for unknown speakers without the speaker of a test: pairs of speakers are trained on, and
each of the other two is heard, as many times as there are weights for the templates. For speaker s those figures count
in which s was neither trained on nor heard.

The options are those of benchmarks/configs/fsdd.yaml and what `CHANGES` in speech_runs.py says of a part, chosen on
validation recordings. A training has one thread; `cpu_seconds` is the time that it had of a core, `wall_seconds` what a
clock says, and `load_before` how many other programs ran at its start. Data is looked for in $GATEWORK_DATA.
"""

from __future__ import annotations

import argparse
import itertools
import json
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from commands import HERE, write_result
from machine import machine
from speech_data import RATE, Digit, all_digits, joined, truth_of, write_manifest
from speech_runs import CONFIG, RECORDINGS, Result, configured, evaluate, train, train_on_strings

ROTATIONS = 5
UNKNOWN = ("speaker", "shorter", "floor", "wider", "copies")  # what `--choose` compares
WEIGHTS = (0.0, 0.5, 0.75)  # of templates, likewise


class Asked(NamedTuple):
    """Which of a part's rotations or speakers, which variants, and which seeds."""

    only: list[int] | None
    variants: list[str]
    seeds: list[int]

    def numbers(self, count: int) -> Sequence[int]:
        return range(count) if self.only is None else self.only

    def of(self, *names: str) -> list[str]:
        return [name for name in names if name in self.variants]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--parts", default=",".join(PARTS))
    parser.add_argument("--only", help="of a part's rotations or speakers, by number")
    parser.add_argument("--runs", type=Path, help="where to keep the runs; else they are removed")
    parser.add_argument(
        "--variants",
        default="words,characters,speaker,recording,chosen,shorter,floor,wider,copies",
        help="of `digits`, `speakers` and `--choose`",
    )
    parser.add_argument(
        "--seeds", default="0", help="of `speakers` and `strings`: several also answer together"
    )
    parser.add_argument("--choose", action="store_true", help="compare variants for unknown speakers")
    parser.add_argument("--speed", action="store_true")
    arguments = parser.parse_args()
    if arguments.speed:
        write_result("speech_speed", speed(arguments.runs))
        return
    if not RECORDINGS.is_dir():
        parser.error(f"there is no data in {RECORDINGS}: set GATEWORK_DATA")
    only = None if arguments.only is None else [int(number) for number in arguments.only.split(",")]
    seeds = [int(seed) for seed in arguments.seeds.split(",")]
    asked = Asked(only, arguments.variants.split(","), seeds)
    with tempfile.TemporaryDirectory() as temporary:
        runs = configured(arguments.runs or Path(temporary))
        if arguments.choose:
            choose(runs, asked)
            return
        for part in arguments.parts.split(","):
            PARTS[part](runs, asked)


def digits(runs: Path, asked: Asked) -> None:
    """Five rotations."""
    every = all_digits(RECORDINGS)
    for rotation in asked.numbers(ROTATIONS):
        test = [each for each in every if each.index // 5 == rotation]
        valid = [each for each in every if each.index // 5 == (rotation + 1) % 7 and each.index % 5 < 2]
        rest = [each for each in every if each not in {*test, *valid}]
        for kind in asked.of("words", "characters"):
            out = f"digits-{kind}-{rotation}"
            result = train(runs, out, kind, rest, valid) | evaluate(runs, [out], test)
            keep("speech_digits", {"variant": kind, "rotation": rotation, **result})


def speakers(runs: Path, asked: Asked) -> None:
    """Each speaker left out in turn."""
    every = all_digits(RECORDINGS)
    names = sorted({each.speaker for each in every})
    for number in asked.numbers(len(names)):
        name = names[number]
        test = [each for each in every if each.speaker == name]
        known = [each for each in every if each.speaker != name]
        valid = [each for each in known if each.index >= 33]
        rest = [each for each in known if each.index < 33]
        for kind in asked.of("speaker", "recording", "chosen"):
            variant, further, file = kind, ["rivals=false"], "speech_speakers"
            if kind == "chosen":
                variant, weight = best_without(name)
                further, file = [f"templates={weight}"], "speech_chosen"
            outs = []
            for seed in asked.seeds:
                outs.append(f"speakers-{kind}-{name}-{seed}")
                result = train(runs, outs[-1], variant, rest, valid, f"seed={seed}", *further)
                result |= evaluate(runs, outs[-1:], test)
                keep(file, {"variant": kind, "speaker": name, "seeds": [seed], **result})
            if len(outs) > 1:
                together = evaluate(runs, outs, test)
                keep(file, {"variant": kind, "speaker": name, "seeds": asked.seeds, **together})


def choose(runs: Path, asked: Asked) -> None:
    """What is best for speakers who are not heard in training, for each speaker of the other three."""
    import gatework as gw

    every = all_digits(RECORDINGS)
    pairs = list(itertools.combinations(sorted({each.speaker for each in every}), 2))
    for number, kind in itertools.product(asked.numbers(len(pairs)), asked.of(*UNKNOWN)):
        out = f"pair-{kind}-{'-'.join(pairs[number])}"
        known = [each for each in every if each.speaker in pairs[number]]
        rest, valid = (
            [each for each in known if each.index < 33],
            [each for each in known if each.index >= 33],
        )
        result = train(runs, out, kind, rest, valid, "rivals=false", "templates=0.5")
        model = gw.load(runs / out)
        model.network_.template_set = Remembered(model.templates_)
        for name in sorted({each.speaker for each in every} - set(pairs[number])):
            test = runs / f"{out}-{name}.tsv"
            write_manifest(test, [each for each in every if each.speaker == name])
            right = {}
            for weight in WEIGHTS:
                model.network_.template_weight = weight
                right[str(weight)] = model.evaluate(test, reject=False)["model"]["transcript_accuracy"]
            print(out, name, right)
            keep(
                "speech_choice",
                {"variant": kind, "pair": list(pairs[number]), "speaker": name, "right": right, **result},
            )
    for name in sorted({each.speaker for each in every}):
        print(name, "is best heard with", best_without(name))


class Remembered:
    """Templates that compare the same recordings once."""

    def __init__(self, templates: Any) -> None:
        self._templates, self._known = templates, {}

    def nearness(
        self, recordings: Sequence[np.ndarray], count: int, speakers: np.ndarray | None
    ) -> np.ndarray:
        key = hash(tuple(each.tobytes() for each in recordings))
        if key not in self._known:
            self._known[key] = self._templates.nearness(recordings, count, speakers)
        return self._known[key]


def best_without(speaker: str) -> tuple[str, str]:
    """The variant, and the weight of the templates, with which the other speakers were best heard, of those trainings
    that did not have this one.
    """
    found = json.loads((HERE / "results" / "speech_choice.json").read_text())["results"]
    shares: dict[tuple[str, str], list[float]] = {}
    for each in found:
        if speaker not in (*each["pair"], each["speaker"]):
            for weight, right in each["right"].items():
                shares.setdefault((each["variant"], weight), []).append(right)
    return max(shares, key=lambda choice: sum(shares[choice]) / len(shares[choice]))


def strings_of(runs: Path) -> tuple[list[Digit], list[Digit], list[Digit]]:
    """Strings to train, to validate and to test, of recordings that no other part has."""
    every = all_digits(RECORDINGS)
    valid = joined([each for each in every if 5 <= each.index < 8], 50, runs / "joined" / "valid", 1)
    test = joined([each for each in every if each.index < 5], 200, runs / "joined" / "test", 2)
    return training_strings(runs, 0), valid, test


def training_strings(runs: Path, seed: int) -> list[Digit]:
    """Strings to train, in other orders and with other pauses for each seed."""
    some = [each for each in all_digits(RECORDINGS) if each.index >= 8]
    name = "train" if seed == 0 else f"train-{seed}"
    return joined(some, 400, runs / "joined" / name, 10 * seed)


def strings(runs: Path, asked: Asked) -> None:
    """Strings of digits, and the times of their words; what rotation 0 has learned, of the same recordings, goes on."""
    start = "digits-words-0"
    if not (runs / start).exists():
        digits(runs, Asked([0], ["words"], [0]))
    _, valid, test = strings_of(runs)
    outs = []
    for seed in asked.seeds:
        outs.append("strings" if seed == 0 else f"strings-{seed}")
        some = training_strings(runs, seed)
        result = train(runs, outs[-1], "strings", some, valid, f"seed={seed}", start=start)
        result |= evaluate(runs, outs[-1:], test)
        result["times"] = times_of(runs, outs[-1:], test)
        keep("speech_strings", {"variant": "whole", "seeds": [seed], **result})
    if len(outs) > 1:
        result = evaluate(runs, outs, test) | {"times": times_of(runs, outs, test)}
        keep("speech_strings", {"variant": "whole", "seeds": asked.seeds, **result})


def times_of(runs: Path, names: Sequence[str], test: Sequence[Digit]) -> Result:
    """How far words of transcripts that are right begin and end from where they do, in seconds."""
    import gatework as gw

    model = gw.load(*(runs / name for name in names))
    inputs = [{"audio": str(each.path), "speaker": each.speaker} for each in test]
    errors = []
    for each, record in zip(test, model.predict(inputs, reject=False), strict=True):
        if record["output"] == each.text:
            errors += [
                abs(word[side] - known[side])
                for word, known in zip(record["times"], truth_of(each.path), strict=True)
                for side in ("start", "end")
            ]
    within = {f"within_{ms}_ms": float((np.array(errors) <= ms / 1000).mean()) for ms in (20, 50, 100)}
    print(names, "mean", np.mean(errors), "median", np.median(errors), within)
    return {
        "boundaries": len(errors),
        "mean_seconds": float(np.mean(errors)),
        "median_seconds": float(np.median(errors)),
        **within,
    }


def few(runs: Path, asked: Asked) -> None:
    """Three recordings of each digit of one speaker."""
    every = all_digits(RECORDINGS)
    names = sorted({each.speaker for each in every})
    for number in asked.numbers(len(names)):
        own = [each for each in every if each.speaker == names[number]]
        some = [each for each in own if each.index < 3]
        test = [each for each in own if each.index >= 3]
        out = f"few-{names[number]}"
        # No recording is spared for validation: the last weights are taken.
        result = train(runs, out, "few", some, some[::10]) | evaluate(runs, [out], test)
        keep("speech_few", {"variant": "few", "speaker": names[number], **result})


def streaming(runs: Path, asked: Asked) -> None:
    """One direction: as one speaks beside the whole file, how fast, and how late."""
    from speech_speed import streamed

    some, valid, test = strings_of(runs)
    every = all_digits(RECORDINGS)
    known = [each for each in every if each.index >= 8], [each for each in every if 5 <= each.index < 8]
    result = train_on_strings(runs, "streaming", "streaming", known, (some, valid))
    result |= evaluate(runs, ["streaming"], test)
    result |= {"times": times_of(runs, ["streaming"], test), "stream": streamed(runs / "streaming", test)}
    keep("speech_strings", {"variant": "streaming", **result})


def speed(runs: Path | None) -> Result:
    """An epoch beside torch.nn's layers; with the folder of a `streaming` run also how fast and how late it hears."""
    from speech_speed import speeds, streamed

    if runs is None:
        return speeds()
    return speeds() | {"stream": streamed(runs / "streaming", strings_of(runs)[2])}


def keep(name: str, result: Result) -> None:
    """Write a result beside those that are there, in the place of the one of the same variant and part."""
    path = HERE / "results" / f"{name}.json"
    kept = json.loads(path.read_text())["results"] if path.exists() else []

    def which(one: Result) -> tuple[str, ...]:
        return tuple(str(one.get(key)) for key in ("variant", "rotation", "pair", "speaker", "seeds"))

    results = {which(each): each for each in [*kept, result | {"machine": machine()}]}
    config = (HERE / "configs" / CONFIG).read_text()
    write_result(name, {"config": config, "rate": RATE, "results": list(results.values())})


PARTS: dict[str, Callable[[Path, Asked], None]] = {
    "digits": digits,
    "speakers": speakers,
    "strings": strings,
    "few": few,
    "streaming": streaming,
}

if __name__ == "__main__":
    main()
