"""What keeps a gradient that vanishes or explodes: each change of a layer measured on the same input."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gatework import cells as catalogue
from gatework.inspect.gradient_flow import GradientFlow, gradient_flow
from gatework.layers import Recurrent

__all__ = ["Remedy", "remedies"]

_WITHOUT_GATES = ("elman", "ind_rnn", "ctrnn")
_OPEN = 2.0  # the start of a forget gate's bias that lets 88 % of a memory through a step
_NORMALISED = {"lstm": "layer_norm_lstm", "gru": "layer_norm_gru", "elman": "layer_norm_lstm"}


@dataclass(frozen=True)
class Remedy:
    """A change of a layer, and what became of the gradient.

    Attributes:
        what: in words.
        change: the arguments of `gw.Recurrent` that differ, as they are written in Python; empty for the layer itself,
            drawn anew.
        flow: the gradient's way through a layer with the change, whose weights are drawn anew.
    """

    what: str
    change: str
    flow: GradientFlow

    def __str__(self) -> str:
        return f"{self.what}{f' ({self.change})' if self.change else ''}: {self.flow.worst}"


def remedies(layer: Recurrent, input: Tensor, *, seed: int = 0, **call: Any) -> list[Remedy]:
    """Measures the gradient's flow in layers like this one, each with one change that is known to help.

    Orthogonal recurrent weights (Saxe, McClelland and Ganguli 2014, arXiv:1312.6120), a forget gate that begins open
    (Jozefowicz, Zaremba and Sutskever 2015), gates, layer normalisation (Ba, Kiros and Hinton 2016, arXiv:1607.06450),
    residual layers. Weights are drawn anew for each, from the same seed: what a training makes of them is not known
    before. Against an exploding gradient training clips its norm as well (`clip_norm`), which changes no rate.

    Args:
        layer: of any cell; changes that its cell has no place for are left out.
        input, call: as for `gradient_flow`.

    Returns:
        The layer itself first, drawn anew; then the changes, the one that keeps the gradient best first.
    """
    changes: list[tuple[str, dict[str, Any]]] = []
    if layer.init != "keras":
        changes.append(("orthogonal recurrent weights", {"init": "keras"}))
    if any(name == "forget" for name, _ in layer.cell.graph.gates) and layer.forget_bias is None:
        changes.append(("a forget gate that begins open", {"forget_bias": _OPEN}))
    if layer.cell.name in _WITHOUT_GATES:
        changes.append(("a cell with gates", {"cell": "gru"}))
        changes.append(("gates, and a forget gate that begins open", {"cell": "lstm", "forget_bias": _OPEN}))
    if (cell := _NORMALISED.get(layer.cell.name)) is not None:
        changes.append(("layer normalisation", {"cell": cell}))
    if layer.num_layers > 1 and not layer.residual and not layer.stack.by_layer:
        changes.append(("residual layers", {"residual": True}))
    made = [_measured(layer, input, seed, call, *change) for change in changes]
    made.sort(key=lambda remedy: abs(_rate(remedy.flow)))
    return [_measured(layer, input, seed, call, "as it is, drawn anew", {}), *made]


def _rate(flow: GradientFlow) -> float:
    rate = flow.worst.rate
    return rate if rate == rate else float("inf")


def _measured(
    layer: Recurrent, input: Tensor, seed: int, call: dict[str, Any], what: str, change: dict[str, Any]
) -> Remedy:
    like = next(layer.parameters())
    arguments: dict[str, Any] = {
        "cell": layer.cell,
        "input_size": layer.input_size,
        "num_layers": layer.num_layers,
        "bias": layer.bias,
        "batch_first": layer.batch_first,
        "bidirectional": layer.bidirectional,
        "residual": layer.residual,
        "init": layer.init,
        "forget_bias": layer.forget_bias,
        "sizes": {name: size for name, size in layer.stack.named_sizes if name != "hidden_size"},
        "hidden_size": layer.hidden_size,
    }
    cell = catalogue.load(change["cell"]) if "cell" in change else layer.cell
    zoneout = layer.zoneout
    if isinstance(zoneout, Mapping):
        zoneout = {state.name: zoneout[state.name] for state in cell.graph.states if state.name in zoneout}
    arguments["zoneout"] = zoneout
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        other = Recurrent(**{**arguments, **change}, device=like.device, dtype=like.dtype)
    written = ", ".join(f"{name}={value!r}" for name, value in change.items())
    return Remedy(what, written, gradient_flow(other, input, **call))
