from __future__ import annotations

import io
import sys

import pytest

from gatework.training.progress import (
    LineProgress,
    SilentProgress,
    TerminalProgress,
    counted,
    default_progress,
    duration,
)

TRAIN = {"kind": "train", "step": 20, "epoch": 0.5, "loss": 1.25, "items_per_second": 12345.6, "seconds": 3.0}
VALIDATION = {"kind": "validation", "step": 40, "epoch": 1.0, "loss": 1.5, "best": True, "seconds": 3.0}


def test_lines_where_there_is_no_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter((100.0, 160.0, 160.0))
    monkeypatch.setattr("time.monotonic", lambda: next(clock))
    progress = default_progress()
    assert isinstance(progress, LineProgress)
    progress.begin(0.25)
    progress.tick(0.5, 20)
    progress.record(TRAIN)
    progress.record({**TRAIN, "parts": {"ctc": 0.75, "lm": None}})
    progress.record(VALIDATION)
    progress.record({"kind": "warning", "step": 40})
    progress.say("warning: look")
    progress.end()
    assert capsys.readouterr() == (
        "",
        "epoch 0.50, step 20: loss 1.2500  12,346/s, about 2 min left\n"
        "epoch 0.50, step 20: loss 1.2500  ctc 0.7500  12,346/s, about 2 min left\n"
        "epoch 1.00, step 40: validation loss 1.5000  (best so far)\n"
        "warning: look\n",
    )
    SilentProgress().say("warning: look")
    assert capsys.readouterr() == ("", "")


def test_a_duration_is_short() -> None:
    assert [duration(s) for s in (3.2, 89.0, 300.0, 12600.0)] == ["3 s", "89 s", "5 min", "3.5 h"]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    return terminal


def test_a_count_is_shown_on_a_terminal_alone(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with counted("reading recordings", 3) as tick:
        tick(3)
    assert capsys.readouterr() == ("", "")
    terminal = on_a_terminal(monkeypatch)
    with counted("reading recordings", 3) as tick:
        tick(1)
        tick(3)
    for part in ("reading recordings", "3/3"):
        assert part in terminal.getvalue(), part


def test_a_bar_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = on_a_terminal(monkeypatch)
    progress = default_progress()
    assert isinstance(progress, TerminalProgress)
    progress.begin(0.25)
    progress.record(TRAIN)
    progress.tick(0.625, 20)
    progress.bar.refresh()
    progress.record(VALIDATION)
    progress.record({**VALIDATION, "best": False, "search": "greedy search"})
    progress.say("warning: [not] markup")
    progress.end()
    shown = terminal.getvalue()
    for part in ("step 20", "50%", "loss 1.2500", "12,346/s", "left", "warning: [not] markup"):
        assert part in shown, part
    assert "epoch 1.00, step 40: validation loss 1.5000  (best so far)" in shown
    assert "epoch 1.00, step 40: validation loss 1.5000  (greedy search)" in shown
