"""How far apart two computations may be is said in tests/tolerances.py alone, with its reason."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parent
KEYWORDS = {"rtol", "atol", "rel", "abs", "rel_tol", "abs_tol"}
SMALL = 0.01  # what is smaller and stands to the right of < is a tolerance by another name


def said_in_place(code: str) -> list[int]:
    """The lines of a program that state a tolerance as a number."""
    lines = []
    for node in ast.walk(ast.parse(code)):
        match node:
            case ast.keyword(arg=name) if name in KEYWORDS and numbers(node.value):
                lines.append(node.value.lineno)
            case ast.Dict(keys=keys, values=values):
                for key, value in zip(keys, values, strict=True):
                    if isinstance(key, ast.Constant) and key.value in KEYWORDS and numbers(value):
                        lines.append(value.lineno)
            case ast.Compare(ops=[*_, ast.Lt() | ast.LtE()], comparators=[*_, bound]):
                if any(number < SMALL for number in numbers(bound)):
                    lines.append(bound.lineno)
            case _:
                pass
    return lines


def numbers(node: ast.expr) -> list[float]:
    """The fractions that an expression states; 0 is none."""
    stated = [part.value for part in ast.walk(node) if isinstance(part, ast.Constant)]
    return [value for value in stated if isinstance(value, float) and value]


def test_no_test_states_its_own() -> None:
    assert not [
        f"{path.relative_to(TESTS)}:{line}"
        for path in sorted(TESTS.rglob("*.py"))
        if path != TESTS / "tolerances.py"
        for line in said_in_place(path.read_text("utf-8"))
    ]


@pytest.mark.parametrize(
    ("code", "count"),
    [
        ("torch.testing.assert_close(a, b, rtol=0, atol=1e-6)", 1),
        ("assert a == pytest.approx(b, rel=4 * 1e-4)", 1),
        ("OWN = {'rel': 1e-4, 'abs': 1e-5}", 2),
        ("assert abs(a - b) < 1e-6", 1),
        ("assert 0 <= abs(a - b) <= 2 * 1e-3", 1),
        ("torch.testing.assert_close(a, b, rtol=0, atol=of_draws(count))", 0),
        ("assert share < 0.2", 0),
        ("assert loss < 5", 0),
    ],
)
def test_a_tolerance_in_place_is_found(code: str, count: int) -> None:
    assert len(said_in_place(code)) == count
