"""The public commands, run as a person would type them."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
DATA = Path(os.environ.get("GATEWORK_DATA", HERE.parent.parent / "shared" / "data"))


def gatework(*arguments: str, folder: Path, given: str | None = None) -> tuple[str, str]:
    """Run one command in a folder: (the command as a person would type it, what it printed).

    Args:
        given: what it reads from its standard input.
    """
    done = subprocess.run(
        [sys.executable, "-m", "gatework", *arguments],
        cwd=folder,
        stdout=subprocess.PIPE,
        input=given,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        sys.exit(done.returncode)
    return shlex.join(["gatework", *arguments]), done.stdout


def write_report(path: Path, report: dict[str, Any]) -> None:
    """Writes what a benchmark of layers found where it was told to."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


def write_result(name: str, result: dict[str, Any]) -> None:
    """Keeps a result."""
    path = HERE / "results" / f"{name}.json"
    path.write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n")
    print(f"written to {path.relative_to(HERE.parent)}")
