"""The synthesizer's network: characters, their durations, and log-mel frames one after another.

Shen et al. 2020, "Non-Attentive Tacotron" (arXiv:2010.04301), with smaller layers: an encoder of convolutions and a
recurrent layer in both directions, durations, Gaussian upsampling, an autoregressive recurrent decoder, and a post-net
of convolutions (Shen et al. 2018, "Natural TTS synthesis by conditioning WaveNet on mel spectrogram predictions").

Shapes: N characters, T frames, R frames of a step, S steps (T over R, rounded up), B rows of a batch, M mel bands.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gatework.graph import Cell
from gatework.layers import Linear, Recurrent
from gatework.layers.dropout import dropout, sequence_dropout
from gatework.tasks.batches import inside_of
from gatework.tasks.synthesizer.upsampling import PLACE_FEATURES, gaussian_weights, place_in_character

__all__ = ["SpeechBatch", "SpeechGuess", "Spoken", "SynthesizerEnsemble", "SynthesizerNetwork", "speak"]

LEAST_DURATION = 1.0  # frames of a character, where its logarithm is taken
_LONGEST = 7.0  # the logarithm of a character's frames at most: 11 seconds
_KERNEL = 5
_SPEAKER_SIZE = 32
_LEAST_VARIANCE = 1e-4
_NARROWEST = 0.1  # of a character's range, as a share of its duration


class SpeechBatch(NamedTuple):
    """B texts, and in training what they sound like.

    ids: (N, B) characters, padded. counts: (B,). speakers: (B,). frames: (T, B, M) log-mel features, zero past a
    recording's end. lengths: (B,) frames. durations: (N, B) frames of each character, zero past a text's end.
    """

    ids: Tensor
    counts: Tensor
    speakers: Tensor
    frames: Tensor | None = None
    lengths: Tensor | None = None
    durations: Tensor | None = None


class SpeechGuess(NamedTuple):
    """What the network makes of a batch when it is told the durations and the frames before each.

    before, frames: (T, B, M) log-mel frames before and after the post-net. log_durations: (N, B). deviation: (M,) of
    each band in the training data.
    """

    before: Tensor
    frames: Tensor
    log_durations: Tensor
    deviation: Tensor


class Spoken(NamedTuple):
    """A text that was spoken: frames (T, M), and durations (N,), the frames of each character, which sum to about T."""

    frames: np.ndarray
    durations: np.ndarray


class Encoding(NamedTuple):
    """values: (N, B, C) of each character. log_durations: (N, B). counts: (B,). hidden: (N, B, D) of the durations."""

    values: Tensor
    log_durations: Tensor
    hidden: Tensor
    counts: Tensor


class Convolutions(nn.Module):
    """Convolutions over time, each followed by layer normalisation, an activation and dropout.

    Args:
        sizes: of the input and of each convolution's output.
        dropout: rate.
        last_linear: the last one is a convolution alone.
    """

    def __init__(self, sizes: Sequence[int], dropout: float, *, last_linear: bool = False) -> None:
        super().__init__()
        self.dropout, self.last_linear = dropout, last_linear
        pairs = list(pairwise(sizes))
        self.layers = nn.ModuleList(nn.Conv1d(a, b, _KERNEL, padding=_KERNEL // 2) for a, b in pairs)
        self.norms = nn.ModuleList(nn.LayerNorm(b) for _, b in pairs[: len(pairs) - last_linear])

    def forward(self, value: Tensor, lengths: Tensor) -> Tensor:
        """(T, B, size) to (T, B, last size), zero past each row's end."""
        inside = inside_of(value, lengths)
        value = value * inside
        for index, layer in enumerate(self.layers):
            value = layer(value.permute(1, 2, 0)).permute(2, 0, 1)
            if index < len(self.norms):
                value = dropout(F.relu(self.norms[index](value)), self.dropout, self.training)
            value = value * inside
        return value


class SynthesizerNetwork(nn.Module):
    """Log-mel frames of texts.

    Args:
        cell: of the recurrent layers.
        characters: of the alphabet.
        speakers: how many; one has no embedding.
        mels: M.
        embedding_size, channels: of the characters and of all convolutions.
        hidden_size: units of each direction of the encoder, and half of those of the decoder.
        num_layers: recurrent layers of the decoder.
        reduction: R.
        dropout: rate in the encoder and the post-net, and of the recurrent layers' inputs.
        prenet_dropout: rate on the frame before: it makes the decoder listen to the text.
    """

    def __init__(
        self,
        cell: Cell,
        characters: int,
        speakers: int,
        *,
        mels: int,
        embedding_size: int,
        channels: int,
        hidden_size: int,
        num_layers: int,
        reduction: int,
        dropout: float,
        prenet_dropout: float,
    ) -> None:
        super().__init__()
        self.reduction, self.dropout, self.prenet_dropout = reduction, dropout, prenet_dropout
        self.register_buffer("mean", torch.zeros(mels))
        self.register_buffer("deviation", torch.ones(mels))
        self.mean: Tensor
        self.deviation: Tensor
        self.embedding = nn.Embedding(characters, embedding_size)
        self.speaker = nn.Embedding(speakers, _SPEAKER_SIZE) if speakers > 1 else None
        self.convolutions = Convolutions([embedding_size, channels, channels, channels], dropout)
        self.encoder = Recurrent(cell, channels, hidden_size, bidirectional=True)
        encoded = 2 * self.encoder.output_size + (_SPEAKER_SIZE if self.speaker else 0)
        self.timing = Recurrent(cell, encoded, hidden_size, bidirectional=True)
        self.duration = Linear(2 * self.timing.output_size, 1)
        self.range = Linear(2 * self.timing.output_size + 1, 1)
        self.prenet = nn.ModuleList([Linear(mels, hidden_size), Linear(hidden_size, hidden_size)])
        condition = encoded + PLACE_FEATURES
        self.decoder = Recurrent(cell, hidden_size + condition, 2 * hidden_size, num_layers)
        self.output = Linear(self.decoder.output_size + condition, reduction * mels)
        self.postnet = Convolutions([mels, channels, channels, channels, mels], dropout, last_linear=True)

    @torch.no_grad()
    def learn_scale(self, recordings: Iterable[np.ndarray]) -> None:
        """Take mean and deviation of each band of the training data, recordings of frames, (T, M)."""
        count, total, squares = 0, np.zeros(len(self.mean)), np.zeros(len(self.mean))
        for frames in recordings:
            count, total = count + len(frames), total + frames.sum(0, dtype=np.float64)
            squares += np.square(frames, dtype=np.float64).sum(0)
        mean = total / count
        variance = squares / count - mean**2
        self.mean.copy_(torch.from_numpy(mean))
        self.deviation.copy_(torch.from_numpy(np.sqrt(np.maximum(variance, _LEAST_VARIANCE))))

    def forward(self, batch: SpeechBatch) -> SpeechGuess:
        frames, lengths, durations = batch.frames, batch.lengths, batch.durations
        if frames is None or lengths is None or durations is None:
            raise ValueError("a text without its frames and durations is spoken by `speak`")
        encoding = self.encode(batch)
        steps = -(-len(frames) // self.reduction)
        conditions = self.conditions(encoding, durations, steps)
        normal = (frames - self.mean) / self.deviation * inside_of(frames, lengths)
        heard = normal[self.reduction - 1 :: self.reduction][: steps - 1]  # the last frame of each step
        heard = torch.cat([torch.zeros_like(normal[:1]), heard])
        rows = -(-lengths // self.reduction)
        hidden = output_of(self.decoder(self._inputs(heard, conditions), lengths=rows)[0])
        before = self._frames(hidden, conditions)[: len(frames)]
        return SpeechGuess(before, self.refine(before, lengths), encoding.log_durations, self.deviation)

    def encode(self, batch: SpeechBatch) -> Encoding:
        """What is known of the characters before there are frames."""
        value = self.convolutions(self.embedding(batch.ids), batch.counts)
        value = output_of(self.encoder(value, lengths=batch.counts)[0])
        if self.speaker is not None:
            speaker = self.speaker(batch.speakers).expand(len(value), -1, -1)
            value = torch.cat([value, speaker.to(value)], dim=-1)
        value = sequence_dropout(value, self.dropout, self.training)
        hidden = output_of(self.timing(value, lengths=batch.counts)[0])
        return Encoding(value, self.duration(hidden).squeeze(-1).float(), hidden, batch.counts)

    def conditions(self, encoding: Encoding, durations: Tensor, steps: int) -> Tensor:
        """(S, B, C), what each step of the decoder reads of the characters.

        Args:
            durations: (N, B) frames.
        """
        least = durations.float().clamp(min=LEAST_DURATION)
        told = torch.cat([encoding.hidden, least.log()[..., None].to(encoding.hidden)], dim=-1)
        ranges = (F.softplus(self.range(told).squeeze(-1).float() - 1) + _NARROWEST) * least
        times = (torch.arange(steps, device=durations.device) + 0.5) * self.reduction
        weights = gaussian_weights(durations.float(), ranges, encoding.counts, times)
        read = torch.bmm(weights, encoding.values.transpose(0, 1).float()).transpose(0, 1)
        return torch.cat([read, place_in_character(durations.float(), encoding.counts, times)], dim=-1)

    def step(self, heard: Tensor, condition: Tensor, state: Any) -> tuple[Tensor, Any]:
        """R frames, (R, B, M), and the new state.

        Args:
            heard: (B, M) the frame before, or None at the begin.
            condition: (B, C).
            state: of the step before, None at the begin.
        """
        normal = (heard - self.mean) / self.deviation if state is not None else torch.zeros_like(heard)
        output, state = self.decoder(self._inputs(normal[None], condition[None]), state)
        return self._frames(output_of(output), condition[None]), state

    def refine(self, frames: Tensor, lengths: Tensor) -> Tensor:
        """Frames, (T, B, M), with what the post-net adds."""
        normal = (frames - self.mean) / self.deviation
        return frames + self.postnet(normal, lengths).float() * self.deviation

    def _inputs(self, heard: Tensor, conditions: Tensor) -> Tensor:
        for layer in self.prenet:
            heard = dropout(F.relu(layer(heard)), self.prenet_dropout, self.training)
        return torch.cat([heard, conditions.to(heard)], dim=-1)

    def _frames(self, hidden: Tensor, conditions: Tensor) -> Tensor:
        """(S R, B, M) of the decoder's output, (S, B, ·)."""
        found = self.output(torch.cat([hidden, conditions.to(hidden)], dim=-1)).float()
        steps, rows, _ = found.shape
        found = found.view(steps, rows, self.reduction, -1).transpose(1, 2).flatten(0, 1)
        return found * self.deviation + self.mean


class SynthesizerEnsemble(nn.Module):
    """Several trained networks, of the mean of their frames and of their log-durations; in eval mode alone.

    Args:
        networks: with the same alphabet, speakers, bands and reduction.
    """

    def __init__(self, networks: Sequence[SynthesizerNetwork]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)

    def forward(self, batch: SpeechBatch) -> SpeechGuess:
        found = [network(batch) for network in self.networks]
        before, frames, durations = (mean_of([each[part] for each in found]) for part in range(3))
        return SpeechGuess(before, frames, durations, found[0].deviation)


def speak(networks: Sequence[SynthesizerNetwork], batch: SpeechBatch, speed: float) -> list[Spoken]:
    """What each text of a batch sounds like, by the mean of some networks at every step.

    Args:
        networks: see `SynthesizerEnsemble`.
        speed: 2.0: every character takes half as long.
    """
    encodings = [network.encode(batch) for network in networks]
    inside = torch.arange(len(batch.ids), device=batch.ids.device)[:, None] < batch.counts
    log_durations = mean_of([each.log_durations for each in encodings]).clamp(max=_LONGEST)
    durations = log_durations.exp() / speed * inside
    lengths = durations.sum(0).round().long().clamp(min=1)
    reduction = networks[0].reduction
    steps = -(-int(lengths.max()) // reduction)
    conditions = [
        network.conditions(each, durations, steps) for network, each in zip(networks, encodings, strict=True)
    ]
    heard = networks[0].mean.expand(batch.ids.shape[1], -1)
    states: list[Any] = [None] * len(networks)
    spoken = []
    for step in range(steps):
        found = []
        for index, network in enumerate(networks):
            frames, states[index] = network.step(heard, conditions[index][step], states[index])
            found.append(frames)
        spoken.append(mean_of(found))
        heard = spoken[-1][-1]
    before = torch.cat(spoken)
    refined = mean_of([network.refine(before, lengths) for network in networks])
    return [
        Spoken(refined[:length, row].cpu().numpy(), durations[:count, row].cpu().numpy())
        for row, (length, count) in enumerate(zip(lengths.tolist(), batch.counts.tolist(), strict=True))
    ]


def mean_of(found: Sequence[Tensor]) -> Tensor:
    """The mean of what several networks found; of one, that itself."""
    return found[0] if len(found) == 1 else torch.stack(list(found)).mean(0)


def output_of(output: Any) -> Tensor:
    """A recurrent layer's output, of a cell too that emits more than its state."""
    return output["output"] if isinstance(output, dict) else output
