"""Gatework: recurrent sequence models written as their equations.

The words of the equations (`linear`, `sigmoid`, …), the catalogue of cells (`lstm`, `gru`, …) and the layers
(`LSTM`, `Recurrent`, …) are here. Tasks are imported when they are first asked for, since they need more
packages than the core.
"""

from __future__ import annotations

from importlib.metadata import version as _version
from typing import TYPE_CHECKING, Any

from gatework.backends import BackendError, Choice, backend
from gatework.cells import (
    coupled_lstm,
    ctrnn,
    elman,
    gru,
    gru_original,
    ind_rnn,
    layer_norm_gru,
    layer_norm_lstm,
    lstm,
    minimal_gated_unit,
    peephole_lstm,
    projected_lstm,
    slstm,
)
from gatework.errors import GateworkError, InputError, RunError
from gatework.graph import Cell, GraphError, Input, Memory, State, Static, TraceError, cell, show
from gatework.graph.language import (
    abs,
    attend,
    clip,
    cos,
    elu,
    emit,
    exp,
    gate,
    hard_sigmoid,
    layer_norm,
    leaky_relu,
    linear,
    log,
    log_sigmoid,
    maximum,
    minimum,
    project,
    relu,
    sigmoid,
    sin,
    softmax,
    softplus,
    softsign,
    sqrt,
    stop_gradient,
    tanh,
    vector,
    where,
)
from gatework.layers import (
    GRU,
    LSTM,
    RNN,
    GRUCell,
    LSTMCell,
    Recurrent,
    RecurrentCell,
    RNNCell,
    Stream,
    Tape,
    record,
    replace,
)

if TYPE_CHECKING:
    from torch import Tensor

    from gatework.tasks import load
    from gatework.tasks.language_model import LanguageModel

__version__ = _version("gatework")

_LAZY = {"load": "gatework.tasks", "LanguageModel": "gatework.tasks.language_model"}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        import importlib

        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'gatework' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_LAZY])


def explain(layer: Recurrent, input: Tensor | None = None) -> Choice:
    """The backend that a call of a layer would take now, and why.

    Args:
        input: what the layer would be called with.
    """
    return layer.explain(input)


__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "BackendError",
    "Cell",
    "Choice",
    "GRUCell",
    "GateworkError",
    "GraphError",
    "Input",
    "InputError",
    "LSTMCell",
    "LanguageModel",
    "Memory",
    "RNNCell",
    "Recurrent",
    "RecurrentCell",
    "RunError",
    "State",
    "Static",
    "Stream",
    "Tape",
    "TraceError",
    "abs",
    "attend",
    "backend",
    "cell",
    "clip",
    "cos",
    "coupled_lstm",
    "ctrnn",
    "elman",
    "elu",
    "emit",
    "exp",
    "explain",
    "gate",
    "gru",
    "gru_original",
    "hard_sigmoid",
    "ind_rnn",
    "layer_norm",
    "layer_norm_gru",
    "layer_norm_lstm",
    "leaky_relu",
    "linear",
    "load",
    "log",
    "log_sigmoid",
    "lstm",
    "maximum",
    "minimal_gated_unit",
    "minimum",
    "peephole_lstm",
    "project",
    "projected_lstm",
    "record",
    "relu",
    "replace",
    "show",
    "sigmoid",
    "sin",
    "slstm",
    "softmax",
    "softplus",
    "softsign",
    "sqrt",
    "stop_gradient",
    "tanh",
    "vector",
    "where",
]
