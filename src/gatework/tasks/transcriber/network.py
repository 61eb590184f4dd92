"""The transcriber's network: a convolutional front over the spectrogram, recurrent layers, and CTC's scores.

Shapes: T frames, S steps (frames over the front's stride), B rows of a batch, M mel bands, V labels with the blank.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gatework.errors import InputError
from gatework.graph import Cell
from gatework.layers import Linear, Recurrent
from gatework.layers.dropout import sequence_dropout
from gatework.tasks.batches import inside_of
from gatework.tasks.transcriber.attention_decoder import AttentionDecoder
from gatework.tasks.transcriber.changes import FeatureChanges
from gatework.tasks.transcriber.speakers import PRIOR_FRAMES
from gatework.tasks.transcriber.templates import Templates, with_templates

__all__ = [
    "STRIDES",
    "LabelScores",
    "NormalizationName",
    "SoundBatch",
    "TranscriberEnsemble",
    "TranscriberNetwork",
]

NormalizationName = Literal["recording", "speaker", "running", "training"]

STRIDES = {1: (1, 1), 2: (2, 1), 4: (2, 2)}  # of a front, and of its two convolutions
_LEAST_VARIANCE = 1e-4  # of a band; one that never changes says nothing
_NEVER = -1e4  # the score of what is never said; of minus infinity CTC has no gradient
_KERNEL = 3  # of the front's convolutions, in frames and in bands


class SoundBatch(NamedTuple):
    """B recordings, and in training their labels.

    frames: (T, B, M) log-mel features, zero past a recording's end. lengths: (B,). labels: (B, N) from 1 on, padded.
    counts: (B,) labels of each row. least: (B,) steps that they need. speakers: (B, 3 M + 1), of the frames of the
    row's speaker, see `speaker_statistics`. sharpness: (), in a flat start how much the network's own probabilities
    weigh the paths of the labels.
    """

    frames: Tensor
    lengths: Tensor
    labels: Tensor | None = None
    counts: Tensor | None = None
    least: Tensor | None = None
    speakers: Tensor | None = None
    sharpness: Tensor | None = None


class LabelScores(NamedTuple):
    """log_probabilities: (S, B, V) in nats. lengths: (B,) steps of each row. memory: (S, B, D) of each network, what
    its attention decoder attends to, if it has one. attention_loss: minus the log-probability that this decoder gives
    the batch's labels, if there are any.
    """

    log_probabilities: Tensor
    lengths: Tensor
    memory: tuple[Tensor, ...] = ()
    attention_loss: Tensor | None = None


class Normalization(nn.Module):
    """Features less a mean over time, over the training data's deviation; both are of each band.

    Args:
        kind: recording: the recording's own mean; running: the mean up to each frame, which begins as the training
            data's; training: that one throughout; speaker: mean and deviation of all frames of the speaker.
        mels: M.
    """

    def __init__(self, kind: NormalizationName, mels: int) -> None:
        super().__init__()
        self.kind = kind
        self.register_buffer("mean", torch.zeros(mels))
        self.register_buffer("deviation", torch.ones(mels))
        self.mean: Tensor
        self.deviation: Tensor

    @torch.no_grad()
    def learn(self, recordings: Iterable[np.ndarray]) -> None:
        """Take mean and deviation of the training data's frames, each recording (T, M) with T at least 1."""
        frames, total, squares, around = 0, np.zeros(1), np.zeros(1), np.zeros(1)
        for one in recordings:
            value = one.astype(np.float64)
            frames, total, squares = frames + len(value), total + value.sum(0), squares + (value**2).sum(0)
            around = around + len(value) * value.mean(0) ** 2
        if not frames:
            raise InputError("the training data", "holds no example that can be used", "Give more of it")
        mean = total / frames
        spread = squares / frames - (mean**2 if self.kind in ("training", "speaker") else around / frames)
        self.mean.copy_(torch.from_numpy(mean))
        self.deviation.copy_(torch.from_numpy(np.sqrt(np.maximum(spread, _LEAST_VARIANCE))))

    def forward(self, frames: Tensor, lengths: Tensor, speakers: Tensor | None = None) -> Tensor:
        """(T, B, M), zero past each row's end.

        Args:
            speakers: as in `SoundBatch`; the floor of each row's speaker is added to its frames first.
        """
        inside, deviation = inside_of(frames, lengths), self.deviation
        if self.kind == "recording":
            mean = (frames * inside).sum(0) / lengths.clamp(min=1)[:, None]
        elif self.kind == "running":
            mean = self.running(frames, torch.zeros((), dtype=torch.float64), 0)[0]
        elif self.kind == "speaker" and speakers is not None:
            mean, deviation = self._of_speakers(speakers)
            frames = torch.logaddexp(frames, speakers[:, -len(self.mean) :])
        else:
            mean = self.mean
        return (frames - mean) / deviation * inside

    def _of_speakers(self, speakers: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and deviation of each row's speaker, (B, M) each: the training data counts for some frames too."""
        bands = len(self.mean)
        count, mean, variance, _ = speakers.split([1, bands, bands, bands], dim=1)
        share = count / (count + PRIOR_FRAMES)
        variance = torch.lerp(self.deviation.square().expand_as(variance), variance, share)
        return torch.lerp(self.mean.expand_as(mean), mean, share), variance.sqrt()

    def running(self, frames: Tensor, total: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """The mean up to each of some frames, (T, …, M), and the sum of all frames so far.

        Args:
            total: (…, M) the sum of the frames before, in float64.
            count: how many they are.
        """
        before = total.to(frames.device).expand(frames.shape[1:])
        sums = torch.cat([before[None], frames.double()]).cumsum(0)
        counts = torch.arange(count + 1, count + len(frames) + 1, device=frames.device, dtype=torch.float64)
        counts = counts.view(-1, *[1] * (frames.dim() - 1))
        mean = (sums[1:] + PRIOR_FRAMES * self.mean.double()) / (counts + PRIOR_FRAMES)
        return mean.to(frames), sums[-1]


class Front(nn.Module):
    """Convolutions over frames and bands, 3 by 3, each of which halves the bands and, as far as the stride asks, the
    frames.

    Step s sees frames from stride * s - ahead to stride * s + ahead.

    Args:
        mels: M.
        channels: of each convolution.
        stride: 1, 2 or 4 frames become one step.
        output_size: of what a step becomes.
    """

    def __init__(self, mels: int, channels: int, stride: int, output_size: int) -> None:
        super().__init__()
        self.strides = STRIDES[stride]
        self.convolutions = nn.ModuleList()
        inputs, bands = 1, mels
        for step in self.strides:
            self.convolutions.append(
                nn.Conv2d(inputs, channels, _KERNEL, stride=(step, 2), padding=_KERNEL // 2)
            )
            inputs, bands = channels, (bands + 1) // 2
        self.output = Linear(channels * bands, output_size)
        self.norm = nn.LayerNorm(output_size)

    @property
    def stride(self) -> int:
        """Frames of a step."""
        return math.prod(self.strides)

    @property
    def ahead(self) -> int:
        """Frames after its own that a step sees, and as many before."""
        seen, stride = 0, 1
        for step in self.strides:
            seen, stride = seen + stride, stride * step
        return seen

    def forward(self, frames: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """(T, B, M) to (S, B, output_size), zero past each row's end, and the lengths (B,)."""
        value = frames.permute(1, 2, 0)[:, None].transpose(2, 3)  # (B, 1, T, M)
        for convolution, step in zip(self.convolutions, self.strides, strict=True):
            lengths = torch.div(lengths + step - 1, step, rounding_mode="floor")
            value = F.relu(convolution(value))
            inside = torch.arange(value.shape[2], device=value.device) < lengths[:, None]
            value = value * inside[:, None, :, None].to(value.dtype)  # what follows sees zeros past the end
        value = value.permute(2, 0, 1, 3).flatten(2)  # (S, B, channels * bands)
        value = F.relu(self.norm(self.output(value)))
        return value * inside_of(value, lengths), lengths


class TranscriberNetwork(nn.Module):
    """Log-probabilities of the blank and of each label, a step at a time.

    Args:
        cell: of the recurrent layers.
        labels: V - 1.
        unknown: the label of what the vocabulary lacks, which is never said; None: there is none.
        changes: what training changes in the features.
        mels: M.
        channels, stride: of the front.
        normalization: see `Normalization`.
        hidden_size, num_layers, bidirectional: of the layers.
        dropout: rate on the layers' inputs and outputs, one mask a recording.
        attention: above 0 there is an attention decoder too.
        template_set: the training recordings that tell words apart with it, once it is trained; None: there are none.
        templates: their weight.
    """

    def __init__(
        self,
        cell: Cell,
        labels: int,
        unknown: int | None,
        changes: FeatureChanges,
        *,
        mels: int,
        channels: int,
        stride: int,
        normalization: NormalizationName,
        hidden_size: int,
        num_layers: int,
        bidirectional: bool,
        dropout: float,
        attention: float = 0.0,
        template_set: Templates | None = None,
        templates: float = 0.0,
    ) -> None:
        super().__init__()
        self.template_set, self.template_weight = template_set, templates
        self.labels, self.unknown, self.changes, self.dropout = labels, unknown, changes, dropout
        self.normalization = Normalization(normalization, mels)
        self.front = Front(mels, channels, stride, hidden_size)
        self.recurrent = Recurrent(
            cell,
            hidden_size,
            hidden_size,
            num_layers,
            bidirectional=bidirectional,
            dropout=dropout if num_layers > 1 else 0.0,
        )
        width = self.recurrent.num_directions * self.recurrent.output_size
        self.output = Linear(width, labels + 1)
        self.decoder: AttentionDecoder | None = None
        if attention:
            self.decoder = AttentionDecoder(
                labels, memory_size=width, hidden_size=hidden_size, dropout=dropout, unknown=unknown
            )

    def forward(self, batch: SoundBatch) -> LabelScores:
        frames = self.changes.noisy(batch.frames, batch.lengths)
        frames = self.normalization(frames, batch.lengths, batch.speakers)
        frames, lengths = self.changes(frames, batch.lengths)
        steps, lengths = self.front(frames, lengths)
        steps = sequence_dropout(steps, self.dropout, self.training)
        output, _ = self.recurrent(steps, lengths=lengths)
        scores = self.scores(output)
        if self.template_set is not None and not self.training:
            rows = zip(batch.frames.transpose(0, 1).numpy(force=True), batch.lengths.tolist(), strict=True)
            speakers = None if batch.speakers is None else batch.speakers.numpy(force=True)
            heard = [row[:length] for row, length in rows]
            nearness = self.template_set.nearness(heard, self.labels, speakers)
            scores = with_templates(scores, torch.from_numpy(nearness).to(scores), self.template_weight)
        found = LabelScores(scores, lengths)
        if self.decoder is None:
            return found
        memory = output["output"] if isinstance(output, dict) else output
        loss = None
        if batch.labels is not None and batch.counts is not None:
            loss = self.decoder(memory, lengths, batch.labels, batch.counts)
        return found._replace(memory=(memory,), attention_loss=loss)

    @property
    def decoders(self) -> list[AttentionDecoder]:
        """The attention decoder, if there is one."""
        return [] if self.decoder is None else [self.decoder]

    def scores(self, output: Any) -> Tensor:
        """(S, B, V) in nats, of the recurrent layers' output."""
        if isinstance(output, dict):  # of a cell that emits more than its state
            output = output["output"]
        output = sequence_dropout(output, self.dropout, self.training)
        scores = self.output(output).float()
        if self.unknown is not None:
            place = torch.tensor([self.unknown], device=scores.device)
            scores = scores.index_fill(-1, place, _NEVER)
        return scores.log_softmax(-1)


class TranscriberEnsemble(nn.Module):
    """Several trained networks, of the mean of their probabilities in each step; in eval mode alone.

    Args:
        networks: with the same labels and the same stride.
    """

    def __init__(self, networks: Sequence[TranscriberNetwork]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)

    def forward(self, batch: SoundBatch) -> LabelScores:
        found = [network(batch) for network in self.networks]
        every = torch.stack([each.log_probabilities for each in found]).double()
        mean = (every.logsumexp(0) - math.log(len(found))).float()
        losses = [each.attention_loss for each in found if each.attention_loss is not None]
        loss = torch.stack(losses).mean(0) if losses else None
        return LabelScores(
            mean, found[0].lengths, tuple(part for each in found for part in each.memory), loss
        )

    @property
    def decoders(self) -> list[AttentionDecoder]:
        """The networks' attention decoders, if they have any."""
        return [decoder for network in self.networks for decoder in network.decoders]  # type: ignore[union-attr]
