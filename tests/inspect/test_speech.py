"""Synthetic speech as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gatework.inspect import draw_speech


def drawn(monkeypatch: pytest.MonkeyPatch, folder: Path, *given: Any, **named: Any) -> Any:
    figure = pytest.importorskip("matplotlib.figure")
    kept: list[Any] = []
    monkeypatch.setattr(figure.Figure, "savefig", lambda self, *_, **__: kept.append(self))
    draw_speech(*given, folder / "x.png", **named)
    return kept[0]


def test_each_character_is_over_its_frames(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    frames = np.arange(200.0).reshape(20, 10)
    figure = drawn(monkeypatch, tmp_path, frames, "a b", [4.0, 6.0, 10.0], recording=frames[:12], title="so")
    above, below = figure.axes[:2]
    assert np.array_equal(above.images[0].get_array(), frames.T)
    assert np.array_equal(below.images[0].get_array(), frames[:12].T)
    assert above.images[0].get_extent() == [0.0, pytest.approx(0.2), -0.5, 9.5]
    assert [line.get_xdata()[0] for line in above.lines] == pytest.approx([0.04, 0.1])
    top = above.child_axes[0]
    assert list(top.get_xticks()) == pytest.approx([0.02, 0.07, 0.15])
    assert [label.get_text() for label in top.get_xticklabels()] == ["a", " ", "b"]
    assert figure.get_suptitle() == "so"


def test_what_cannot_be_drawn_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="2 characters have 1 durations"):
        draw_speech(np.zeros((3, 16)), "ab", [3.0], tmp_path / "x.png")
    with pytest.raises(ValueError, match="received none"):
        draw_speech(np.zeros((0, 16)), "a", [0.0], tmp_path / "x.png")
