"""What `import gatework` offers: each name is found where it lives, and type checkers are told the same."""

from __future__ import annotations

import pkgutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import gatework
from gatework import cells
from gatework.graph import Cell

sys.path.insert(0, str(Path(__file__).parent.parent / "docs"))

import stubs

# What users may have written: none of these goes.
KNOWN = """
    GRU LSTM RNN Attention AttentionPooling BackendError Cell ChatBot Choice GRUCell GateworkError GraphError Input
    InputError LSTMCell LanguageModel Linear LinearChainCRF Memory RNNCell Recurrent RecurrentCell RunError State
    Static Stream Tape TraceError Translator abs attend backend cell clip cos elu emit exp explain gate hard_sigmoid
    layer_norm leaky_relu linear load log log_sigmoid maximum minimum project record relu replace show sigmoid sin
    softmax softplus softsign sqrt stop_gradient tanh vector where
"""


def test_every_public_name_is_there() -> None:
    public = gatework.__all__
    assert set(KNOWN.split()) | set(cells.names()) <= set(public)
    assert public == sorted(set(public))
    for name in public:
        value = getattr(gatework, name)
        assert not isinstance(value, ModuleType)
        assert name in dir(gatework)


def test_every_part_is_an_attribute() -> None:
    parts = [part.name for part in pkgutil.iter_modules(gatework.__path__) if not part.name.startswith("_")]
    assert {"inspect", "cli", "graph", "cells", "errors"} <= set(parts)
    for part in parts:
        assert isinstance(getattr(gatework, part), ModuleType)
        assert part in dir(gatework)


def test_every_file_of_the_catalogue_is_a_cell_of_its_name() -> None:
    files = {file.name for file in pkgutil.iter_modules(cells.__path__)} - {"catalogue", "load"}
    assert sorted(files) == cells.names()
    for name in files:
        assert isinstance(getattr(cells, name), Cell)
        assert getattr(cells, name) is cells.get(name) is getattr(gatework, name)
        assert cells.get(name).name == name


def test_the_stubs_are_made_from_the_tables() -> None:
    for path, text in stubs.stubs().items():
        assert path.read_text("utf-8") == text, f"{path} is stale: run python docs/stubs.py"


def in_a_fresh_process(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def test_names_are_found_without_torch() -> None:
    code = """
import sys, gatework
gatework.lstm, gatework.sigmoid, gatework.InputError, gatework.graph, dir(gatework), gatework.__all__
assert not hasattr(gatework, "lstmm")
print("torch" in sys.modules)
"""
    assert in_a_fresh_process(code).split() == ["False"]


def test_everything_can_be_imported_at_once() -> None:
    assert in_a_fresh_process("from gatework import *\nprint(LSTM, lstm, sigmoid, load)").startswith("<class")


def test_a_cell_is_a_cell_whoever_imports_its_file_first() -> None:
    code = """
from gatework.cells.gru import gru as first
import gatework
print(gatework.cells.gru is gatework.gru is first)
"""
    assert in_a_fresh_process(code).split() == ["True"]
