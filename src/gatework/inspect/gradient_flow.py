"""How a loss's gradient flows backwards in time: whether it vanishes, explodes or is kept, and how fast."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from gatework.backends import backend
from gatework.errors import MissingExtraError
from gatework.layers import Recurrent, record

__all__ = ["GradientFlow", "StateFlow", "draw_gradient_flow", "gradient_flow", "lyapunov_exponents"]

Verdict = Literal["vanishes", "explodes", "is kept"]

_CHANGE = 100.0  # by so much a gradient has changed that vanishes or explodes
_LEFT_OUT = (
    0.1  # share of the steps nearest to the loss that a rate is not fitted to: there the direction turns
)
_FEWEST = 4  # points of a line
_SAME = (
    100.0  # times as many steps as there are: a gradient that takes so long to double or halve stays as it is
)
_SIZE = (8.0, 4.5)  # inches
_MOST_ROWS = 16


@dataclass(frozen=True)
class StateFlow:
    """The gradient at one state of one layer.

    Attributes:
        name: as on a tape, "l0.h".
        norms: (T, B) float64: index [k, b] is the norm of row b's gradient, over the units, k steps before the step
            that the layer reads last; NaN before its first step.
        mean: (T,) float64: geometric mean of `norms` over the rows that have that step; 0 where any is 0.
        rate: change of log(mean) a step backwards, fitted to a line; positive: the gradient grows. In the limit of
            long sequences the largest rate of a stack is the largest Lyapunov exponent of its states' dynamics
            (`lyapunov_exponents`). NaN where fewer than four means are neither zero nor infinite.
    """

    name: str
    norms: Tensor
    mean: Tensor
    rate: float

    @property
    def change(self) -> float:
        """By what factor the gradient changes over all steps, by its rate."""
        return math.exp(min(self.rate * (len(self.mean) - 1), 700.0))

    @property
    def verdict(self) -> Verdict:
        """In words: it changes by a factor of 100 or more over the steps at hand, or is kept."""
        if math.isnan(self.rate):  # nothing but zeros and infinities
            return "explodes" if self.mean.isinf().any() else "vanishes"
        return "vanishes" if self.change < 1 / _CHANGE else "explodes" if self.change > _CHANGE else "is kept"

    def __str__(self) -> str:
        steps = len(self.mean) - 1
        if math.isnan(self.rate):
            return f"{self.name}: the gradient {self.verdict} within fewer than {_FEWEST} steps"
        half = math.log(2) / abs(self.rate) if self.rate else math.inf
        how = f"{'doubles' if self.rate > 0 else 'halves'} every {half:.3g} steps back"
        if half > _SAME * steps:
            how = "stays as it is"
        return (
            f"{self.name}: the gradient {self.verdict}: it {how}, and over {steps} steps it changes by a factor of "
            f"{self.change:.2g} (rate {self.rate:+.4g} a step)"
        )


@dataclass(frozen=True)
class GradientFlow:
    """The gradient of one loss at every state of every layer.

    Attributes:
        states: by name, in the order of the layers.
    """

    states: Mapping[str, StateFlow]

    @property
    def worst(self) -> StateFlow:
        """The state whose gradient changes most."""
        return max(
            self.states.values(), key=lambda state: abs(state.rate) if state.rate == state.rate else math.inf
        )

    def __str__(self) -> str:
        return "\n".join(map(str, self.states.values()))


def gradient_flow(
    module: nn.Module,
    input: Any,
    *,
    loss: Callable[[Any], Tensor] | None = None,
    lengths: Sequence[int] | Tensor | None = None,
    **call: Any,
) -> GradientFlow:
    """Measures the gradient at every state of every recurrent layer of a module, step by step back from the end.

    The module runs in eval mode, on the backend that it would take; its weights and their gradients stay as they are.
    (Pascanu, Mikolov and Bengio 2013, arXiv:1211.5063, on why this norm grows or falls exponentially.)

    Args:
        module: a `gw.Recurrent`, or a module with some inside.
        input: its first argument: of a layer (T, B, I), (B, T, I) if batch_first.
        loss: of what the module returns, a scalar that reads the last step, or any other that is to be followed. By
            default, of a layer: the sum over all final states, each weighed by a random vector of length 1 a row.
        lengths: (B,) steps of each row.
        call: further arguments of the call.

    Raises:
        ValueError: no recurrent layer was called, no row has a step, or a module that is no layer was given
            without a loss.
    """
    if loss is None and not isinstance(module, Recurrent):
        raise ValueError(
            f"{type(module).__name__} is no recurrent layer: say what is differentiated, loss=…."
        )
    if lengths is not None:
        lengths = call["lengths"] = torch.as_tensor(lengths)
        if not (lengths > 0).any():
            raise ValueError("no row has a step, and there is nothing to follow.")

    def run() -> Tensor:
        result = module(input, **call)
        return _final_loss(result[1]) if loss is None else loss(result)

    return flow_of(module, run, lengths)


def flow_of(module: nn.Module, run: Callable[[], Tensor], lengths: Tensor | None = None) -> GradientFlow:
    """As `gradient_flow`, of the scalar that `run` gives when it calls the module."""
    with in_eval(module), torch.enable_grad(), record(module, ()) as tape:
        value = run()
    if not tape.calls:
        raise ValueError(f"{type(module).__name__} called no recurrent layer of Gatework.")
    gradients = {name: gradient.double() for name, gradient in tape.gradients(value).items()}

    def counts(gradient: Tensor) -> Tensor:
        steps, rows = gradient.shape[:2]
        return torch.full((rows,), steps) if lengths is None else lengths.clamp(max=steps)

    return GradientFlow(
        {name: _state_flow(name, gradient, counts(gradient)) for name, gradient in gradients.items()}
    )


def _state_flow(name: str, gradient: Tensor, counts: Tensor) -> StateFlow:
    """Of a gradient (T, B, size), whose rows have so many steps, (B,)."""
    by_step = gradient.norm(dim=-1)
    steps = len(by_step)
    norms = torch.full_like(by_step, math.nan)
    for row, count in enumerate(counts.tolist()):
        own = by_step[:count, row]
        # The second direction reads a sequence from its end: its last step is the first one.
        norms[:count, row] = own if "_reverse" in name else own.flip(0)
    norms = norms[: int(counts.max())]
    mean = norms.log().nanmean(1).exp()
    first = math.ceil(_LEFT_OUT * steps)
    return StateFlow(name, norms, mean, _slope(mean.log(), first))


def _slope(values: Tensor, first: int) -> float:
    """The least-squares slope of (T,) values over their index, from `first` on, where they are finite; else NaN."""
    places = torch.arange(len(values), dtype=torch.float64)
    usable = values.isfinite() & (places >= first)
    if usable.sum() < _FEWEST:
        usable = values.isfinite()
    if usable.sum() < _FEWEST:
        return math.nan
    x, y = places[usable], values[usable]
    x = x - x.mean()
    return float((x * y).sum() / (x * x).sum())


def _final_loss(states: Any) -> Tensor:
    """The sum of all final states, each weighed by a random vector of length 1 a row, always the same ones."""
    generator = torch.Generator().manual_seed(0)
    terms = []
    for state in _tensors(states):
        weights = torch.randn(state.shape, generator=generator, dtype=torch.float64)
        weights = weights / weights.norm(dim=-1, keepdim=True)
        terms.append((state * weights.to(state)).sum())
    return torch.stack(terms).sum()


def _tensors(states: Any) -> list[Tensor]:
    if isinstance(states, Tensor):
        return [states]
    return [tensor for each in states for tensor in _tensors(each)]


@contextmanager
def in_eval(module: nn.Module) -> Iterator[None]:
    modes = {inner: inner.training for inner in module.modules()}
    module.eval()
    try:
        yield
    finally:
        for inner, training in modes.items():
            inner.training = training


def lyapunov_exponents(layer: Recurrent, input: Tensor, count: int = 1) -> Tensor:
    """The largest Lyapunov exponents of a layer's states as the input drives them, by products of step Jacobians.

    Tangent vectors are carried forward through the Jacobian of each step and made orthonormal again (Benettin et al.
    1980; for recurrent networks Vogt et al. 2022, arXiv:2006.14123). The largest one is the rate at which a gradient
    grows (positive) or vanishes (negative) a step backwards, which `gradient_flow` fits without any Jacobian.

    Args:
        layer: of one direction; its stack's states are one vector, of all layers.
        input: (T, B, I), (B, T, I) if batch_first.
        count: how many, the largest first; at most the units of all states.

    Returns:
        (count,) float64, a step, the mean over the B rows and the steps past the first tenth.

    Raises:
        ValueError: a bidirectional layer, whose states are no function of those before; count out of range.
    """
    if layer.bidirectional:
        raise ValueError("a bidirectional layer has no step: give a layer of one direction.")
    x = input.transpose(0, 1) if layer.batch_first else input
    with in_eval(layer), torch.no_grad(), backend("eager"):
        start = layer(_steps(layer, x[:1]))[1]
        sizes = [state.shape[0] * state.shape[-1] for state in _tensors(start)]
        if not 1 <= count <= sum(sizes):
            raise ValueError(f"count={count}: the states have {sum(sizes)} units together.")

        def step(flat: Tensor, now: Tensor) -> Tensor:
            """(B, D) to (B, D)."""
            states = _as(start, iter(flat.split(sizes, dim=-1)))
            return _flat(layer(_steps(layer, now[None]), states)[1])

        flat = _flat(start)
        generator = torch.Generator().manual_seed(0)
        drawn = [torch.randn(flat.shape, generator=generator, dtype=torch.float64) for _ in range(count)]
        tangents = torch.linalg.qr(torch.stack(drawn, -1).to(flat)).Q
        first = math.ceil(_LEFT_OUT * len(x))
        growth = torch.zeros(count, dtype=torch.float64)
        for number, now in enumerate(x[1:], start=1):
            pushed = torch.func.vmap(
                lambda tangent, now=now, flat=flat: torch.func.jvp(
                    lambda value: step(value, now), (flat,), (tangent,)
                )[1],
                in_dims=-1,
                out_dims=-1,
            )(tangents)
            flat = step(flat, now)
            tangents, scale = torch.linalg.qr(pushed)
            if number >= first:
                growth += scale.diagonal(dim1=-2, dim2=-1).abs().double().log().mean(0)
    return growth / max(len(x) - max(first, 1), 1)


def _flat(states: Any) -> Tensor:
    """(B, D): all states of a row, one after another."""
    return torch.cat([state.transpose(0, 1).flatten(1) for state in _tensors(states)], dim=-1)


def _as(states: Any, parts: Iterator[Tensor]) -> Any:
    """What `_flat` made, (B, ·) a part, in the form of such states."""
    if isinstance(states, Tensor):
        return next(parts).unflatten(-1, (states.shape[0], -1)).transpose(0, 1)
    return tuple(_as(each, parts) for each in states)


def _steps(layer: Recurrent, x: Tensor) -> Tensor:
    return x.transpose(0, 1) if layer.batch_first else x


def draw_gradient_flow(flow: GradientFlow, path: str | os.PathLike[str]) -> None:
    """The norm of the gradient over the steps back, on a logarithmic axis, in the format that the path's suffix names.

    A line for each state, the mean over the rows; dashed, the line whose slope is its rate; pale, the rows themselves.

    Raises:
        ValueError: a suffix that names no format.
        MissingExtraError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise MissingExtraError("matplotlib", "inspect") from error
    figure = Figure(figsize=_SIZE, layout="constrained")
    panel = figure.subplots()
    for number, state in enumerate(flow.states.values()):
        colour = f"C{number % 10}"
        back = range(len(state.mean))
        mean = state.mean.where(state.mean > 0, math.nan)
        for row in state.norms.T[:_MOST_ROWS]:
            panel.plot(back, row.where(row > 0, math.nan), color=colour, alpha=0.15, linewidth=0.8)
        label = (
            state.name
            if math.isnan(state.rate)
            else f"{state.name}: {state.rate:+.3g} a step, {state.verdict}"
        )
        panel.plot(back, mean, color=colour, label=label)
        if state.rate == state.rate:
            middle = mean.log().nanmean() + state.rate * (torch.arange(len(mean)) - _middle(mean))
            panel.plot(back, middle.exp(), color=colour, linestyle="--", linewidth=0.8)
    panel.set_yscale("log")
    panel.set_xlabel("steps back from the end")
    panel.set_ylabel("norm of the gradient at the state")
    panel.grid(alpha=0.3)
    panel.legend(fontsize="small")
    figure.savefig(path, dpi=144)


def _middle(mean: Tensor) -> float:
    """The mean index of the values that are there."""
    return float(torch.arange(len(mean), dtype=torch.float64)[mean.isfinite()].mean())
