"""How fast the transcriber is: beside torch.nn's layers in the same loop, and as a stream."""

from __future__ import annotations

import copy
import random
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from commands import DATA
from machine import machine
from speech_data import RATE, Digit, all_digits, truth_of
from tagging_speed import TorchLayer, paired

import gatework as gw
from gatework.data.log_mel import LogMel
from gatework.data.sound import read_sound
from gatework.seq2seq import ctc_log_probability, least_frames
from gatework.tasks.batches import side_by_side
from gatework.tasks.transcriber.changes import FeatureChanges
from gatework.tasks.transcriber.network import SoundBatch, TranscriberNetwork

ROUNDS = 7
BATCHES, ROWS = 12, 32
CHUNK = 0.02  # seconds that a stream hears at a time, for how late words come


def speeds() -> dict[str, Any]:
    """Training over the same batches, ours and torch.nn's layers in turns, on one thread."""
    torch.set_num_threads(1)
    digits = all_digits(DATA / "speech_recognition" / "fsdd" / "recordings")
    random.Random(0).shuffle(digits)
    batches = [batch_of(digits[begin : begin + ROWS]) for begin in range(0, BATCHES * ROWS, ROWS)]
    found = {}
    for cell in ("gru", "lstm"):
        for size in (96, 128):
            found[f"{cell}_{size}"] = compared(cell, size, batches)
            print(cell, size, found[f"{cell}_{size}"])
    return {"results": found, "batches": BATCHES, "recordings_of_a_batch": ROWS, "machine": machine()}


def batch_of(digits: Sequence[Digit]) -> SoundBatch:
    """Recordings of like lengths, with a label for each character."""
    features = LogMel(rate=RATE, mels=40)
    alphabet = sorted({letter for each in digits for letter in each.text})
    frames = [features.frames(read_sound(each.path, RATE)) for each in digits]
    texts = [[alphabet.index(letter) + 1 for letter in each.text] for each in digits]
    labels = np.zeros((len(texts), max(map(len, texts))), np.int64)
    for row, text in enumerate(texts):
        labels[row, : len(text)] = text
    return SoundBatch(
        *side_by_side(frames),
        torch.from_numpy(labels),
        torch.tensor([len(text) for text in texts]),
        torch.tensor([least_frames(text) for text in texts]),
    )


def compared(cell: str, size: int, batches: Sequence[SoundBatch]) -> dict[str, float]:
    """The same network with our layers and with torch.nn's: equal outputs, then an epoch of each in turns."""
    from gatework.cells import get

    torch.manual_seed(0)
    changes = FeatureChanges(
        low=20.0, high=RATE / 2, mels=40, speed=0.1, warp=0.1, noise=0.3, coloration=0.0,
        frequency_gaps=2, frequency_gap=6, time_gaps=1, time_gap=10,
    )  # fmt: skip
    ours = TranscriberNetwork(
        get(cell), 26, None, changes, mels=40, channels=16, stride=2, normalization="recording",
        hidden_size=size, num_layers=2, bidirectional=True, dropout=0.3,
    )  # fmt: skip
    theirs = copy.deepcopy(ours)
    theirs.recurrent = TorchLayer(ours.recurrent)  # type: ignore[assignment]
    with torch.no_grad():
        pair = [network.eval()(batches[0]).log_probabilities for network in (ours, theirs)]
    difference = float((pair[0] - pair[1]).abs().max())
    if difference > 1e-3:
        raise SystemExit(f"the two networks differ by {difference}")
    optimizers = {network: torch.optim.AdamW(network.parameters(), lr=1e-3) for network in (ours, theirs)}

    def epoch(network: TranscriberNetwork) -> Callable[[], None]:
        def train() -> None:
            network.train()
            for batch in batches:
                scores = network(batch)
                fits = scores.lengths >= batch.least
                total = ctc_log_probability(
                    scores.log_probabilities, scores.lengths, batch.labels, batch.counts * fits
                )
                optimizers[network].zero_grad()
                (-(total * fits).sum() / ROWS).backward()
                optimizers[network].step()

        return train

    return {**paired(epoch(ours), epoch(theirs), ROUNDS), "largest_difference": difference}


def streamed(run: Path, test: Sequence[Digit], most: int = 60) -> dict[str, Any]:
    """A stream beside the whole file: equal texts, how many times as fast as the sound, by the clock and by the
    processor's time, and how late words come.
    """
    torch.set_num_threads(1)
    model = gw.load(run)
    generator = random.Random(0)
    equal, late, seconds, spent, computed = 0, [], 0.0, 0.0, 0.0
    for each in test[:most]:
        samples = read_sound(each.path, RATE)
        whole = model.predict(str(each.path))[0]["output"]
        stream, texts, begin = model.stream(), [], 0
        begun, before = time.perf_counter(), time.process_time()
        while begin < len(samples):
            size = generator.randint(1, RATE // 5)
            texts += stream.accept(samples[begin : begin + size])
            begin += size
        texts += stream.finish()
        spent += time.perf_counter() - begun
        computed += time.process_time() - before
        seconds += len(samples) / RATE
        equal += " ".join(one["output"] for one in texts if one["kind"] == "final") == whole
        if whole == each.text:
            late.append(lateness(model.stream(), samples, each))
    found = {
        "recordings": min(most, len(test)),
        "equal_to_whole_file": equal,
        "times_real_time": seconds / spent,
        "times_real_time_of_processor": seconds / computed,
        "look_ahead_seconds": model.stream().look_ahead,
        "last_word_late_seconds": {
            "median": float(np.median(late)), "p95": float(np.quantile(late, 0.95)), "most": max(late)
        },
        "heard_at_a_time_seconds": CHUNK,
    }  # fmt: skip
    print(found)
    return found


def lateness(stream: Any, samples: np.ndarray, digit: Digit) -> float:
    """Seconds of sound from the end of a string's last word to when all of its words have been said.

    The recording goes on with silence, so that no end of a file says that nothing follows.
    """
    size = round(CHUNK * RATE)
    quiet = np.zeros(2 * RATE, np.float32)
    wanted, said = digit.text, ""
    sound = np.concatenate([samples, quiet])
    for begin in range(0, len(sound), size):
        for record in stream.accept(sound[begin : begin + size]):
            text = " ".join([said, record["output"]]).strip()
            if record["kind"] == "final":
                said = text
            if text == wanted:
                return record["seconds"] - truth_of(digit.path)[-1]["end"]
    return float("inf")
