"""Results of benchmarks say what they were measured on."""

from __future__ import annotations

import importlib
import json
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from gatework.backends.llvm.codegen import target

FOLDER = Path(__file__).resolve().parent.parent / "benchmarks"
PROCESSOR = {"vendor", "family", "model", "stepping", "features", "vector_bytes", "peak_gflops"}


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(FOLDER))
    for name in ("machine", "peak", "isa"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return importlib.import_module("machine")


def machines(value: Any) -> list[dict[str, Any]]:
    """Every machine that is described in a result."""
    if isinstance(value, dict):
        own = [value["machine"]] if "machine" in value else []
        return own + [each for item in value.values() for each in machines(item)]
    return [each for item in value for each in machines(item)] if isinstance(value, list) else []


def test_this_machine_is_told_from_another_of_its_name(machine: ModuleType) -> None:
    here = machine.machine()
    assert here.keys() >= PROCESSOR
    assert here["vector_bytes"] in (16, 32, 64)
    assert here["isa"] == target.host().isa
    assert all(type(feature) is str for feature in here["features"])
    if sys.platform == "linux" and "avx2" in here["features"]:
        assert here["family"] is not None
        assert here["vector_bytes"] >= 32
    # A core of any machine that runs this does more than a hundred million operations and less than a thousand billion.
    assert all(0.1 < here["peak_gflops"][dtype] < 1000 * here["cores"] for dtype in ("float32", "float64"))
    json.dumps(here)


def test_every_result_says_what_it_was_measured_on_or_that_it_does_not_know() -> None:
    results = sorted((FOLDER / "results").glob("*.json"))
    assert results
    for path in results:
        described = machines(json.loads(path.read_text("utf-8")))
        assert described, f"{path.name} does not say what it was measured on"
        for each in described:
            assert each.keys() >= PROCESSOR, path.name
            unknown = {name for name in PROCESSOR if each[name] is None}
            assert not unknown or each["not_recorded"], f"{path.name} leaves out {unknown} without a word"


def test_no_result_names_a_folder_of_the_machine() -> None:
    for path in sorted((FOLDER / "results").glob("*.json")):
        found = re.search(
            r"(?<![\w.])/(?:work|home|root|tmp|Users|mnt|opt)/[^\s\"]*", path.read_text("utf-8")
        )
        assert found is None, f"{path.name} names {found[0]}"


def test_every_benchmark_with_results_describes_its_machine() -> None:
    for path in sorted(FOLDER.glob("*.py")):
        code = path.read_text("utf-8")
        if "write_result(" in code or ".out.write_text(" in code:
            assert "machine()" in code or path.name == "commands.py", path.name
