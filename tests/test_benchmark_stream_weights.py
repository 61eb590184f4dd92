"""The benchmark of streams with weights in fewer bits: it measures, and refuses a stream that computes with others."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType

import pytest

import gatework as gw

FOLDER = Path(__file__).resolve().parent.parent / "benchmarks"


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(FOLDER))
    for name in ("stream_weights", "layers", "peers", "machine", "isa", "shapes"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return importlib.import_module("stream_weights")


@pytest.mark.filterwarnings("ignore")  # torch.ao's own
def test_it_measures_steps(benchmark: ModuleType) -> None:
    found = benchmark.step_times(16, 1, 0.01)
    assert {"full", "bf16", "int8", "torch", "quantize_dynamic", "of full"} <= set(found)
    assert all(value > 0 for name, value in found.items() if name != "met")


def test_it_measures_perplexities(benchmark: ModuleType, tmp_path: Path) -> None:
    text = tmp_path / "night.txt"
    text.write_text("It was a dark and stormy night.\n" * 60)
    model = gw.LanguageModel(hidden_size=12, num_layers=1, batch_size=2, bptt=16, epochs=1)
    model.fit(text, out=tmp_path / "run")
    whole, *others = benchmark.perplexities(tmp_path / "run", text)
    assert whole["perplexity"] == pytest.approx(model.evaluate(text)["model"]["perplexity"])
    assert all(other["perplexity"] != whole["perplexity"] for other in others)


def test_a_stream_with_other_weights_is_refused(benchmark: ModuleType) -> None:
    layer, other = gw.LSTM(3, 5), gw.LSTM(3, 5)
    with pytest.raises(SystemExit, match="does not compute with the weights it should"):
        benchmark.check_stream(layer, other.stream(), "full")
