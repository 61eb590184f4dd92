"""Forecasts as a picture."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gatework.inspect import ForecastPanel, draw_forecasts

LEVELS = (0.025, 0.25, 0.5, 0.75, 0.975)
NAN = float("nan")
PANEL = ForecastPanel(
    "a $price_1",
    np.arange("2024-01-01", "2024-01-06", dtype="datetime64[D]"),
    np.array([1.0, NAN, 3.0, NAN, 5.0]),
    np.arange("2024-01-06", "2024-01-08", dtype="datetime64[D]"),
    np.array([6.0, 7.0]),
    np.array([[2.0, 4.0, 6.0, 8.0, 9.0], [1.0, 3.0, 7.0, 9.0, 11.0]]),
)


def drawn(panels: list[ForecastPanel], folder: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    figure = pytest.importorskip("matplotlib.figure")
    kept: list[Any] = []
    monkeypatch.setattr(figure.Figure, "savefig", lambda self, *_, **__: kept.append(self))
    draw_forecasts(panels, LEVELS, folder / "x.png")
    return kept[0]


def test_history_forecast_and_intervals_are_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = replace(PANEL, times=np.arange(5), ahead=np.arange(5, 7), future=np.array([5.5, NAN]))
    picture = drawn([PANEL, steps], tmp_path, monkeypatch)
    first, second = picture.axes
    assert first.get_title(loc="left") == "a $price_1"
    legend = [text.get_text() for text in picture.legends[0].get_texts()]
    assert legend == ["95 % interval", "50 % interval", "history", "forecast", "what came true"]
    lines = {line.get_label(): line for line in second.lines}
    np.testing.assert_array_equal(lines["history"].get_ydata(), PANEL.history)
    assert lines["forecast"].get_xydata().tolist() == [[4, 5], [5, 6], [6, 7]]  # from the last known value
    np.testing.assert_array_equal(lines["what came true"].get_ydata(), [5.5, NAN])
    assert any(line.get_xydata().tolist() == [[0, 1], [2, 3], [4, 5]] for line in second.lines)  # stand alone
    wide, narrow = (area.get_paths()[0].vertices for area in second.collections)
    assert (wide[:, 1].min(), wide[:, 1].max()) == (1.0, 11.0)
    assert (narrow[:, 1].min(), narrow[:, 1].max()) == (3.0, 9.0)
    assert second.get_xlabel() == "step"


def test_many_intervals_leave_the_legend_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "LEVELS", tuple(place / 20 for place in range(1, 20)))
    picture = drawn([replace(PANEL, quantiles=np.tile(np.arange(19.0), (2, 1)))], tmp_path, monkeypatch)
    picture.canvas.draw()
    legend, page = picture.legends[0].get_window_extent(), picture.bbox
    assert len(picture.legends[0].get_texts()) == 11
    assert page.x0 <= legend.x0
    assert legend.x1 <= page.x1


def test_a_picture_is_written(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    for name in ("x.png", "x.svg"):
        draw_forecasts([PANEL], LEVELS, tmp_path / name)
        assert (tmp_path / name).stat().st_size > 5000


@pytest.mark.parametrize(
    ("panels", "said"),
    [
        ([], "1 to 16 forecasts, received 0"),
        ([PANEL] * 17, "received 17"),
        ([replace(PANEL, history=np.ones(4))], r"history has shape \(4,\), where \(5,\) is due"),
        ([replace(PANEL, quantiles=np.ones((2, 3)))], r"quantiles has shape \(2, 3\), where \(2, 5\) is due"),
        ([replace(PANEL, history=np.full(5, NAN))], "needs a known value"),
    ],
)
def test_what_cannot_be_drawn_is_said(panels: list[ForecastPanel], said: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=said):
        draw_forecasts(panels, LEVELS, tmp_path / "x.png")
