"""How long each character of a training text takes, by a transcriber that finds the text in its recording.

CTC names a label in a frame or two and the blank elsewhere: what it says of a label is where it is surest, not where it
begins and ends. A character here lasts from the middle between its own frame and its predecessor's to the middle
between its own and its successor's.

Shapes: N characters, T frames of 10 ms.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from gatework.data import Tokenizer
from gatework.seq2seq import AlignedLabel, align, least_frames
from gatework.tasks.transcriber import Transcriber
from gatework.tasks.transcriber.network import SoundBatch

__all__ = ["character_durations", "durations_of_places", "places_of_labels"]


def character_durations(
    aligner: Transcriber, features: np.ndarray, text: str, frames: int
) -> tuple[np.ndarray, bool]:
    """The frames of each character, (N,) float32, which sum to T; and whether the text was found in the sound.

    Where the sound is too short for the text, and where the aligner knows none of its characters, all are equally long.

    Args:
        aligner: a trained one.
        features: of the recording, as the aligner makes them.
        text: N characters, at least one.
        frames: T.
    """
    labels, owners = known_labels(text, aligner.tokenizer_, lower=aligner.options_.text != "as_written")
    if len(features) and labels:
        whole = torch.from_numpy(np.array(features))  # a file's frames are read-only
        batch = SoundBatch(whole[:, None], torch.tensor([len(features)]))
        with torch.inference_mode():
            scores = aligner.network_(SoundBatch(*(each.to(aligner.device) for each in batch[:2])))
        table = scores.log_probabilities[:, 0].float().cpu().numpy()
        if len(table) >= least_frames(labels):
            step = aligner.options_.stride
            places = places_of_labels(align(table, labels), owners, len(text), frames / step) * step
            return durations_of_places(places, frames), True
    return np.full(len(text), frames / len(text), np.float32), False


def known_labels(text: str, tokenizer: Tokenizer, *, lower: bool) -> tuple[list[int], list[int]]:
    """Of those characters that a tokenizer knows, the labels, from 1 on, and the places in the text."""
    labels, owners = [], []
    for index, character in enumerate(text.lower() if lower and len(text.lower()) == len(text) else text):
        ids = list(tokenizer.encode(character))
        if len(ids) == 1 and tokenizer.decode(ids) == character:
            labels.append(ids[0] + 1)
            owners.append(index)
    return labels, owners


def places_of_labels(
    aligned: Sequence[AlignedLabel], owners: Sequence[int], count: int, end: float
) -> np.ndarray:
    """(N,) where each character is, in the aligner's steps: the middle of its label, or for characters that have none
    evenly between their neighbours.

    Args:
        aligned: of the labels.
        owners: the character of each label, rising.
        count: N.
        end: of the recording.
    """
    known = [-1, *owners, count]
    middles = [0.0, *((each.start + each.end) / 2 for each in aligned), end]
    return np.interp(np.arange(count), known, middles)


def durations_of_places(places: np.ndarray, frames: int) -> np.ndarray:
    """(N,) float32, from the middle between a character and the one before to that between it and the next one.

    Args:
        places: (N,) frames, not falling.
        frames: T, which the durations sum to.
    """
    middles = (places[1:] + places[:-1]) / 2
    bounds = np.concatenate([[0.0], middles, [float(frames)]]).clip(0, frames)
    return np.diff(bounds).astype(np.float32)
