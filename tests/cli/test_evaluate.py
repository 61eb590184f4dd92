"""Options of `gatework evaluate` and where runs answer."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

GOLDEN = Path(__file__).parents[1] / "tasks" / "golden"


@pytest.fixture
def pairs(tmp_path):
    path = tmp_path / "pairs.tsv"
    path.write_text("source\ttarget\none two\tzwei eins\nthree\tdrei\n")
    return path


def test_settings_say_how_outputs_are_found(gatework, pairs):
    command = ["evaluate", GOLDEN / "translator", pairs, "--json"]
    greedy, short = (
        json.loads(gatework(*command, *settings).out)
        for settings in (["--set", "beam=1"], ["--set", "beam=1", "--set", "length=1"])
    )
    assert greedy["model"]["loss"] == short["model"]["loss"]  # of the references
    assert greedy["model"]["chrf"] != short["model"]["chrf"]
    beam = json.loads(gatework(*command, "--set", "beam=3").out)
    assert greedy["search"] != beam["search"]
    assert "3" in beam["search"]


@pytest.mark.parametrize(
    ("run", "setting", "parts"),
    [
        ("translator", "beem=1", "Did you mean 'beam'"),
        ("translator", "beam=many", "'beam' cannot be 'many'"),
        (
            "language-model",
            "beam=2",
            "evaluate with language-model: there is no option 'beam'. There are none",
        ),
    ],
)
def test_a_wrong_setting_is_one_line(gatework, pairs, run, setting, parts):
    done = gatework("evaluate", GOLDEN / run, pairs, "--set", setting)
    assert (done.code, len(done.err.splitlines())) == (2, 1)
    assert parts in done.err


def test_a_device_is_given_or_refused(gatework, pairs):
    inputs = [GOLDEN / "translator", pairs]
    for command in ("evaluate", "predict"):
        assert gatework(command, *inputs, "--device", "cpu").code == 0
        for device in ("cuda:99", "gpu"):
            done = gatework(command, *inputs, "--device", device)
            assert (done.code, len(done.err.splitlines())) == (2, 1)
            assert device in done.err
    assert gatework("chat", GOLDEN / "chatbot", "--device", "cuda:99").code == 2


@pytest.mark.parametrize("name", ["columns", "data", "inputs", "self"])
def test_an_argument_of_a_method_is_no_setting(gatework, pairs, name):
    for command in ("evaluate", "predict"):
        done = gatework(command, GOLDEN / "translator", pairs, "--set", f"{name}=1")
        assert (done.code, len(done.err.splitlines())) == (2, 1)
        assert f"there is no option '{name}'" in done.err
