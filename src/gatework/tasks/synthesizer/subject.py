"""What a report of a text and its sound looks at."""

from __future__ import annotations

import torch
from torch import Tensor

from gatework.inspect import Alignment, Outcome, Subject
from gatework.tasks.inspecting import text_steps
from gatework.tasks.synthesizer.network import SpeechBatch, SpeechGuess, Spoken, SynthesizerNetwork

__all__ = ["speech_subject"]


def speech_subject(network: SynthesizerNetwork, batch: SpeechBatch, spoken: Spoken, text: str) -> Subject:
    """The network reads one text and hears again what it has spoken.

    Args:
        batch: the text.
        spoken: its frames and durations.
    """
    device = batch.ids.device
    frames = torch.from_numpy(spoken.frames).float().to(device)[:, None]
    told = batch._replace(
        frames=frames,
        lengths=torch.tensor([len(frames)], device=device),
        durations=torch.from_numpy(spoken.durations).float().to(device)[:, None],
    )

    def loudness(guess: SpeechGuess) -> Tensor:
        return guess.frames.mean()

    def length(guess: SpeechGuess) -> Tensor:
        durations = guess.log_durations
        return guess.frames.new_zeros(()) if durations is None else durations.exp().sum()

    ends = spoken.durations.cumsum()
    times = [(step + 0.5) * network.reduction for step in range(-(-len(frames) // network.reduction))]
    heard = [text[min(int((ends <= time).sum()), len(text) - 1)] for time in times]
    characters, sounds = text_steps(text, ""), text_steps(heard, "")

    def alignments(guess: SpeechGuess) -> list[Alignment]:
        return []

    outcomes = [Outcome("how loud it is, the mean of all bands", "encoder", loudness)]
    if not network.attends:
        outcomes.append(Outcome("how long it is, in frames", "encoder", length))
    steps = {"encoder": characters, "timing": characters, "decoder": sounds, "attention": sounds}
    return Subject(network, lambda: network(told), steps, outcomes, alignments)
