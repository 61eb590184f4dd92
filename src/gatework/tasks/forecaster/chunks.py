"""Training batches: chunks of channels, in which every step after the warm-up is an origin of a forecast."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from gatework.metrics.figure import Figure
from gatework.tasks.forecaster.channels import Channels, Integers
from gatework.tasks.forecaster.network import ForecastBatch
from gatework.training import ParameterGroup, Problem, StepLoss

__all__ = ["ChunkProblem", "chunk_batch", "chunk_places", "origins_of"]

_PRIME = 1_000_003  # between the seeds of two epochs


def origins_of(warm_up: int, segment: int) -> int:
    """How many origins a chunk has: about as many steps as its warm-up, so that half of its work is not for them."""
    return max(warm_up, 2) * segment


def chunk_places(
    channels: Channels, origins: int, generator: np.random.Generator
) -> tuple[Integers, Integers]:
    """Chunks whose origins are, together, all steps of every channel from its first observed value to the last step but
    one: of each its channel and the place of its first origin. Where they begin is drawn at random."""
    which, places = [], []
    for index, (begin, end) in enumerate(zip(channels.firsts, channels.ends, strict=True)):
        last = end - 1  # an origin has a step after it
        shift = int(generator.integers(origins)) if last - begin > origins else 0
        starts = np.arange(last - origins - shift, begin - origins, -origins)
        starts = np.maximum(np.append(starts, last - origins) if shift else starts, begin)
        which.append(np.full(len(starts), index))
        places.append(starts)
    return np.concatenate(which), np.concatenate(places)


def chunk_batch(
    channels: Channels, which: Integers, firsts: Integers, warm_up: int, origins: int
) -> ForecastBatch:
    """The batch of R chunks.

    Args:
        which: (R,) channels. firsts: (R,) the places of the chunks' first origins.
        warm_up: segments read before them.
        origins: of each chunk, a multiple of the segment.
    """
    size = channels.layout.segment
    count = warm_up + origins // size
    segments = channels.segments(which, firsts - (warm_up + 1) * size + 1, count, size)
    places = (firsts + np.arange(origins)[:, None]).reshape(-1)  # origin after origin, of each the rows
    rows = np.tile(which, origins)
    values, observed = channels.futures(places)
    scale = channels.scale[places, None]
    futures = ((values - channels.last_values(places)[:, None]) / scale).astype(np.float32)
    inside = (places >= channels.firsts[rows]) & (places < channels.ends[rows])
    weights = np.where(observed & inside[:, None], channels.importance(places)[:, None], 0.0)
    windows, ahead = channels.windows(places), channels.ahead(rows, places)
    return ForecastBatch(
        segments=torch.from_numpy(segments),
        windows=torch.from_numpy(windows),
        groups=torch.from_numpy(channels.groups(rows, places)),
        ahead=torch.from_numpy(ahead),
        units=torch.from_numpy(channels.units(places)),
        futures=torch.from_numpy(futures),
        weights=torch.from_numpy(weights.astype(np.float32)),
        first=warm_up,
    )


class _Chunks(Sequence[ForecastBatch]):
    """Batches that are made when they are asked for."""

    def __init__(self, make: Callable[[Integers], ForecastBatch], parts: Sequence[Integers]) -> None:
        self._make, self._parts = make, parts

    def __len__(self) -> int:
        return len(self._parts)

    def __getitem__(self, index: Any) -> Any:
        return self._make(self._parts[index])


class ChunkProblem(Problem):
    """Chunks of channels, in an order and with beginnings drawn anew each epoch.

    Args:
        network: the model, without the wrapper of several processes.
        train: the channels.
        rows: chunks of a batch, over all processes.
        seed: of the chunks' places and order.
        loss: of a batch on the model's device.
        validation: the validation's figures, with at least `loss`.
        headline: the figure that picks the checkpoint.
        groups: of the parameters.
        judges_start: whether the network is a candidate of the checkpoint as it is.
    """

    def __init__(
        self,
        network: nn.Module,
        train: Channels,
        *,
        rows: int,
        seed: int,
        loss: Callable[[nn.Module, ForecastBatch], StepLoss],
        validation: Callable[[], dict[str, float]],
        headline: Figure,
        groups: Sequence[ParameterGroup] = (),
        judges_start: bool = False,
    ) -> None:
        self._network, self._train, self._rows, self._seed = network, train, rows, seed
        self._loss, self._validation, self._headline, self._groups = loss, validation, headline, tuple(groups)
        self._judges_start = judges_start
        self._warm_up = train.layout.warm_up
        self._origins = origins_of(self._warm_up, train.layout.segment)

    @property
    def model(self) -> nn.Module:
        return self._network

    def groups(self) -> Sequence[ParameterGroup]:
        return self._groups

    def headline(self) -> Figure:
        return self._headline

    def judges_start(self) -> bool:
        return self._judges_start

    def batches(self, epoch: int, rank: int, world: int) -> Sequence[ForecastBatch]:
        generator = np.random.default_rng(self._seed * _PRIME + epoch)
        which, firsts = chunk_places(self._train, self._origins, generator)
        order = generator.permutation(len(which))
        steps = max(math.ceil(len(order) / self._rows), 1)
        whole = np.resize(order, steps * max(self._rows, world)) if len(order) < self._rows else order
        parts = [part[rank::world] for part in np.array_split(whole, steps)]

        def make(part: Integers) -> ForecastBatch:
            return chunk_batch(self._train, which[part], firsts[part], self._warm_up, self._origins)

        return _Chunks(make, parts)

    def initial_carry(self, rank: int, world: int) -> None:
        """None: chunks are independent."""

    def loss(self, model: nn.Module, batch: ForecastBatch, carry: None) -> StepLoss:
        return self._loss(model, batch)

    def validate(self, model: nn.Module) -> dict[str, float]:
        return self._validation()
