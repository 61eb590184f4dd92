"""Gatework: recurrent sequence models written as their equations.

The words of the equations (`linear`, `sigmoid`, …), the catalogue of cells (`lstm`, `gru`, …), the layers
(`LSTM`, `Recurrent`, …) and the tasks (`LanguageModel`, …) are here. Each is imported when it is first asked
for: the command line answers before torch is loaded, and a layer needs none of what a task needs.

`__init__.pyi` says the same to type checkers and editors; `docs/stubs.py` makes it from this file.
"""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache
from importlib.metadata import version as _version
from typing import Any

__version__ = _version("gatework")

# Where public names live, but for those that are found: words of the equations, cells and tasks (`_homes`).
_NAMES = {
    "gatework.errors": ("GateworkError", "InputError", "RunError"),
    "gatework.graph": (
        "Cell",
        "GraphError",
        "Input",
        "Memory",
        "State",
        "Static",
        "TraceError",
        "cell",
        "show",
    ),
    "gatework.backends": ("BackendError", "Choice", "backend"),
    "gatework.layers": (
        "GRU",
        "LSTM",
        "RNN",
        "Attention",
        "AttentionPooling",
        "GRUCell",
        "LSTMCell",
        "Linear",
        "LinearChainCRF",
        "RNNCell",
        "Recurrent",
        "RecurrentCell",
        "Stream",
        "Tape",
        "explain",
        "record",
        "replace",
    ),
    "gatework.export": ("export_layer", "from_keras", "from_onnx"),
    "gatework.tasks": ("load",),
    "gatework.tasks.batch_prediction": ("Batch",),
    "gatework.tasks.sweeping": ("sweep",),
}
_PARTS = tuple(part.name for part in pkgutil.iter_modules(__path__) if not part.name.startswith("_"))


@cache
def _homes() -> dict[str, str]:
    """Public names to the modules that hold them; none of this imports torch."""
    from gatework.cells import CATALOGUE
    from gatework.graph.language import WORDS
    from gatework.tasks.names import TASKS

    homes = {name: module for module, names in _NAMES.items() for name in names}
    homes |= dict.fromkeys(WORDS, "gatework.graph.language")
    homes |= dict.fromkeys(CATALOGUE, "gatework.cells")
    classes = (place.split(":") for place in TASKS.values())
    return homes | {name: module for module, name in classes}


def __getattr__(name: str) -> Any:
    if name in _PARTS:
        return importlib.import_module(f"gatework.{name}")
    if name == "__all__":
        return sorted(_homes())
    if not name.startswith("_") and name in _homes():
        globals()[name] = getattr(importlib.import_module(_homes()[name]), name)  # asked once
        return globals()[name]
    raise AttributeError(f"module 'gatework' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_homes(), *_PARTS})
