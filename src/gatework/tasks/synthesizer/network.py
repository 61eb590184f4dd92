"""The synthesizer's network: characters, their durations, and log-mel frames one after another.

Shen et al. 2020, "Non-Attentive Tacotron" (arXiv:2010.04301), with smaller layers: an encoder of convolutions and a
recurrent layer in both directions, durations, Gaussian upsampling, an autoregressive recurrent decoder, and a post-net
of convolutions (Shen et al. 2018, "Natural TTS synthesis by conditioning WaveNet on mel spectrogram predictions").

Shapes: N characters, T frames, R frames of a step, S steps (T over R, rounded up), B rows of a batch, M mel bands.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice, pairwise
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gatework.graph import Cell
from gatework.layers import Linear, Recurrent
from gatework.layers.dropout import dropout, sequence_dropout
from gatework.tasks.batches import inside_of
from gatework.tasks.synthesizer.attending import ALIGNMENT, durations_of, locating_gru, most_steps
from gatework.tasks.synthesizer.upsampling import PLACE_FEATURES, gaussian_weights, place_in_character

__all__ = [
    "SpeechBatch",
    "SpeechGuess",
    "Spoken",
    "SynthesizerEnsemble",
    "SynthesizerNetwork",
    "speak",
    "timing_error",
]

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

    before, frames: (T, B, M) log-mel frames before and after the post-net. deviation: (M,) of each band in the training
    data. log_durations: (N, B). Of a network that attends there are none of these, but alignment: (S, B, N); stop:
    (S, B), the log-odds that a step is the last.
    """

    before: Tensor
    frames: Tensor
    deviation: Tensor
    log_durations: Tensor | None = None
    alignment: Tensor | None = None
    stop: Tensor | None = None


class Spoken(NamedTuple):
    """A text that was spoken: frames (T, M), and durations (N,), the frames of each character, which sum to about T."""

    frames: np.ndarray
    durations: np.ndarray


class Encoding(NamedTuple):
    """values: (N, B, C) of each character. counts: (B,). log_durations: (N, B), and hidden: (N, B, D), what they are
    found from; None of a network that attends.
    """

    values: Tensor
    counts: Tensor
    log_durations: Tensor | None = None
    hidden: Tensor | None = None


class Reader(Protocol):
    """The characters of a batch as the decoder reads them, step after step."""

    def read(self, inputs: Tensor) -> Tensor:
        """(B, ·), what the next step is told, whose prenet gives (B, H)."""


class TimedReader:
    """What each step is told is known beforehand: (S, B, ·)."""

    def __init__(self, conditions: Tensor) -> None:
        self._conditions, self._step = conditions, -1

    def read(self, inputs: Tensor) -> Tensor:
        self._step += 1
        return self._conditions[self._step]


class AttentionReader:
    """A layer of `locating_gru` over the characters.

    Attributes:
        alignments: (B, N) of each step that was read.
    """

    def __init__(self, layer: Recurrent, encoding: Encoding) -> None:
        self._layer, self._memory = layer, layer.attend_to(encoding.values, encoding.counts)
        self._state: Any = None
        self.alignments: list[Tensor] = []

    def read(self, inputs: Tensor) -> Tensor:
        result, self._state = self._layer(inputs[None], self._state, memory=self._memory, emit=[ALIGNMENT])
        self.alignments.append(result[ALIGNMENT][0])
        return torch.cat([result["context"], result["output"]], dim=-1)[0]


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
        attention: how the decoder reads the characters: by their durations, or by location-sensitive attention.
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
        attention: Literal["durations", "location"] = "durations",
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
        self.attends = attention == "location"
        if self.attends:
            self.attention = Recurrent(locating_gru, hidden_size, hidden_size, sizes={"memory_size": encoded})
            condition = encoded + hidden_size
        else:
            self.timing = Recurrent(cell, encoded, hidden_size, bidirectional=True)
            self.duration = Linear(2 * self.timing.output_size, 1)
            self.range = Linear(2 * self.timing.output_size + 1, 1)
            condition = encoded + PLACE_FEATURES
        self.prenet = nn.ModuleList([Linear(mels, hidden_size), Linear(hidden_size, hidden_size)])
        self.decoder = Recurrent(cell, hidden_size + condition, 2 * hidden_size, num_layers)
        self.output = Linear(self.decoder.output_size + condition, reduction * mels)
        if self.attends:
            self.stop = Linear(self.decoder.output_size + condition, 1)
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
        normal = (frames - self.mean) / self.deviation * inside_of(frames, lengths)
        heard = normal[self.reduction - 1 :: self.reduction][: steps - 1]  # the last frame of each step
        heard = torch.cat([torch.zeros_like(normal[:1]), heard])
        rows = -(-lengths // self.reduction)
        inputs, alignment = self._prenet(heard), None
        if self.attends:
            given = {"memory": encoding.values, "memory_lengths": encoding.counts, "lengths": rows}
            result, _ = self.attention(inputs, **given, emit=[ALIGNMENT])
            alignment, conditions = (
                result[ALIGNMENT],
                torch.cat([result["context"], result["output"]], dim=-1),
            )
        else:
            conditions = self.conditions(encoding, durations, steps)
        told = torch.cat([inputs, conditions.to(inputs)], dim=-1)
        hidden = torch.cat([output_of(self.decoder(told, lengths=rows)[0]), conditions.to(inputs)], dim=-1)
        before = self._frames(hidden)[: len(frames)]
        stop = self.stop(hidden)[..., 0].float() if self.attends else None
        refined = self.refine(before, lengths)
        return SpeechGuess(before, refined, self.deviation, encoding.log_durations, alignment, stop)

    def encode(self, batch: SpeechBatch) -> Encoding:
        """What is known of the characters before there are frames."""
        value = self.convolutions(self.embedding(batch.ids), batch.counts)
        value = output_of(self.encoder(value, lengths=batch.counts)[0])
        if self.speaker is not None:
            speaker = self.speaker(batch.speakers).expand(len(value), -1, -1)
            value = torch.cat([value, speaker.to(value)], dim=-1)
        value = sequence_dropout(value, self.dropout, self.training)
        if self.attends:
            return Encoding(value, batch.counts)
        hidden = output_of(self.timing(value, lengths=batch.counts)[0])
        return Encoding(value, batch.counts, self.duration(hidden).squeeze(-1).float(), hidden)

    def conditions(self, encoding: Encoding, durations: Tensor, steps: int) -> Tensor:
        """(S, B, C), what each step of the decoder reads of the characters.

        Args:
            durations: (N, B) frames.
        """
        if encoding.hidden is None:
            raise ValueError("a network that attends has no durations")
        least = durations.float().clamp(min=LEAST_DURATION)
        told = torch.cat([encoding.hidden, least.log()[..., None].to(encoding.hidden)], dim=-1)
        ranges = (F.softplus(self.range(told).squeeze(-1).float() - 1) + _NARROWEST) * least
        times = (torch.arange(steps, device=durations.device) + 0.5) * self.reduction
        weights = gaussian_weights(durations.float(), ranges, encoding.counts, times)
        read = torch.bmm(weights, encoding.values.transpose(0, 1).float()).transpose(0, 1)
        return torch.cat([read, place_in_character(durations.float(), encoding.counts, times)], dim=-1)

    def step(self, heard: Tensor, reader: Reader, state: Any) -> tuple[Tensor, Tensor | None, Any]:
        """R frames, (R, B, M); of a network that attends the log-odds that they are the last, (B,); the new state.

        Args:
            heard: (B, M) the frame before; what it is does not matter at the begin.
            reader: of the characters.
            state: of the step before, None at the begin.
        """
        normal = (heard - self.mean) / self.deviation if state is not None else torch.zeros_like(heard)
        inputs = self._prenet(normal[None])
        condition = reader.read(inputs[0])[None].to(inputs)
        output, state = self.decoder(torch.cat([inputs, condition], dim=-1), state)
        hidden = torch.cat([output_of(output), condition], dim=-1)
        return self._frames(hidden), self.stop(hidden)[0, :, 0].float() if self.attends else None, state

    def refine(self, frames: Tensor, lengths: Tensor) -> Tensor:
        """Frames, (T, B, M), with what the post-net adds."""
        normal = (frames - self.mean) / self.deviation
        return frames + self.postnet(normal, lengths).float() * self.deviation

    def _prenet(self, heard: Tensor) -> Tensor:
        for layer in self.prenet:
            heard = dropout(F.relu(layer(heard)), self.prenet_dropout, self.training)
        return heard

    def _frames(self, hidden: Tensor) -> Tensor:
        """(S R, B, M) of the decoder's output and what it was told, (S, B, ·)."""
        found = self.output(hidden).float()
        steps, rows, _ = found.shape
        found = found.view(steps, rows, self.reduction, -1).transpose(1, 2).flatten(0, 1)
        return found * self.deviation + self.mean


class SynthesizerEnsemble(nn.Module):
    """Several trained networks, of the mean of all that they find; in eval mode alone.

    Args:
        networks: with the same alphabet, speakers, bands and reduction.
    """

    def __init__(self, networks: Sequence[SynthesizerNetwork]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)

    def forward(self, batch: SpeechBatch) -> SpeechGuess:
        found = [network(batch) for network in self.networks]
        parts = {name: [getattr(each, name) for each in found] for name in SpeechGuess._fields}
        given = {name: mean_of(some) for name, some in parts.items() if some[0] is not None}
        return found[0]._replace(**given | {"deviation": found[0].deviation})


def timing_error(log_durations: Tensor, durations: Tensor) -> Tensor:
    """How far off durations are, of one shape: a gamma distribution's deviance.

    Small errors count as the squared difference of the logarithms. Unlike that difference it is least where the mean of
    the durations is said: else what is said of many characters together is too short.

    Args:
        log_durations: logarithms of what is said, in frames.
        durations: frames.
    """
    durations = durations.clamp(min=LEAST_DURATION)
    log_ratio = durations.log() - log_durations
    return 2 * (torch.expm1(log_ratio) - log_ratio)


def speak(networks: Sequence[SynthesizerNetwork], batch: SpeechBatch, speed: float = 1.0) -> list[Spoken]:
    """What each text of a batch sounds like, by the mean of some networks at every step.

    Args:
        networks: see `SynthesizerEnsemble`.
        speed: 2.0: every character takes half as long; networks that attend know no other than 1.
    """
    encodings = [network.encode(batch) for network in networks]
    if networks[0].attends:
        return _spoken_by_attention(networks, encodings)
    inside = torch.arange(len(batch.ids), device=batch.ids.device)[:, None] < batch.counts
    log_durations = mean_of([each.log_durations for each in encodings if each.log_durations is not None])
    durations = log_durations.clamp(max=_LONGEST).exp() / speed * inside
    lengths = durations.sum(0).round().long().clamp(min=1)
    steps = -(-int(lengths.max()) // networks[0].reduction)
    readers = [
        TimedReader(network.conditions(each, durations, steps))
        for network, each in zip(networks, encodings, strict=True)
    ]
    spoken = [frames for frames, _ in islice(_steps(networks, readers, batch.ids.shape[1]), steps)]
    rows = [durations[:count, row] for row, count in enumerate(batch.counts.tolist())]
    return _refined(networks, torch.cat(spoken), lengths, rows)


def _spoken_by_attention(
    networks: Sequence[SynthesizerNetwork], encodings: Sequence[Encoding]
) -> list[Spoken]:
    """Until every text's network says that a step is its last."""
    counts, reduction = encodings[0].counts, networks[0].reduction
    readers = [
        AttentionReader(network.attention, each) for network, each in zip(networks, encodings, strict=True)
    ]
    ends = most_steps(counts, reduction)
    spoken: list[Tensor] = []
    for frames, stop in _steps(networks, readers, len(counts)):
        spoken.append(frames)
        if stop is not None:
            ends = torch.where(stop > 0, ends.clamp(max=len(spoken)), ends)
        if int(ends.max()) <= len(spoken):
            break
    alignment = mean_of([torch.stack(each.alignments) for each in readers])  # (S, B, N)
    rows = [
        durations_of(alignment[:end, row, :count], reduction)
        for row, (end, count) in enumerate(zip(ends.tolist(), counts.tolist(), strict=True))
    ]
    return _refined(networks, torch.cat(spoken), ends * reduction, rows)


def _steps(
    networks: Sequence[SynthesizerNetwork], readers: Sequence[Reader], rows: int
) -> Iterator[tuple[Tensor, Tensor | None]]:
    """(R, B, M) frames of one step after another, and the log-odds that it is the last, (B,), each the mean."""
    heard = networks[0].mean.expand(rows, -1)
    states: list[Any] = [None] * len(networks)
    while True:
        found, stops = [], []
        for index, (network, reader) in enumerate(zip(networks, readers, strict=True)):
            frames, stop, states[index] = network.step(heard, reader, states[index])
            found.append(frames)
            stops += [] if stop is None else [stop]
        frames = mean_of(found)
        yield frames, mean_of(stops) if stops else None
        heard = frames[-1]


def _refined(
    networks: Sequence[SynthesizerNetwork], before: Tensor, lengths: Tensor, durations: Sequence[Tensor]
) -> list[Spoken]:
    """What the post-nets make of frames, (T, B, M), of which each row has its length, (B,)."""
    refined = mean_of([network.refine(before, lengths) for network in networks])
    return [
        Spoken(refined[:length, row].cpu().numpy(), own.cpu().numpy())
        for row, (length, own) in enumerate(zip(lengths.tolist(), durations, strict=True))
    ]


def mean_of(found: Sequence[Tensor]) -> Tensor:
    """The mean of what several networks found; of one, that itself."""
    return found[0] if len(found) == 1 else torch.stack(list(found)).mean(0)


def output_of(output: Any) -> Tensor:
    """A recurrent layer's output, of a cell too that emits more than its state."""
    return output["output"] if isinstance(output, dict) else output
