"""How fast a synthesizer is trained: beside the same network with torch.nn's layers in the same loop."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from commands import DATA
from machine import machine
from tagging_speed import TorchLayer, paired

from gatework.cells import get
from gatework.data import LogMel, read_recordings
from gatework.tasks.batches import inside_of, padded, side_by_side
from gatework.tasks.synthesizer.network import SpeechBatch, SynthesizerNetwork

ROUNDS = 5
BATCHES, ROWS = 3, 8


def speeds() -> dict[str, Any]:
    """Training over the same batches, ours and torch.nn's layers in turns, on one thread."""
    torch.set_num_threads(1)
    recordings = read_recordings(DATA / "speech_synthesis/kathleen_arctic_a/metadata.csv")[: BATCHES * ROWS]
    features = LogMel(rate=16_000, mels=80)
    spoken = [(each.text or "", features.frames(each.samples(features.rate))) for each in recordings]
    spoken.sort(key=lambda pair: len(pair[1]))  # batches of like lengths
    alphabet = sorted({letter for text, _ in spoken for letter in text})
    batches = [batch_of(spoken[begin : begin + ROWS], alphabet) for begin in range(0, len(spoken), ROWS)]
    found = {}
    for cell in ("gru", "lstm"):
        for size in (128,):
            found[f"{cell}_{size}"] = compared(cell, size, len(alphabet), batches)
            print(cell, size, found[f"{cell}_{size}"])
    return {"results": found, "batches": BATCHES, "recordings_of_a_batch": ROWS, "machine": machine()}


def batch_of(spoken: Sequence[tuple[str, np.ndarray]], alphabet: Sequence[str]) -> SpeechBatch:
    """Recordings whose characters are all equally long: how long they are takes no time."""
    ids, counts = padded([np.array([alphabet.index(letter) for letter in text]) for text, _ in spoken], 0)
    frames, lengths = side_by_side([own for _, own in spoken])
    even = [np.full((len(text), 1), len(own) / len(text), np.float32) for text, own in spoken]
    durations = side_by_side(even)[0][..., 0]
    return SpeechBatch(ids, counts, torch.zeros(len(spoken), dtype=torch.long), frames, lengths, durations)


def compared(cell: str, size: int, characters: int, batches: Sequence[SpeechBatch]) -> dict[str, float]:
    """The same network with our layers and with torch.nn's: equal outputs, then an epoch of each in turns."""
    torch.manual_seed(0)
    ours = SynthesizerNetwork(
        get(cell), characters, 1, mels=80, embedding_size=64, channels=128, hidden_size=size, num_layers=1,
        reduction=2, dropout=0.1, prenet_dropout=0.5,
    )  # fmt: skip
    ours.learn_scale(np.asarray(batch.frames)[:50].reshape(-1, 80) for batch in batches)
    theirs = copy.deepcopy(ours)
    for name in ("encoder", "timing", "decoder"):
        setattr(theirs, name, TorchLayer(getattr(ours, name)))
    with torch.no_grad():
        pair = [network.eval()(batches[0]).frames for network in (ours, theirs)]
    difference = float((pair[0] - pair[1]).abs().max())
    if difference > 1e-3:
        raise SystemExit(f"the two networks differ by {difference}")
    optimizers = {network: torch.optim.AdamW(network.parameters(), lr=1e-3) for network in (ours, theirs)}

    def epoch(network: SynthesizerNetwork) -> Callable[[], None]:
        def train() -> None:
            network.train()
            for batch in batches:
                guess = network(batch)
                frames, told = batch.frames, batch.durations.clamp(min=1).log()  # type: ignore[union-attr]
                inside = inside_of(frames, batch.lengths)  # type: ignore[arg-type]
                off = [(own - frames) / guess.deviation * inside for own in (guess.before, guess.frames)]
                loss = sum((each.abs() + each.square()).mean(-1).sum() for each in off)
                loss += ((guess.log_durations - told).square() * inside_of(told, batch.counts)[..., 0]).sum()
                optimizers[network].zero_grad()
                (loss / int(batch.lengths.sum())).backward()  # type: ignore[union-attr]
                optimizers[network].step()

        return train

    return {**paired(epoch(ours), epoch(theirs), ROUNDS), "largest_difference": difference}
