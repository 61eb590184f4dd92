"""Keras's files where the package that reads them is not installed."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import gatework as gw


def test_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "h5py", None)
    (tmp_path / "model.keras").write_bytes(b"PK")
    with pytest.raises(gw.GateworkError, match=r"h5py is needed .*pip install 'gatework\[keras\]'"):
        gw.from_keras(tmp_path / "model.keras")
