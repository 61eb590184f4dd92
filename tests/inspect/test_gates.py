"""Pictures of gates: one for any story, and refused where facts and gates do not belong together."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from gatework.inspect import draw_gates

FACTS = ["Mary took the $ milk $.", "John left, " + "and left again, " * 9]


def test_a_picture_has_a_row_a_fact(tmp_path: Path) -> None:
    sizes = []
    for name, count in (("two.png", 1), ("twenty.png", 10)):
        gates = [[0.0, 0.5, 1.0], [1, 0, 0.25]] * count
        draw_gates(FACTS * count, gates, tmp_path / name, title="Where is the $?")
        header = (tmp_path / name).read_bytes()[:24]
        assert header.startswith(b"\x89PNG")
        sizes.append(struct.unpack(">II", header[16:24]))
    (width, low), (same, high) = sizes
    assert width == same
    assert high > 2 * low


@pytest.mark.parametrize(
    ("facts", "gates"),
    [
        ([], []),
        (FACTS, [[0.5]]),
        (FACTS, [[0.5], [0.5, 0.5, 0.5]]),
        (FACTS, [[0.5, 0.5], [0.5, 0.5]]),
        (FACTS, [[0.5], [1.5]]),
        (FACTS, [[0.5], [float("nan")]]),
    ],
)
def test_gates_that_do_not_fit_are_refused(
    tmp_path: Path, facts: list[str], gates: list[list[float]]
) -> None:
    with pytest.raises(ValueError, match="gate"):
        draw_gates(facts, gates, tmp_path / "a.png")
