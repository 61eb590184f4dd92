"""The benchmark of sessions: it times what says the same together and alone, and refuses what does not."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

FOLDER = Path(__file__).resolve().parent.parent / "benchmarks"


@pytest.fixture
def sessions(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(FOLDER))
    for name in ("layers", "peers", "machine", "peak", "isa", "shapes", "sessions"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return importlib.import_module("sessions")


def test_what_is_said_together_is_what_is_said_alone(
    sessions: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "ALONE", 2)
    monkeypatch.setattr(sessions, "TURNS", 1)
    monkeypatch.setattr(sessions, "STEPS", 2)
    make, source, settings = sessions.KINDS["tagger"]
    model = make(tmp_path)
    found = sessions.measure(model, source, settings, 3)
    assert set(found) == {"alone_us", "together_us", "steps_per_second_together", "ratio"}

    class Wrong(type(model)):  # type: ignore[misc]
        def feed_together(self, *given: Any) -> Any:
            return super().feed_together(*given)[::-1]

    model.__class__ = Wrong
    with pytest.raises(SystemExit, match="say something else together than alone"):
        sessions.measure(model, source, settings, 3)
