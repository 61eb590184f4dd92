"""Runs that the first version wrote load, and predict and score what they did."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import gatework as gw
from gatework import tasks
from tests.tasks.golden import make
from tests.tolerances import PREDICTIONS, close_to

GOLDEN = Path(make.__file__).parent
EXPECTED = json.loads((GOLDEN / "expected.json").read_text("utf-8"))


def close(value: Any, expected: Any) -> bool:
    """Equal, numbers within what another processor may round."""
    if isinstance(expected, dict):
        return value.keys() == expected.keys() and all(close(value[key], expected[key]) for key in expected)
    if isinstance(expected, list):
        return len(value) == len(expected) and all(map(close, value, expected))
    return bool(value == (close_to(expected, table=PREDICTIONS) if isinstance(expected, float) else expected))


def test_the_comparison_can_fail() -> None:
    assert close({"a": [1.0, "b"]}, {"a": [1.0 + 1e-6, "b"]})
    assert not close({"a": [1.0, "b"]}, {"a": [1.01, "b"]})
    assert not close({"a": [1.0, "b"]}, {"a": [1.0, "c"]})
    assert not close({"a": 1.0, "b": 1}, {"a": 1.0})


@pytest.mark.parametrize("name", EXPECTED)
def test_a_run_of_the_first_version_is_what_it_was(name: str) -> None:
    model = gw.load(GOLDEN / name)
    assert type(model) is tasks.get(name)
    assert close(model.predict(make.INPUTS[name], **make.SETTINGS[name]), EXPECTED[name]["predictions"])
    figures = model.evaluate(make.data(name))  # a later version may say more
    assert close({key: figures.get(key) for key in EXPECTED[name]["figures"]}, EXPECTED[name]["figures"])
    assert set(model.metrics_) == set(EXPECTED[name]["figures"])
