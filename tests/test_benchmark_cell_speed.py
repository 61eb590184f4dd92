"""The benchmark of the catalogue's speed: it times what gives the reference's results, and refuses other ones."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

import gatework as gw

FOLDER = Path(__file__).resolve().parent.parent / "benchmarks"


@pytest.fixture
def cell_speed(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(FOLDER))
    for name in ("layers", "peers", "machine", "peak", "isa", "shapes", "cell_speed"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return importlib.import_module("cell_speed")


def test_each_cell_stands_beside_the_lstm(cell_speed: ModuleType) -> None:
    rows = cell_speed.measure(["min_gru", "sru"], units=5, steps=3, rows=2, seconds=0.0)
    assert [(row["cell"], row["mode"]) for row in rows] == [
        (cell, mode) for mode in ("forward", "training") for cell in ("min_gru", "sru")
    ]
    for row in rows:
        assert row["torch_lstm_over_it"] == row["torch_lstm_ms"] / row["ms"] > 0
        assert row["products"] == {"min_gru": 2, "sru": 4}[row["cell"]]


def test_other_results_are_refused(cell_speed: ModuleType) -> None:
    class Wrong(gw.Recurrent):
        def forward(self, input: Any, *arguments: Any, **options: Any) -> Any:
            output, state = super().forward(input, *arguments, **options)
            return output * (1.1 if input.dtype == torch.float32 else 1.0), state

    with pytest.raises(SystemExit, match="its forward differs"):
        cell_speed.check(Wrong("min_gru", 3, 3), torch.randn(4, 2, 3))
