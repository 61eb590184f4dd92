"""Finds what runs the parts of an export: ONNX Runtime, or the library that is made of the objects of C."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any


def open_parts(folder: Path) -> Any:
    """The parts of an export's folder."""
    sys.path.insert(0, str(folder))
    module = "onnx_parts" if (folder / "onnx_parts.py").is_file() else "c_parts"
    return importlib.import_module(module).from_folder(folder)
