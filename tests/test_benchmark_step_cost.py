"""The benchmark of a training step's fixed cost: it times what gives torch.nn's gradients, and refuses other ones."""

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
def step_cost(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(FOLDER))
    for name in ("layers", "peers", "machine", "peak", "isa", "shapes", "step_cost"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return importlib.import_module("step_cost")


def test_every_mode_runs_for_both(step_cost: ModuleType) -> None:
    modes = step_cost.contestants("GRU")
    assert list(modes) == ["inference", "forward", "backward too", "step"]
    for mode, calls in modes.items():
        assert list(calls) == ["gatework", "torch"]
        results = [call() for call in calls.values()]
        if mode in ("inference", "forward"):
            assert [result.requires_grad for result in results] == [mode == "forward"] * 2


def test_other_gradients_are_refused(step_cost: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    class Wrong(gw.LSTM):
        def forward(self, *arguments: Any, **options: Any) -> Any:
            output, state = super().forward(*arguments, **options)
            return output * 1.1, state

    def replaced(layer: torch.nn.LSTM) -> gw.LSTM:
        return Wrong(layer.input_size, layer.hidden_size)

    monkeypatch.setattr(gw, "replace", replaced)
    with pytest.raises(SystemExit, match="its gradients differ"):
        step_cost.contestants("LSTM")
