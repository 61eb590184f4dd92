from __future__ import annotations

import io
import sys

import pytest

from gatework.training.progress import QuietProgress, SilentProgress, TerminalProgress, default_progress

TRAIN = {"kind": "train", "step": 20, "epoch": 0.5, "loss": 1.25, "items_per_second": 12345.6, "seconds": 3.0}
VALIDATION = {"kind": "validation", "step": 40, "epoch": 1.0, "loss": 1.5, "best": True, "seconds": 3.0}


def test_quiet_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    progress = default_progress()
    assert isinstance(progress, QuietProgress)
    progress.begin(0.0)
    progress.tick(0.5, 1)
    progress.record(TRAIN)
    progress.record(VALIDATION)
    progress.end()
    assert capsys.readouterr() == ("", "")
    progress.say("warning: look")
    assert capsys.readouterr() == ("", "warning: look\n")
    SilentProgress().say("warning: look")
    assert capsys.readouterr() == ("", "")


def test_a_bar_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    progress = default_progress()
    assert isinstance(progress, TerminalProgress)
    progress.begin(0.25)
    progress.record(TRAIN)
    progress.tick(0.625, 20)
    progress.bar.refresh()
    progress.record(VALIDATION)
    progress.say("warning: [not] markup")
    progress.end()
    shown = terminal.getvalue()
    for part in ("step 20", "50%", "loss 1.2500", "12,346/s", "left", "warning: [not] markup"):
        assert part in shown, part
    assert "epoch 1.00, step 40: validation loss 1.5000  (best so far)" in shown
