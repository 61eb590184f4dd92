"""Tiny language models on synthetic text, for the tests of training. Knows nothing of tasks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

import gatework as gw
from gatework.training import StepLoss


class TinyModel(torch.nn.Module):
    """Embedding, LSTM, and a softmax whose weight is the embedding's."""

    def __init__(self, vocabulary: int = 11, hidden: int = 8, dropout: float = 0.0) -> None:
        super().__init__()
        self.embedding = torch.nn.Embedding(vocabulary, hidden)
        self.lstm = gw.LSTM(hidden, hidden, num_layers=2, dropout=dropout)
        self.output = torch.nn.Linear(hidden, vocabulary)
        self.output.weight = self.embedding.weight

    def forward(self, inputs: Tensor, carry: Any) -> tuple[Tensor, Any]:
        output, carry = self.lstm(self.embedding(inputs), carry)  # (T, B, H)
        return self.output(output), carry


class TinyProblem:
    """Stateful language modelling of a text of numbers that repeats with a little noise."""

    def __init__(
        self,
        seed: int = 0,
        dropout: float = 0.0,
        streams: int = 4,
        steps: int = 5,
        length: int = 200,
        padding: int = -1,
    ) -> None:
        torch.manual_seed(seed)
        self.model = TinyModel(dropout=dropout)
        generator = torch.Generator().manual_seed(1)
        text = torch.arange(length * streams) * 3 % 11
        noise = torch.randint(0, 11, text.shape, generator=generator)
        text = torch.where(torch.rand(text.shape, generator=generator) < 0.1, noise, text)
        self.text = text.view(streams, length).T.contiguous()  # (length, streams)
        self.steps, self.streams = steps, streams
        self.padding = padding  # targets equal to padding are left out
        self.validation_losses: list[float] | None = None  # instead of the true ones

    def _slice(self, rank: int, world: int) -> slice:
        share = self.streams // world
        return slice(rank * share, (rank + 1) * share)

    def batches(self, epoch: int, rank: int, world: int) -> Sequence[Any]:
        text, T = self.text[:, self._slice(rank, world)], self.steps
        return [(text[k : k + T], text[k + 1 : k + T + 1]) for k in range(0, text.shape[0] - T, T)]

    def initial_carry(self, rank: int, world: int) -> Any:
        rows = self.streams // world
        zeros = torch.zeros(2, rows, self.model.lstm.hidden_size)
        return zeros, zeros

    def loss(self, model: torch.nn.Module, batch: Any, carry: Any) -> StepLoss:
        inputs, targets = batch
        logits, carry = model(inputs, carry)
        total = functional.cross_entropy(
            logits.flatten(0, 1), targets.flatten(), ignore_index=self.padding, reduction="sum"
        )
        return StepLoss(total, int((targets != self.padding).sum()), carry)

    def validate(self, model: torch.nn.Module) -> dict[str, float]:
        if self.validation_losses:
            return {"loss": self.validation_losses.pop(0)}
        inputs, targets = self.text[:60], self.text[1:61]
        device = next(model.parameters()).device
        logits, _ = model(inputs.to(device), None)
        return {"loss": functional.cross_entropy(logits.flatten(0, 1), targets.flatten().to(device)).item()}


def in_one_block(model: torch.nn.Module) -> torch.nn.Module:
    """The model with its parameters side by side in one block of memory, as cuDNN's layers keep them on a GPU."""
    parameters = list(model.parameters())
    block = torch.cat([parameter.detach().flatten() for parameter in parameters])
    parts = block.split([parameter.numel() for parameter in parameters])
    for parameter, part in zip(parameters, parts, strict=True):
        parameter.data = part.view_as(parameter)
    return model
