"""The benchmark of layers: it measures, its means are right, and it refuses a contestant that is wrong."""

from __future__ import annotations

import gc
import importlib
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

FOLDER = Path(__file__).resolve().parent.parent / "benchmarks"


@pytest.fixture
def layers(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(FOLDER))
    for name in ("layers", "peers", "machine", "isa", "shapes"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return importlib.import_module("layers")


def result(shape: tuple[int, ...], engine: float, torch: float) -> dict[str, Any]:
    times = {"llvm": {"median": engine}, "torch": {"median": torch}}
    return {"cell": "lstm", "shape": shape, "forward": times, "training": times}


def test_it_measures(layers: ModuleType) -> None:
    found = layers.measure("gru", (2, 5, 3, 4), ["torch", "onnx", "eager"], 0.01)
    assert set(found["forward"]) == {"llvm", "torch", "onnx"}
    assert set(found["training"]) == {"llvm", "torch"}
    assert found["forward"]["llvm"]["median"] > 0
    own = layers.measure("layer_norm_lstm", (2, 5, 3, 4), ["torch", "eager"], 0.01)
    assert set(own["forward"]) == {"llvm", "eager"}
    assert "torch.nn has no layer_norm_lstm" in own["absent"]["torch"]


def test_it_measures_ragged_batches_with_new_lengths(layers: ModuleType) -> None:
    found = layers.fresh_lengths(3, 5, 4, seconds=0.01)
    assert [row["mode"] for row in found] == ["forward", "training"]
    assert all(row["over"] == row["fresh"] / row["seen"] for row in found)


def test_means_and_targets(layers: ModuleType) -> None:
    results = [
        result((30, 2, 3, 4), 1.0, 3.0),
        result((1, 2, 3, 4), 1.0, 4.0),
        result((1, 2, 3, 8), 2.0, 2.0),
        result((64, 2, 3, 4), 1.0, 1.0),
    ]
    rows = {(row["mode"], row["of"]): row for row in layers.summary(results)}
    assert rows["forward", "batch 1"]["ratio"] == pytest.approx(2.0)
    assert rows["forward", "batch 1"]["met"] is True
    assert rows["training", "batch 1"]["target"] == 2
    assert rows["forward", "batch >=32"]["met"] is False
    assert rows["forward", "batch 24..48"]["ratio"] == pytest.approx(3.0)
    assert rows["forward", "batch 24..48"]["target"] is None  # the worst shape alone has one there
    assert rows["forward", "worst: 1x2x3x8"]["ratio"] == pytest.approx(1.0)
    assert rows["forward", "worst: 1x2x3x8"]["target"] == 0.95


def test_a_wrong_contestant_is_refused(layers: ModuleType) -> None:
    right = np.ones((2, 1, 3), np.float32)
    layers.check(layers.Contestant("right", lambda: right, None), right, right)
    for wrong in (right * 1.01, right * np.nan):
        with pytest.raises(SystemExit, match="wrong is wrong"):
            layers.check(layers.Contestant("wrong", lambda wrong=wrong: wrong, None), right, right)


def test_shapes_drawn_at_random_are_those_of_their_seed(layers: ModuleType) -> None:
    drawn = layers.drawn(20, 7)
    assert drawn == layers.drawn(20, 7) != layers.drawn(20, 8)
    assert drawn[:5] == layers.drawn(5, 7)
    assert len(set(drawn)) == 20
    counts = {name: sum(map(holds, (rows for rows, *_ in drawn))) for name, holds in layers.CLASSES.items()}
    assert counts["1"] == counts["8"] == 5
    assert min(counts[">=32"], counts["24..48"]) >= 5
    assert {shape[2:] for shape in drawn} >= {(300, 300), (768, 384)}
    assert all(10 <= steps <= 100 for _, steps, _, _ in drawn)


def test_a_run_says_where_its_figures_were_made(layers: ModuleType, tmp_path: Path) -> None:
    out = tmp_path / "result.json"
    try:
        layers.main(
            [
                "--random",
                "1",
                "--seed",
                "3",
                "--cells",
                "gru",
                "--peers",
                "torch",
                "--seconds",
                "0",
                "--out",
                str(out),
            ]
        )
    finally:
        gc.enable()  # which a benchmark turns off
    found = json.loads(out.read_text("utf-8"))
    assert found["drawn"] == {"shapes": 1, "seed": 3}
    assert [each["shape"] for each in found["results"]] == [list(layers.drawn(1, 3)[0])]
    assert found["machine"]["isa"] in ("avx512", "avx2", "sse2", "neon")
    assert "no such setting" in found["machine"]["peers"]["onnx"]
