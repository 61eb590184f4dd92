"""The benchmark of exports: it measures what gives the layer's numbers, and refuses other ones."""

from __future__ import annotations

import importlib
import shutil
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

FOLDER = Path(__file__).resolve().parent.parent / "benchmarks"


@pytest.fixture
def exports(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(FOLDER))
    for name in ("exports", "machine", "peak", "isa"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return importlib.import_module("exports")


def test_a_decoders_export_is_built_run_and_compared(exports: ModuleType, tmp_path: Path) -> None:
    if shutil.which("gcc") is None:
        pytest.skip("gcc is not installed")
    made, memory = exports.networks(4)["decoder"]
    record = exports.of_target("decoder", made, memory, "native", "float32", tmp_path / "out")
    assert 0 <= record["error"] <= exports.TOLERANCE
    assert record["code_bytes"] > 1_000
    assert record["data_bytes"] >= 4 * record["parameters"]


def test_other_numbers_are_refused(exports: ModuleType) -> None:
    with pytest.raises(SystemExit, match="own for native is wrong by"):
        exports.checked("own", "native", "1.0 2.0\n", torch.tensor([[1.0, 2.1]]))
