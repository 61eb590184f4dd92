"""Eleven models as people write them in plain torch, each with an input of the size that such a model is used with.

They know nothing of Gatework: `models.py` measures them before and after `gw.replace`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence


class CRNN(nn.Module):
    """A line of text read from its picture: convolutions, a bidirectional LSTM over columns, characters."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for width, out, pool in ((1, 32, (2, 2)), (32, 64, (2, 2)), (64, 128, (4, 1)), (128, 256, (2, 1))):
            layers += [nn.Conv2d(width, out, 3, padding=1), nn.ReLU(), nn.MaxPool2d(pool)]
        self.picture = nn.Sequential(*layers)
        self.columns = nn.LSTM(256, 256, num_layers=2, bidirectional=True)
        self.characters = nn.Linear(512, 80)

    def forward(self, image: Tensor) -> Tensor:
        """image: (B, 1, 32, width); gives (width / 4, B, 80)."""
        features = self.picture(image).squeeze(2).permute(2, 0, 1)
        output: Tensor = self.characters(self.columns(features)[0])
        return output


class VoiceActivity(nn.Module):
    """Speech or none, frame by frame: a convolution, two LSTMs, a logit."""

    def __init__(self) -> None:
        super().__init__()
        self.front = nn.Conv1d(40, 64, 5, padding=2)
        self.memory = nn.LSTM(64, 64, num_layers=2, batch_first=True)
        self.speech = nn.Linear(64, 1)

    def forward(self, frames: Tensor) -> Tensor:
        """frames: (B, T, 40); gives (B, T)."""
        features = torch.relu(self.front(frames.transpose(1, 2))).transpose(1, 2)
        logits: Tensor = self.speech(self.memory(features)[0])
        return logits.squeeze(-1)


class AttentionSequence(nn.Module):
    """A sentence to a sentence: bidirectional encoder, a decoder's cell that attends, teacher forcing."""

    def __init__(self) -> None:
        super().__init__()
        self.source = nn.Embedding(2000, 128)
        self.target = nn.Embedding(2000, 128)
        self.encoder = nn.LSTM(128, 128, bidirectional=True, batch_first=True)
        self.decoder = nn.LSTMCell(128 + 256, 256)
        self.output = nn.Linear(512, 2000)

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        """source: (B, S), target: (B, T); gives (B, T, 2000)."""
        memory, (h, c) = self.encoder(self.source(source))
        state = (torch.cat(tuple(h), -1), torch.cat(tuple(c), -1))
        context = torch.zeros_like(memory[:, 0])
        seen = []
        for word in self.target(target).unbind(1):
            state = self.decoder(torch.cat([word, context], -1), state)
            weights = torch.softmax(torch.einsum("bsh,bh->bs", memory, state[0]), -1)
            context = torch.einsum("bs,bsh->bh", weights, memory)
            seen.append(torch.cat([state[0], context], -1))
        logits: Tensor = self.output(torch.stack(seen, 1))
        return logits


class Policy(nn.Module):
    """An actor and critic with memory: an LSTM's cell whose state is reset where an episode ends."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(24, 128), nn.Tanh())
        self.memory = nn.LSTMCell(128, 128)
        self.actor = nn.Linear(128, 6)
        self.critic = nn.Linear(128, 1)

    def forward(self, observations: Tensor, going: Tensor) -> Tensor:
        """observations: (T, B, 24), going: (T, B, 1), 0 where an episode begins; gives (T, B, 7)."""
        h = c = observations.new_zeros(observations.shape[1], 128)
        outputs = []
        for features, keep in zip(self.body(observations), going, strict=True):
            h, c = self.memory(features, (h * keep, c * keep))
            outputs.append(torch.cat([self.actor(h), self.critic(h)], -1))
        return torch.stack(outputs)


class BidirectionalLanguageModel(nn.Module):
    """As ELMo: a language model in each direction, LSTMs with projection and residual connections, mixed layers."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(2000, 128)
        self.directions = nn.ModuleList(
            nn.ModuleList(nn.LSTM(128, 512, proj_size=128, batch_first=True) for _ in range(2))
            for _ in range(2)
        )
        self.mix = nn.Parameter(torch.tensor([0.5, 0.3, 0.2]))

    def forward(self, words: Tensor) -> Tensor:
        """words: (B, T); gives (B, T, 256)."""
        embedded = self.words(words)
        sides = []
        for reversed_, layers in enumerate(self.directions):
            x = embedded.flip(1) if reversed_ else embedded
            levels = [x]
            for layer in layers:
                x = x + layer(x)[0]
                levels.append(x)
            mixed = torch.einsum("l,lbth->bth", self.mix.softmax(0), torch.stack(levels))
            sides.append(mixed.flip(1) if reversed_ else mixed)
        return torch.cat(sides, -1)


class PackedClassifier(nn.Module):
    """Texts of unequal lengths, packed, through a bidirectional LSTM; the mean over each text's words."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(2000, 100)
        self.memory = nn.LSTM(100, 128, bidirectional=True, batch_first=True)
        self.label = nn.Linear(256, 5)

    def forward(self, words: Tensor, lengths: Tensor) -> Tensor:
        """words: (B, T), lengths: (B,); gives (B, 5)."""
        packed = pack_padded_sequence(self.words(words), lengths, batch_first=True, enforce_sorted=False)
        output, sizes = pad_packed_sequence(self.memory(packed)[0], batch_first=True)
        label: Tensor = self.label(output.sum(1) / sizes[:, None])
        return label


class DualPath(nn.Module):
    """As DPRNN: chunks of a long signal; an LSTM inside each chunk, then one across the chunks, twice."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList()
        for _ in range(2 * 2):
            path = nn.LSTM(64, 128, bidirectional=True, batch_first=True)
            self.blocks.append(nn.ModuleList([path, nn.Linear(256, 64), nn.LayerNorm(64)]))

    def forward(self, chunks: Tensor) -> Tensor:
        """chunks: (B, S, K, 64), S chunks of K frames; gives the same shape."""
        x = chunks
        for memory, linear, norm in self.blocks:  # type: ignore[misc]
            rows = x.flatten(0, 1)
            x = x + norm(linear(memory(rows)[0])).view_as(x)
            x = x.transpose(1, 2).contiguous()  # the other path is next
        return x


class Tacotron(nn.Module):
    """Characters to a spectrogram: convolutions and a bidirectional LSTM; a decoder of two cells that attends."""

    def __init__(self) -> None:
        super().__init__()
        self.characters = nn.Embedding(60, 128)
        convolutions = [
            layer
            for _ in range(3)
            for layer in (nn.Conv1d(128, 128, 5, padding=2), nn.BatchNorm1d(128), nn.ReLU())
        ]
        self.convolutions = nn.Sequential(*convolutions)
        self.encoder = nn.LSTM(128, 64, bidirectional=True, batch_first=True)
        self.before = nn.Sequential(nn.Linear(80, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU())
        self.attention_cell = nn.LSTMCell(64 + 128, 256)
        self.query, self.keys = nn.Linear(256, 64), nn.Linear(128, 64)
        self.score = nn.Linear(64, 1, bias=False)
        self.decoder_cell = nn.LSTMCell(256 + 128, 256)
        self.frame = nn.Linear(256 + 128, 80)

    def forward(self, characters: Tensor, frames: Tensor) -> Tensor:
        """characters: (B, S), frames: (B, T, 80) of which each is told the one before; gives (B, T, 80)."""
        features = self.convolutions(self.characters(characters).transpose(1, 2)).transpose(1, 2)
        memory = self.encoder(features)[0]
        keys = self.keys(memory)
        first = second = (memory.new_zeros(len(memory), 256),) * 2
        context = memory.new_zeros(len(memory), 128)
        outputs = []
        for frame in self.before(functional.pad(frames, (0, 0, 1, -1))).unbind(1):
            first = self.attention_cell(torch.cat([frame, context], -1), first)
            scores = self.score(torch.tanh(self.query(first[0])[:, None] + keys)).squeeze(-1)
            context = torch.einsum("bs,bsh->bh", scores.softmax(-1), memory)
            second = self.decoder_cell(torch.cat([first[0], context], -1), second)
            outputs.append(self.frame(torch.cat([second[0], context], -1)))
        return torch.stack(outputs, 1)


class CharacterModel(nn.Module):
    """The next character: embedding, two LSTMs with dropout, softmax's logits."""

    def __init__(self) -> None:
        super().__init__()
        self.characters = nn.Embedding(96, 128)
        self.memory = nn.LSTM(128, 256, num_layers=2, dropout=0.2)
        self.output = nn.Linear(256, 96)

    def forward(self, characters: Tensor) -> Tensor:
        """characters: (T, B); gives (T, B, 96)."""
        logits: Tensor = self.output(self.memory(self.characters(characters))[0])
        return logits


class Forecaster(nn.Module):
    """A window of several series to the next day: two GRUs, a linear map of the last state."""

    def __init__(self) -> None:
        super().__init__()
        self.memory = nn.GRU(8, 64, num_layers=2, batch_first=True)
        self.horizon = nn.Linear(64, 24)

    def forward(self, window: Tensor) -> Tensor:
        """window: (B, T, 8); gives (B, 24)."""
        forecast: Tensor = self.horizon(self.memory(window)[1][-1])
        return forecast


class FrameByFrame(nn.Module):
    """A live signal: a GRU that is called with one frame after the other, its state handed on."""

    def __init__(self) -> None:
        super().__init__()
        self.memory = nn.GRU(40, 128, batch_first=True)
        self.output = nn.Linear(128, 40)

    def forward(self, frames: Tensor) -> Tensor:
        """frames: (B, T, 40); gives the same shape."""
        state, outputs = None, []
        for frame in frames.split(1, dim=1):
            output, state = self.memory(frame, state)
            outputs.append(self.output(output))
        return torch.cat(outputs, 1)


def _ids(entries: int, *shape: int) -> Tensor:
    return torch.randint(entries, shape)


def _lengths() -> Tensor:
    lengths = torch.randint(5, 61, (32,))
    lengths[0] = 60
    return lengths


MODELS: dict[str, tuple[type[nn.Module], Callable[[], tuple[Any, ...]]]] = {
    "CRNN": (CRNN, lambda: (torch.randn(8, 1, 32, 128),)),
    "voice activity detector": (VoiceActivity, lambda: (torch.randn(8, 200, 40),)),
    "attention seq2seq": (AttentionSequence, lambda: (_ids(2000, 32, 20), _ids(2000, 32, 20))),
    "policy with LSTM cells": (
        Policy,
        lambda: (torch.randn(32, 16, 24), (torch.rand(32, 16, 1) > 0.1).float()),
    ),
    "ELMo-like": (BidirectionalLanguageModel, lambda: (_ids(2000, 16, 30),)),
    "packed BiLSTM": (PackedClassifier, lambda: (_ids(2000, 32, 60), _lengths())),
    "DPRNN": (DualPath, lambda: (torch.randn(1, 24, 40, 64),)),
    "Tacotron's encoder and decoder": (Tacotron, lambda: (_ids(60, 8, 50), torch.randn(8, 40, 80))),
    "character language model": (CharacterModel, lambda: (_ids(96, 64, 32),)),
    "GRU forecaster": (Forecaster, lambda: (torch.randn(64, 96, 8),)),
    "GRU frame by frame": (FrameByFrame, lambda: (torch.randn(1, 50, 40),)),
}
"""Name to the model's class, and what makes its inputs."""
