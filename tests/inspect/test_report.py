"""Reports of layers whose gates are known, the sizes that a page promises, and the page itself in a browser."""

from __future__ import annotations

import base64
import math
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import gatework as gw
from gatework.inspect import Part, Report, report
from gatework.inspect.half_life import half_life, kept_share
from gatework.inspect.packing import pack
from gatework.inspect.telling import telling_units
from tests.browser import browser, opened, unreachable, wider_than_the_window
from tests.inspect.test_influence import latch
from tests.tolerances import VALUES, assert_close

T = 24
MARK = 7


def unpacked(packed: dict[str, Any]) -> np.ndarray:
    """(T, size), as the page reads it."""
    shape = packed["units"], packed["steps"]
    places = np.frombuffer(zlib.decompress(base64.b64decode(packed["data"])), np.uint8).reshape(shape)
    if packed["how"] == "changes":
        places = places.astype(int).cumsum(1) % (packed["levels"] + 1)
    return (packed["low"] + places / packed["levels"] * (packed["high"] - packed["low"])).T


def same(got: np.ndarray, expected: np.ndarray) -> None:
    assert_close(torch.tensor(got), torch.tensor(expected).float(), VALUES)


def copying() -> tuple[gw.LSTM, Tensor]:
    """An LSTM that keeps the number that stands at the mark, and an input of it, (T, 1, 2)."""
    x = torch.rand(T, 1, 2, generator=torch.Generator().manual_seed(0)) + 0.2
    x[..., 1] = 0
    x[MARK, 0, 1] = 1
    return latch(), x


def test_an_lstm_that_copies_shows_exactly_its_gates() -> None:
    layer, x = copying()
    found = report(layer, x)
    mark = x[..., 1].numpy()
    own = found.parts["l0"].values
    sigmoid = 1 / (1 + np.exp(10))
    same(own["input"], np.where(mark == 1, 1 - sigmoid, sigmoid))
    same(own["forget"], np.where(mark == 1, sigmoid, 1 - sigmoid))
    same(own["candidate"], np.tanh(x[..., 0].numpy()))
    shown = found.data()["parts"][0]
    for each in shown["values"]:
        half_a_level = (each["high"] - each["low"]) / each["levels"] / 2
        assert np.abs(unpacked(each) - own[each["name"]]).max() <= half_a_level * 1.01
    low, high = found.parts["l0"].saturation("input")
    assert (low.item(), high.item()) == ((T - 1) / T, 1 / T)
    (reason,) = found.reasons
    assert reason.steps.argmax() == MARK
    assert MARK in reason.left_out
    assert reason.verified


def test_a_report_leaves_the_layer_and_its_results_as_they_are() -> None:
    layer = gw.LSTM(3, 5, num_layers=2, bidirectional=True, dropout=0.5)
    x = torch.randn(T, 2, 3)
    layer.eval()
    before = layer(x)[0]
    layer.train()
    found = report(layer, x, row=1)
    assert layer.training
    assert all(parameter.grad is None for parameter in layer.parameters())
    assert torch.equal(layer.eval()(x)[0], before)
    assert list(found.parts) == ["l0", "l0_reverse", "l1", "l1_reverse"]
    same(found.parts["l1"].values["h"], before[:, 1, :5].detach().numpy())
    assert any("row 1" in note for note in found.notes)


@pytest.mark.parametrize("steps", [1.0, 10.0, 250.0])
@pytest.mark.parametrize(("cell", "gate", "state"), [("lstm", "forget", "c"), ("gru", "update", "h")])
def test_half_life_of_a_gate_that_is_set_by_hand(steps: float, cell: str, gate: str, state: str) -> None:
    kept = 0.5 ** (1 / steps)
    layer = gw.Recurrent(cell, 2, 3).double()
    rows = [name for name, _ in layer.cell.graph.gates].index(gate)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.zero_()
        layer.bias_ih_l0[3 * rows : 3 * rows + 3] = math.log(kept / (1 - kept))
    found = report(layer, torch.randn(T, 1, 2, dtype=torch.float64)).parts["l0"]
    assert found.half_lives.keys() == {state}
    assert found.half_lives[state] == pytest.approx([steps] * 3, rel=VALUES[torch.float32].relative)


def test_what_a_step_keeps_is_read_from_any_cells_equations() -> None:
    gates = {name: np.full((T, 2), value) for name, value in {"forget": 0.9, "update": 0.2}.items()}
    gates["candidate"] = np.zeros((T, 2))

    def share(cell: str, state: str) -> float | None:
        found = kept_share(gw.Recurrent(cell, 2, 2).cell.graph, state, gates)
        return None if found is None else round(float(found.mean()), 9)

    assert share("lstm", "c") == share("coupled_lstm", "c") == share("peephole_lstm", "c") == 0.9
    assert share("gru", "h") == share("gru_original", "h") == 0.2
    assert share("minimal_gated_unit", "h") == 0.1  # (1 - f) h + f n
    assert share("qrn", "h") == 0.8
    assert share("lstm", "h") is share("elman", "h") is None
    assert half_life(np.array([[1.0, 0.0]]))[0] == math.inf


def test_units_that_tell_of_a_target_are_found_and_chance_is_not() -> None:
    random = np.random.default_rng(0)
    classes = random.integers(0, 2, 400)
    values = random.standard_normal((400, 6))
    values[:, 4] = classes + 0.01 * values[:, 4]
    best, *others = telling_units(values, [f"class {number}" for number in classes], 6)
    assert (best.unit, round(best.entropy, 1)) == (4, 1.0)
    assert best.bits > 0.7  # one of the four parts has some of both classes
    assert all(other.bits < 0.05 for other in others)
    numbers: list[float | str | None] = [None, *values[1:, 2]]
    assert telling_units(values, numbers, 1)[0].unit == 2
    assert telling_units(values, ["one"] * 400, 6) == []


@pytest.mark.parametrize("scale", [0.3, 1.0, 40.0])
def test_packed_arrays_are_read_back(scale: float) -> None:
    values = scale * np.random.default_rng(0).standard_normal((63, 7)).astype(np.float32)
    for array in (values, abs(values), np.cumsum(values, 0) / 100):
        packed = pack(array)
        half_a_level = (packed["high"] - packed["low"]) / 255 / 2
        assert np.abs(unpacked(packed) - array).max() <= half_a_level * 1.01


def test_a_thousand_steps_of_512_units_are_within_what_is_promised(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    values = {
        name: 1 / (1 + np.exp(-random.standard_normal((1000, 512)).astype(np.float32)))
        for name in ("input", "forget", "output", "candidate", "c", "h")
    }
    part = Part("l0", "llvm", [str(step) for step in range(1000)], " ", values, ["h", "c"])
    Report("large", {"l0": part}).save(tmp_path / "large.html")
    assert (tmp_path / "large.html").stat().st_size < 1.5e6


def test_what_cannot_be_looked_at_is_refused() -> None:
    layer, x = copying()
    with pytest.raises(ValueError, match="no recurrent layer"):
        report(torch.nn.Linear(2, 2), x)
    with pytest.raises(ValueError, match="'labels' has 3 entries"):
        report(layer, x, labels=["a", "b", "c"])
    with pytest.raises(ValueError, match="row=1"):
        report(layer, x, row=1)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with browser() as found:
        yield found


@pytest.mark.parametrize(("width", "dark"), [(390, True), (1000, False)])
def test_a_report_in_a_browser(chromium: Any, tmp_path: Path, width: int, dark: bool) -> None:
    layer, x = copying()
    labels = ["</script><b>", *(f"word {step}" for step in range(1, T))]
    report(layer, x, labels=labels, title="a < b & c").save(tmp_path / "page.html")
    with opened(chromium, (tmp_path / "page.html").as_uri(), width=width, dark=dark) as page:
        page.wait_for_selector("html[data-drawn]", timeout=10_000)
        assert page.inner_text("h1") == "a < b & c"
        assert page.inner_text(".words span") == "</script><b>"
        assert wider_than_the_window(page) <= 0
        assert not unreachable(page)
        page.get_by_label("step", exact=True).focus()
        for _ in range(MARK):
            page.keyboard.press("ArrowRight")
        reading = page.inner_text("output >> nth=0")
        assert reading.startswith(f"step {MARK} “word␣{MARK}”, unit 0: input 1, forget 0, ")
        page.get_by_label("gate or state").select_option("forget")
        assert page.get_by_role("img", name="forget of l0: 24 steps across, 1 units down").count() == 1
        at_the_mark, beside = page.evaluate(PIXELS)
        assert at_the_mark != beside  # what is shut there is not as what is open


PIXELS = f"""() => {{
  const canvas = document.querySelector("canvas.heat"), width = canvas.width;
  const row = canvas.getContext("2d").getImageData(0, canvas.height / 2, width, 1).data;
  const at = step => [...row.slice(4 * Math.floor((step + 0.5) * width / {T})).slice(0, 3)].join();
  return [at({MARK}), at({MARK} + 3)];
}}"""
