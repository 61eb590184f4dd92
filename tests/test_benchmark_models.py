"""The benchmark of users' models: each has the same numbers after `gw.replace`, and other numbers are refused."""

from __future__ import annotations

import copy
import importlib
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

import gatework as gw

FOLDER = Path(__file__).resolve().parent.parent / "benchmarks"
NAMES = ("layers", "peers", "machine", "peak", "isa", "shapes", "user_models", "models")


@pytest.fixture
def models(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(FOLDER))
    for name in NAMES:
        monkeypatch.delitem(sys.modules, name, raising=False)
    return importlib.import_module("models")


@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")  # torch.nn's own
def test_every_model_has_the_same_numbers_after_replace(models: ModuleType) -> None:
    assert len(models.MODELS) == 11
    for name, (make, draw) in models.MODELS.items():
        torch.manual_seed(0)
        before, inputs = make(), draw()
        after = gw.replace(copy.deepcopy(before))
        recurrent = (gw.Recurrent, gw.LSTMCell)
        assert any(isinstance(module, recurrent) for module in after.modules()), name
        assert not any(
            isinstance(module, torch.nn.RNNBase | torch.nn.RNNCellBase) for module in after.modules()
        )
        models.check(name, before, after, inputs)


def test_a_model_with_other_numbers_is_refused(models: ModuleType) -> None:
    make, draw = models.MODELS["GRU forecaster"]
    before, inputs = make(), draw()
    after = gw.replace(copy.deepcopy(before))
    with torch.no_grad():
        after.memory.weight_hh_l1.mul_(1.1)
    with pytest.raises(SystemExit, match=r"forecaster is wrong after gw\.replace: its output differs"):
        models.check("GRU forecaster", before, after, inputs)


def test_it_measures_and_means(models: ModuleType) -> None:
    threads = torch.get_num_threads()
    try:
        found = models.measure("GRU forecaster", 1, 0.0)
    finally:
        torch.set_num_threads(threads)
    assert found["forward"]["ratio"] > 0 < found["training"]["ratio"]
    twice = [{**found, "forward": {"ratio": 4.0}, "training": {"ratio": ratio}} for ratio in (0.5, 2.0)]
    *_, mean = models.rows(twice)
    assert (mean["forward"], mean["training"]) == (pytest.approx(4), pytest.approx(1))
    assert [row["met"] for row in models.rows(twice)] == [False, True, True]
