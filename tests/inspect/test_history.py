"""The course of a training as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gatework.inspect import draw_history

STEP = {"kind": "train", "learning_rate": 0.1}


def course(length: int) -> list[dict[str, Any]]:
    records: list[dict[str, Any]] = [{**STEP, "step": n, "loss": 2.0 / n} for n in range(1, length + 1)]
    return [*records, {"kind": "validation", "step": length, "loss": 0.5, "bleu": 20.0, "best": True}]


def test_every_course_and_figure_is_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figure = pytest.importorskip("matplotlib.figure")
    drawn: list[Any] = []
    monkeypatch.setattr(figure.Figure, "savefig", lambda self, *_, **__: drawn.append(self))
    draw_history({"a": course(3), "b": course(200)}, tmp_path / "x.png")
    panels = drawn[0].axes
    assert [panel.get_ylabel() for panel in panels] == ["loss", "bleu", "learning rate"]
    assert panels[-1].get_xlabel() == "step"
    labels = [text.get_text() for text in panels[0].get_legend().get_texts()]
    assert labels == ["a, training", "a, validation", "b, training", "b, validation"]
    lines = {line.get_label(): line for line in panels[0].lines}
    assert list(lines["a, training"].get_ydata()) == [2.0, 1.0, 2.0 / 3]
    assert list(lines["b, validation"].get_xdata()) == [200]
    assert panels[1].lines[0].get_xydata().tolist() == [[3, 20.0]]


def test_nothing_to_draw_is_said(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="nothing is recorded yet"):
        draw_history({"a": [{"kind": "warning", "step": 3}]}, tmp_path / "x.png")
