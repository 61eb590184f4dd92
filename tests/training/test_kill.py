"""kill -9, as benchmarks/kill_resume.py does it twenty times, here a few."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_killed_trainings_resume_to_the_bit(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "benchmarks/kill_resume.py", "--kills", "4", "--out", str(tmp_path / "result.json")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["kills"] == result["equal"] == len(result["rows"]) == 4
    assert all(row["weights_equal"] and row["history_equal"] for row in result["rows"])
