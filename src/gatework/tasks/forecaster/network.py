"""The forecaster's network: recurrent layers over segments, and from each state the horizon; a linear map beside them.

The layers read a series segment by segment (Lin et al. 2023, "SegRNN", arXiv:2308.11200) and are causal: what they
read of a segment, the values less its last one and how far that moved, depends on no later step, so that one pass over
a series gives the state at every step, as forking sequences do (Wen et al. 2017, "A multi-horizon quantile recurrent
forecaster", arXiv:1711.11053), and a stream goes on where it stands.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, TypeAlias, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gatework.graph import Cell
from gatework.layers import Linear, Recurrent
from gatework.layers.dropout import dropout as unit_dropout
from gatework.tasks.forecaster.blockwise import blockwise_sum
from gatework.tasks.forecaster.cell_inputs import CellInputs
from gatework.tasks.forecaster.channels import Layout
from gatework.tasks.forecaster.distributions import (
    DISTRIBUTIONS,
    DistributionName,
    NetworkForecast,
    Targets,
    Units,
)
from gatework.tasks.forecaster.fused import MeanLoss, fuses, hidden_units

__all__ = ["DecoderName", "ForecastBatch", "ForecastEnsemble", "ForecastNetwork"]

DecoderName: TypeAlias = Literal["direct", "encoder_decoder", "autoregressive"]

_BLOCK = 2**20  # numbers of the widest operation on the origins that are trained on together
_SPANS = (5, 22, 66)
_LEAST_SQUARE = 1e-4  # of steps over their scale
_FAR = 5.0  # scales; a step that was farther is read as if it had been so far
POSITION = 16  # width of what the network learns of a segment's place in the horizon


class ForecastBatch(NamedTuple):
    """n origins, of the states that the layers reach from step `first` on: in their order, steps before rows.

    segments: (K, R, I). windows: (n, L). groups: (n,) their targets and ages (`Channels.groups`). ahead: (n, J, F).
    units: (n, 2) the value at the origin and the scale there. futures: (n, H) less the value, over the scale; weights:
    (n, H), of their errors; zero where one is missing.
    """

    segments: Tensor
    windows: Tensor
    groups: Tensor
    ahead: Tensor
    units: Tensor
    futures: Tensor
    weights: Tensor
    first: int


class ForecastNetwork(nn.Module):
    """What is said of the next H steps.

    Args:
        cell: of the recurrent layers.
        layout: what is read and forecast.
        levels: the quantiles' levels, Q rising.
        distribution: what is said of a step.
        mean_loss: of the mean's errors, beside quantiles.
        decoder: how the horizon is made of a state: each segment alone (direct); by a recurrent layer that begins at
            the state (encoder_decoder); its first step alone (autoregressive), the others from what is drawn of it.
        hidden_size, num_layers: of the layers.
        dropout: rate on the layers' outputs and on what the horizon is made of.
        linear_path: whether a linear map of the window is added.
        spread_path: whether a linear map of how far the window moved is added to the logarithm of a spread.
        maps: M, linear maps: one, or one for each group.

    Attributes:
        linear: (M, H, L), or None.
        base: (M, H, B) what all but the first of a step's numbers are before anything is learned of a series.
        spread: (H, V) the map of `_moves`, or None.
        shifts: (H, Q) what is added to the quantiles in eval mode, or None.
        correlations: (H, H) of the steps of a path, or None.
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
        spread_path: bool = False,
        maps: int = 1,
        distribution: DistributionName = "quantiles",
        mean_loss: MeanLoss = "squared",
        decoder: DecoderName = "direct",
    ) -> None:
        super().__init__()
        self.layout, self.dropout = layout, dropout
        self._inputs = CellInputs(cell, layout)
        self.recurrent = Recurrent(
            cell, self._inputs.size, hidden_size, num_layers, dropout=dropout if num_layers > 1 else 0.0
        )
        self.from_state = Linear(self.recurrent.output_size, hidden_size)
        self.place = nn.Parameter(torch.randn(layout.segments_ahead, POSITION))
        self.from_ahead = Linear(layout.ahead + POSITION, hidden_size, bias=False)
        self.distribution = DISTRIBUTIONS[distribution](levels, mean_loss)
        self.autoregressive = decoder == "autoregressive"
        self.decoder = (
            Recurrent(_plain(cell), hidden_size, hidden_size) if decoder == "encoder_decoder" else None
        )
        self._steps = 1 if self.autoregressive else layout.segment  # of each of the horizon's segments
        self.output = Linear(hidden_size, self._steps * self.distribution.outputs, bias=False)
        nn.init.zeros_(self.output.weight)
        self.levels = tuple(levels)
        self.base = nn.Parameter(torch.zeros(maps, layout.horizon, self.distribution.outputs - 1))
        moves = torch.zeros(layout.horizon, len(_spans(layout.window)) + 2)
        self.spread = nn.Parameter(moves) if spread_path else None
        self.shifts: Tensor | None = None
        self.correlations: Tensor | None = None
        self.linear = nn.Parameter(torch.zeros(maps, layout.horizon, layout.window)) if linear_path else None

    @property
    def counts(self) -> bool:
        """Whether whole numbers from 0 on are forecast."""
        return self.distribution.counts

    @property
    def members(self) -> tuple[ForecastNetwork, ...]:
        """The networks: this one."""
        return (self,)

    @property
    def layers(self) -> tuple[Recurrent, ...]:
        """The recurrent layers."""
        return (self.recurrent,)

    @property
    def cell_inputs(self) -> tuple[CellInputs, ...]:
        """What the layers' cell reads of a segment."""
        return (self._inputs,)

    def begin_as(self, weight: Tensor, residuals: Tensor) -> None:
        """Begin as a linear forecast and its errors' quantiles.

        Args:
            weight: (M, H or more, L) of the linear path.
            residuals: (M, H or more, Q) quantiles of what it leaves.
        """
        with torch.no_grad():
            steps = self.layout.horizon
            if self.linear is not None:
                self.linear.copy_(weight[:, :steps])
            self.base.copy_(self.distribution.begin(residuals[:, :steps]))

    def forward(self, batch: ForecastBatch) -> tuple[Tensor, Tensor]:
        """The loss, summed over the batch's futures that are there, and its parts, (P,), without their gradients."""
        states, _ = self.encode(batch.segments)
        chosen = states[batch.first :].flatten(0, 1)

        def losses(states: Tensor, rows: slice) -> Tensor:
            windows, groups, ahead = batch.windows[rows], batch.groups[rows], batch.ahead[rows]
            units = units_of(batch.units[rows], windows)
            wanted = Targets(batch.futures[rows], batch.weights[rows])
            return self.distribution.losses(*self._numbers(states, windows, groups, ahead), wanted, units)

        widest = max(self.place.shape[0] * self.from_state.out_features, self.base[0].numel())
        block = max(_BLOCK // widest, 1) if chosen.device.type == "cpu" else len(chosen)
        return blockwise_sum(losses, chosen, self._of_horizon, block)

    @property
    def _of_horizon(self) -> list[Tensor]:
        """The parameters that make a horizon of a state, those that are trained."""
        named = self.named_parameters()
        return [value for name, value in named if value.requires_grad and not name.startswith("recurrent.")]

    def encode(
        self, segments: Tensor, state: Any = None, lengths: Tensor | None = None
    ) -> tuple[Tensor, Any]:
        """The states after each segment, (K, R, D), of segments (K, R, `Layout.read`), and the layers' final state."""
        read, further = self._inputs.of(segments)
        output, final = self.recurrent(read, state, lengths=lengths, inputs=further)
        return output["output"] if isinstance(output, dict) else output, final

    def encode_states(self, segments: Tensor, state: Any = None) -> tuple[Tensor, list[list[Tensor]], Any]:
        """As `encode`; with each of the layers' states after each segment, (K, R, L, width)."""
        names, layers = (
            [spec.name for spec in self.recurrent.cell.graph.states],
            range(self.recurrent.num_layers),
        )
        emit = [f"l{layer}.{name}" for name in names for layer in layers]
        read, further = self._inputs.of(segments)
        output, final = self.recurrent(read, state, inputs=further, emit=emit)
        each = [torch.stack([output[f"l{layer}.{name}"] for layer in layers], 2) for name in names]
        return output["output"], [each], final

    def decode(
        self, states: Tensor, windows: Tensor, groups: Tensor, ahead: Tensor, units: Tensor
    ) -> NetworkForecast:
        """From states (n, D) and what is known at their steps the forecast."""
        given = units_of(units, windows)
        said = self._say(states, windows, groups, ahead, given)
        return self._shifted(self.distribution.forecast(said, given))

    def draw(
        self,
        states: Tensor,
        windows: Tensor,
        ahead: Tensor,
        units: Tensor,
        groups: Tensor,
        uniforms: Tensor,
    ) -> Tensor:
        """(n,) a value of each origin's next step, from numbers (2, n) between 0 and 1."""
        given = units_of(units, windows)
        said = self._say(states, windows, groups, ahead, given)
        first = tuple(part[:, 0] for part in said)
        return self.distribution.draw(first, Units(*(part[:, 0] for part in given)), uniforms)

    def _say(
        self, states: Tensor, windows: Tensor, groups: Tensor, ahead: Tensor, units: Units
    ) -> tuple[Tensor, ...]:
        return self.distribution.read(*self._numbers(states, windows, groups, ahead), units)

    def _numbers(
        self, states: Tensor, windows: Tensor, groups: Tensor, ahead: Tensor
    ) -> tuple[Tensor, Tensor]:
        """What the distribution reads: (n, H) and (n, H, B)."""
        states = self.from_state(unit_dropout(states, self.dropout, self.training))
        found = self.output(self._hidden(states, ahead))
        found = found.unflatten(-1, (self._steps, -1)).flatten(1, 2)[:, : self.layout.horizon]
        own = groups if len(self.base) > 1 else torch.zeros_like(groups)
        mean, others = found[..., 0], found[..., 1:] + (self.base[own] if len(self.base) > 1 else self.base)
        if self.linear is not None:
            mean = mean + self._line(windows, own)
        if self.spread is not None:
            logarithm = others[..., :1] + F.linear(_moves(windows), self.spread)[..., None]
            others = torch.cat([logarithm, others[..., 1:]], -1)
        return mean, others

    def _hidden(self, states: Tensor, ahead: Tensor) -> Tensor:
        """(n, J, hidden size) of states (n, hidden size) and what is known of the horizon's segments (n, J, F), after
        dropout."""
        weight, rate = self.from_ahead.weight, self.dropout if self.training else 0.0
        place = F.linear(self.place, weight[:, :POSITION])
        if self.decoder is None and fuses(states):
            return hidden_units(states, place, ahead, weight[:, POSITION:], rate)
        known = F.linear(ahead, weight[:, POSITION:]) + place
        if self.decoder is None:
            return unit_dropout(torch.tanh(states[:, None] + known), rate, self.training)
        start = self.decoder.initial_state(len(states))
        first = torch.tanh(states)[None]
        output, _ = self.decoder(
            known.transpose(0, 1), first if isinstance(start, Tensor) else (first, *start[1:])
        )
        hidden = (output["output"] if isinstance(output, dict) else output).transpose(0, 1)
        return unit_dropout(hidden, rate, self.training)

    def _line(self, windows: Tensor, own: Tensor) -> Tensor:
        """(n, H) what the linear map of each of n windows, of number `own` (n,), says."""
        maps = cast("Tensor", self.linear)
        if len(maps) == 1:
            return F.linear(windows, maps[0])
        order = own.argsort(stable=True)
        counts = own.bincount(minlength=len(maps)).tolist()
        parts = [F.linear(rows, map) for rows, map in zip(windows[order].split(counts), maps, strict=True)]
        return torch.cat(parts)[order.argsort()]

    def _shifted(self, found: NetworkForecast) -> NetworkForecast:
        """In eval mode with the quantiles moved by the shifts, in rising order; of paths they are moved later."""
        if self.training or self.shifts is None or self.autoregressive:
            return found
        return self.shifted(found, self.shifts.to(found.quantiles))

    def shifted(self, found: NetworkForecast, shifts: Tensor) -> NetworkForecast:
        """With the quantiles moved by shifts (H, Q), in rising order."""
        middle = self.distribution.middle
        shifted = found.quantiles + shifts
        low = shifted[..., : middle + 1].flip(-1).cummin(-1).values.flip(-1)
        high = shifted[..., middle:].cummax(-1).values[..., 1:]
        return NetworkForecast(found.mean, torch.cat([low, high], -1))


class ForecastEnsemble(nn.Module):
    """Several trained networks of one layout: the mean of their means, and of their quantiles; in eval mode alone."""

    def __init__(self, networks: Sequence[ForecastNetwork]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)
        self.members, self.autoregressive = tuple(networks), networks[0].autoregressive
        self.counts = any(network.counts for network in networks)
        self.sizes = [network.recurrent.output_size for network in networks]

    @property
    def layers(self) -> tuple[Recurrent, ...]:
        """The recurrent layers of each network."""
        return tuple(network.recurrent for network in self.members)

    @property
    def correlations(self) -> Tensor | None:
        """(H, H) the mean of the networks' own, or None where one has none."""
        each = [network.correlations for network in self.members]
        known = [own for own in each if own is not None]
        return torch.stack(known).mean(0) if len(known) == len(each) else None

    @property
    def cell_inputs(self) -> tuple[CellInputs, ...]:
        """What the cell of each network's layers reads of a segment."""
        return tuple(network._inputs for network in self.members)

    def encode(
        self, segments: Tensor, state: Sequence[object] | None = None, lengths: Tensor | None = None
    ) -> tuple[Tensor, tuple[object, ...]]:
        """As `ForecastNetwork.encode`: the networks' states side by side, (K, R, sum of D)."""
        before = state or [None] * len(self.members)
        each = [
            network.encode(segments, own, lengths) for network, own in zip(self.members, before, strict=True)
        ]
        return torch.cat([states for states, _ in each], -1), tuple(final for _, final in each)

    def encode_states(
        self, segments: Tensor, state: Sequence[object] | None = None
    ) -> tuple[Tensor, list[list[Tensor]], tuple[object, ...]]:
        """As `ForecastNetwork.encode_states`, of each network."""
        before = state or [None] * len(self.members)
        each = [
            network.encode_states(segments, own) for network, own in zip(self.members, before, strict=True)
        ]
        outputs, states, finals = zip(*each, strict=True)
        return torch.cat(outputs, -1), [own for (own,) in states], finals

    def decode(
        self, states: Tensor, windows: Tensor, groups: Tensor, ahead: Tensor, units: Tensor
    ) -> NetworkForecast:
        """As `ForecastNetwork.decode`."""
        each = [
            network.decode(own, windows, groups, ahead, units)
            for network, own in zip(self.members, states.split(self.sizes, -1), strict=True)
        ]
        means, quantiles = zip(*each, strict=True)
        return NetworkForecast(torch.stack(means).mean(0), torch.stack(quantiles).mean(0))


def _spans(window: int) -> list[int]:
    """The last steps over which it is told how far the window moved: a week, a month and a quarter of trading days, and
    all."""
    return [*(span for span in _SPANS if span < window - 1), window - 1]


def _moves(windows: Tensor) -> Tensor:
    """(n, V) of windows (n, L) the logarithms of the root mean squares of their steps over some last ones (Corsi 2009,
    "A simple approximate long-memory model of realized volatility"); and the last step, and the mean of the last five,
    since falls are followed by more than rises."""
    steps = windows.diff(dim=-1)
    squares = [steps[:, -span:].square().mean(-1) for span in _spans(windows.shape[-1])]
    logarithms = 0.5 * (torch.stack(squares, -1) + _LEAST_SQUARE).log()
    recent = torch.stack([steps[:, -1], steps[:, -5:].mean(-1)], -1)
    return torch.cat([logarithms, recent.clamp(-_FAR, _FAR)], -1)


def _plain(cell: Cell) -> Cell | str:
    """The cell, or a GRU where it reads more than one input."""
    return cell if len(cell.graph.inputs) == 1 else "gru"


def units_of(units: Tensor, windows: Tensor) -> Units:
    """Of n origins, from the value and the scale there, (n, 2), and the windows, (n, L)."""
    value, scale = units.unsqueeze(1).unbind(-1)
    return Units(value, scale, value + scale * windows.mean(-1, keepdim=True))
