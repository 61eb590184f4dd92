"""Gatework: recurrent sequence models written as their equations.

The words of the equations (`linear`, `sigmoid`, …), the catalogue of cells (`lstm`, `gru`, …), the layers
(`LSTM`, `Recurrent`, …) and the tasks (`LanguageModel`, …) are here. Each is imported when it is first asked
for: the command line answers before torch is loaded, and a layer needs none of what a task needs.
"""

from __future__ import annotations

import importlib
import pkgutil
from importlib.metadata import version as _version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gatework.backends import BackendError, Choice, backend
    from gatework.cells import (  # type: ignore[no-redef]  # each is a module of its name as well
        bahdanau_gru,
        bahdanau_lstm,
        cho_gru,
        coupled_lstm,
        ctrnn,
        elman,
        gru,
        gru_original,
        ind_rnn,
        layer_norm_gru,
        layer_norm_lstm,
        lstm,
        luong_lstm,
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
    from gatework.layers import (  # type: ignore[no-redef]
        GRU,
        LSTM,
        RNN,
        Attention,
        AttentionPooling,
        GRUCell,
        Linear,
        LSTMCell,
        Recurrent,
        RecurrentCell,
        RNNCell,
        Stream,
        Tape,
        explain,
        record,
        replace,
    )
    from gatework.tasks import load
    from gatework.tasks.chat_bot import ChatBot
    from gatework.tasks.language_model import LanguageModel
    from gatework.tasks.translator import Translator

__version__ = _version("gatework")

# Where the names of __all__ live, in the order of the import chain: torch comes with the backends.
_HOMES = (
    "gatework.errors",
    "gatework.graph",
    "gatework.graph.language",
    "gatework.cells",
    "gatework.backends",
    "gatework.layers",
)
_TASKS = {
    "load": "gatework.tasks",
    "LanguageModel": "gatework.tasks.language_model",
    "ChatBot": "gatework.tasks.chat_bot",
    "Translator": "gatework.tasks.translator",
}
_PARTS = tuple(part.name for part in pkgutil.iter_modules(__path__) if not part.name.startswith("_"))


def __getattr__(name: str) -> Any:
    if name in _PARTS:
        return importlib.import_module(f"gatework.{name}")
    if name in __all__:
        for home in [_TASKS[name]] if name in _TASKS else _HOMES:
            module = importlib.import_module(home)
            if hasattr(module, name):
                globals()[name] = getattr(module, name)  # asked once
                return globals()[name]
    raise AttributeError(f"module 'gatework' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_PARTS})


__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "Attention",
    "AttentionPooling",
    "BackendError",
    "Cell",
    "ChatBot",
    "Choice",
    "GRUCell",
    "GateworkError",
    "GraphError",
    "Input",
    "InputError",
    "LSTMCell",
    "LanguageModel",
    "Linear",
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
    "Translator",
    "abs",
    "attend",
    "backend",
    "bahdanau_gru",
    "bahdanau_lstm",
    "cell",
    "cho_gru",
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
    "luong_lstm",
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
