"""The forecaster's network: recurrent layers over segments, and from each state the horizon; a linear map beside them.

The layers read a series segment by segment (Lin et al. 2023, "SegRNN", arXiv:2308.11200) and are causal: what they
read of a segment, the values less its last one and how far that moved, depends on no later step, so that one pass over
a series gives the state at every step, as forking sequences do (Wen et al. 2017, "A multi-horizon quantile recurrent
forecaster", arXiv:1711.11053), and a stream goes on where it stands.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gatework.graph import Cell
from gatework.layers import Linear, Recurrent
from gatework.layers.dropout import dropout as unit_dropout
from gatework.tasks.forecaster.channels import Layout

__all__ = ["ForecastBatch", "ForecastNetwork", "NetworkForecast"]

POSITION = 16  # width of what the network learns of a segment's place in the horizon


class ForecastBatch(NamedTuple):
    """n origins, of the states that the layers reach from step `first` on: in their order, steps before rows.

    segments: (K, R, I). windows: (n, L). targets: (n,) which of the series' targets each is. ahead: (n, J, F).
    futures: (n, H) less the value at the origin, over the scale there; weights: (n, H), of their errors; zero where one
    is missing.
    """

    segments: Tensor
    windows: Tensor
    targets: Tensor
    ahead: Tensor
    futures: Tensor
    weights: Tensor
    first: int


class NetworkForecast(NamedTuple):
    """Of n origins, less the value there and over the scale there: mean (n, H), quantiles (n, H, Q) in rising order."""

    mean: Tensor
    quantiles: Tensor


class ForecastNetwork(nn.Module):
    """Mean and quantiles of the next H steps.

    Args:
        cell: of the recurrent layers.
        layout: what is read and forecast.
        levels: the quantiles' levels, Q rising.
        hidden_size, num_layers: of the layers.
        dropout: rate on the layers' outputs and on what the horizon is made of.
        linear_path: whether a linear map of the window is added.
        maps: M, linear maps: one for all of a series' targets, or one each.

    Attributes:
        linear: (M, H, L), or None.
        base: (M, H, Q).
        shifts: (H, Q) what is added to the quantiles in eval mode, or None.
    """

    def __init__(
        self,
        cell: Cell,
        layout: Layout,
        levels: Sequence[float],
        *,
        hidden_size: int,
        num_layers: int,
        dropout: float,
        linear_path: bool,
        maps: int = 1,
    ) -> None:
        super().__init__()
        self.layout, self.dropout = layout, dropout
        self.recurrent = Recurrent(
            cell, layout.read, hidden_size, num_layers, dropout=dropout if num_layers > 1 else 0.0
        )
        self.from_state = Linear(self.recurrent.output_size, hidden_size)
        self.place = nn.Parameter(torch.randn(layout.segments_ahead, POSITION))
        self.from_ahead = Linear(layout.ahead + POSITION, hidden_size, bias=False)
        outputs = 1 + len(levels)
        self.output = Linear(hidden_size, layout.segment * outputs, bias=False)
        nn.init.zeros_(self.output.weight)
        self.middle = min(range(len(levels)), key=lambda index: abs(levels[index] - 0.5))
        self.levels = tuple(levels)
        # What the mean and the quantiles are before anything is learned of a series: the middle one, and logarithms of
        # gaps outward.
        self.base = nn.Parameter(torch.zeros(maps, layout.horizon, len(levels)))
        self.shifts: Tensor | None = None
        self.linear = nn.Parameter(torch.zeros(maps, layout.horizon, layout.window)) if linear_path else None

    @property
    def layers(self) -> tuple[Recurrent, ...]:
        """The recurrent layers."""
        return (self.recurrent,)

    def begin_as(self, weight: Tensor, residuals: Tensor) -> None:
        """Begin as a linear forecast and its errors' quantiles.

        Args:
            weight: (M, H, L) of the linear path.
            residuals: (M, H, Q) quantiles of what it leaves.
        """
        with torch.no_grad():
            if self.linear is not None:
                self.linear.copy_(weight)
            self.base.copy_(residuals)
            gaps = residuals.diff(dim=-1).clamp(min=1e-3)
            gaps = gaps + torch.log(-torch.expm1(-gaps))  # the softplus of this is the gap
            self.base[..., : self.middle] = gaps[..., : self.middle]
            self.base[..., self.middle + 1 :] = gaps[..., self.middle :]

    def forward(self, batch: ForecastBatch) -> NetworkForecast:
        """Of the batch's origins."""
        states, _ = self.encode(batch.segments)
        chosen = states[batch.first :].flatten(0, 1)
        return self.decode(chosen, batch.windows, batch.targets, batch.ahead)

    def encode(
        self, segments: Tensor, state: Any = None, lengths: Tensor | None = None
    ) -> tuple[Tensor, Any]:
        """The states after each segment, (K, R, D), of segments (K, R, I), and what the layers go on from."""
        output, final = self.recurrent(segments, state, lengths=lengths)
        return output["output"] if isinstance(output, dict) else output, final

    def decode(self, states: Tensor, windows: Tensor, targets: Tensor, ahead: Tensor) -> NetworkForecast:
        """From states (n, D) and what is known at their steps the forecast."""
        count, layout = len(states), self.layout
        place = self.place.expand(count, -1, -1)
        known = self.from_ahead(torch.cat([place, ahead], -1) if layout.ahead else place)
        states = unit_dropout(states, self.dropout, self.training)
        hidden = torch.tanh(self.from_state(states)[:, None] + known)
        found = self.output(unit_dropout(hidden, self.dropout, self.training))
        found = found.unflatten(-1, (layout.segment, -1)).flatten(1, 2)[:, : layout.horizon]
        own = targets if len(self.base) > 1 else torch.zeros_like(targets)
        mean, around = found[..., 0], found[..., 1:] + self.base[own]
        if self.linear is not None:
            mean = mean + self._line(windows, own)
        return NetworkForecast(mean, self._quantiles(mean, around))

    def _line(self, windows: Tensor, own: Tensor) -> Tensor:
        """(n, H) what the linear map of each of n windows, of number `own` (n,), says."""
        maps = cast("Tensor", self.linear)
        if len(maps) == 1:
            return F.linear(windows, maps[0])
        order = own.argsort(stable=True)
        counts = own.bincount(minlength=len(maps)).tolist()
        parts = [F.linear(rows, map) for rows, map in zip(windows[order].split(counts), maps, strict=True)]
        return torch.cat(parts)[order.argsort()]

    def _quantiles(self, mean: Tensor, around: Tensor) -> Tensor:
        """(n, H, Q) in rising order whatever `around` (n, H, Q) is: gaps are positive."""
        below, above = around[..., : self.middle], around[..., self.middle + 1 :]
        middle = mean[..., None] + around[..., self.middle : self.middle + 1]
        down = F.softplus(below).flip(-1).cumsum(-1).flip(-1)
        found = torch.cat([middle - down, middle, middle + F.softplus(above).cumsum(-1)], -1)
        if self.training or self.shifts is None:
            return found
        shifted = found + self.shifts.to(found)
        low = shifted[..., : self.middle + 1].flip(-1).cummin(-1).values.flip(-1)
        return torch.cat([low, shifted[..., self.middle :].cummax(-1).values[..., 1:]], -1)


class ForecastEnsemble(nn.Module):
    """Several trained networks of one layout: the mean of their means, and of their quantiles; in eval mode alone."""

    def __init__(self, networks: Sequence[ForecastNetwork]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)
        self.sizes = [network.recurrent.output_size for network in networks]

    @property
    def layers(self) -> tuple[Recurrent, ...]:
        """The recurrent layers of each network."""
        return tuple(cast("ForecastNetwork", network).recurrent for network in self.networks)

    def encode(
        self, segments: Tensor, state: Sequence[object] | None = None, lengths: Tensor | None = None
    ) -> tuple[Tensor, tuple[object, ...]]:
        """As `ForecastNetwork.encode`: the networks' states side by side, (K, R, sum of D)."""
        before = state or [None] * len(self.networks)
        each = [
            cast("ForecastNetwork", network).encode(segments, own, lengths)
            for network, own in zip(self.networks, before, strict=True)
        ]
        return torch.cat([states for states, _ in each], -1), tuple(final for _, final in each)

    def decode(self, states: Tensor, windows: Tensor, targets: Tensor, ahead: Tensor) -> NetworkForecast:
        """As `ForecastNetwork.decode`."""
        each = [
            cast("ForecastNetwork", network).decode(own, windows, targets, ahead)
            for network, own in zip(self.networks, states.split(self.sizes, -1), strict=True)
        ]
        means, quantiles = zip(*each, strict=True)
        return NetworkForecast(torch.stack(means).mean(0), torch.stack(quantiles).mean(0))


def forecast_losses(
    forecast: NetworkForecast, batch: ForecastBatch, levels: Sequence[float]
) -> tuple[Tensor, Tensor]:
    """Summed over the futures that are there: the squared weighted errors of the mean, and the weighted mean pinball
    loss of the quantiles (Koenker & Bassett 1978)."""
    squares = ((forecast.mean - batch.futures) * batch.weights).square()
    errors = batch.futures[..., None] - forecast.quantiles
    level = torch.tensor(levels, device=errors.device)
    pinball = torch.maximum(level * errors, (level - 1) * errors).mean(-1) * batch.weights
    return squares.sum(), pinball.sum()
