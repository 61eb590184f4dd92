"""Measuring a cost table: the engine beside torch's fused operators, in turns, by kind of layer and shape."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import nn

from gatework.backends import backend
from gatework.backends.llvm.codegen import target as engine_target
from gatework.backends.processor import identity
from gatework.backends.tuned_table import Ratios, TunedTable
from gatework.errors import GateworkError
from gatework.layers.torch_like import GRU, LSTM, RNN

Shape = tuple[int, int]
"""B and H; the input is as wide as the layer."""

SHAPES: tuple[Shape, ...] = tuple(
    (rows, hidden)
    for rows in (1, 4, 8, 16, 32, 48, 128)
    for hidden in (32, 64, 128, 200, 300, 512, 1024)
    if rows * hidden < 1 << 16
)
KINDS = {"lstm": (LSTM, nn.LSTM), "gru": (GRU, nn.GRU), "rnn": (RNN, nn.RNN)}
MINUTES = 3
"""About what measuring all shapes takes."""

_STEPS = (10, 50)  # of a sequence: the fewest, where a step is much work, and the most
_WORK = 8e8  # operations of a sequence, about
_LEAST_TURNS = 4
_TOLERANCE = 1e-3  # of the output, relative to its largest entry


class TuningError(GateworkError, RuntimeError):
    """The engine and torch give other numbers: no speed of theirs means anything."""


def tune(
    shapes: Sequence[Shape] | None = None,
    *,
    seconds: float = 0.2,
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> TunedTable:
    """Measures how many times as long torch's operators take as the engine, in float32 and forward or training.

    Args:
        shapes: B and H of each measurement; by default `SHAPES`.
        seconds: that a measurement takes at least.
        progress: is told the number of measurements done, and of all of them.

    Raises:
        TuningError: the numbers differ.
    """
    shapes = SHAPES if shapes is None else shapes
    ratios: dict[str, list[tuple[int, int, float, float]]] = {kind: [] for kind in KINDS}
    for done, (kind, rows, hidden) in enumerate((kind, *shape) for kind in KINDS for shape in shapes):
        ratios[kind].append((rows, hidden, *_measured(kind, rows, hidden, seconds)))
        progress(done + 1, len(KINDS) * len(shapes))
    return TunedTable(
        **identity(engine_target.host()),
        threads=torch.get_num_threads(),
        ratios=Ratios(**{kind: tuple(own) for kind, own in ratios.items()}),
    )


def _measured(kind: str, rows: int, hidden: int, seconds: float) -> tuple[float, float]:
    """Torch's time over the engine's: forward, and training."""
    ours, theirs = (make(hidden, hidden) for make in KINDS[kind])
    ours.load_state_dict(theirs.state_dict())
    steps = int(min(max(_WORK / (16 * rows * hidden**2), _STEPS[0]), _STEPS[1]))
    x = torch.randn(steps, rows, hidden)
    pair = [_calls(ours, x), _calls(theirs, x)]
    mine, other = (forward() for forward, _ in pair)
    difference = ((mine - other).abs().max() / other.abs().max()).item()
    if not difference <= _TOLERANCE:  # NaN is refused too
        raise TuningError(
            f"{kind}, B={rows}, H={hidden}: the engine's output differs from torch's by {difference:.1e}."
        )
    (our_forward, our_training), (their_forward, their_training) = pair
    return _ratio(our_forward, their_forward, seconds), _ratio(our_training, their_training, seconds)


def _calls(layer: nn.Module, x: torch.Tensor) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """A forward pass without gradients, and a forward and backward pass."""

    def forward() -> torch.Tensor:
        with torch.no_grad(), backend("llvm"):
            output: torch.Tensor = layer(x)[0]
        return output

    def training() -> None:
        layer.zero_grad()
        with backend("llvm"):
            layer(x)[0].sum().backward()

    return forward, training


def _ratio(ours: Callable[[], Any], theirs: Callable[[], Any], seconds: float) -> float:
    """Their time over ours, of each the best of its turns: what else the machine does can only add to a time."""
    ours(), theirs()
    begin = time.perf_counter()
    ours()
    repeat = max(1, round(1e-3 / (time.perf_counter() - begin)))
    turns: list[tuple[float, float]] = []
    for turn in _turns(ours, theirs, repeat):
        turns.append(turn)
        if len(turns) >= _LEAST_TURNS and time.perf_counter() - begin > seconds:
            break
    mine, other = (min(times) for times in zip(*turns, strict=True))
    return round(other / mine, 2)


def _turns(ours: Callable[[], Any], theirs: Callable[[], Any], repeat: int) -> Iterator[tuple[float, float]]:
    """Seconds of so many calls of each, turn by turn; who is first changes."""
    swapped = False
    while True:
        times = {}
        for call in (theirs, ours) if swapped else (ours, theirs):
            begin = time.perf_counter()
            for _ in range(repeat):
                call()
            times[call] = time.perf_counter() - begin
        yield times[ours], times[theirs]
        swapped = not swapped
