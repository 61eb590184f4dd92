"""`gatework inspect`: a run and an input in, a page and pictures out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import gatework as gw
from gatework.cli import main
from gatework.cli.settings import read_input
from tests.contracts.task_examples import EXAMPLES


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    example, folder = EXAMPLES["translator"], tmp_path_factory.mktemp("runs") / "translator"
    gw.Translator(**{**example.options, "max_steps": 2}).fit(example.rows, out=folder)
    return folder


def test_a_page_and_pictures_are_written(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page, pictures = tmp_path / "report.html", tmp_path / "pictures"
    words = ["inspect", str(run), "one two", "--out", str(page), "--pictures", str(pictures)]
    assert main([*words, "--set", "length=4"]) == 0
    assert "<title>translator: one two</title>" in page.read_text("utf-8")
    drawn = {path.name for path in pictures.iterdir()}
    assert {"encoder.l0.png", "encoder.l0_reverse.png", "decoder.l0.png", "gradient-flow.png"} <= drawn
    assert any(name.startswith("decoder.l0.") and name != "decoder.l0.png" for name in drawn)  # its attention
    printed = capsys.readouterr().out
    assert "encoder.l0.h: the gradient" in printed
    assert "the log-probability of the whole output is" in printed


def test_what_cannot_be_looked_into_is_one_line(run: Path, tmp_path: Path) -> None:
    assert main(["inspect", str(run), '["two", "texts"]', "--out", str(tmp_path / "no.html")]) == 2
    assert main(["inspect", str(run), '{"no": "text"}', "--out", str(tmp_path / "no.html")]) == 2
    assert main(["inspect", str(run), "one", "--out", str(tmp_path / "x.html"), "--set", "beam=0"]) == 2
    assert main(["inspect", str(tmp_path / "absent"), "one", "--out", str(tmp_path / "x.html")]) == 2
    assert not (tmp_path / "no.html").exists()
    assert not (tmp_path / "x.html").exists()


def test_an_input_on_the_command_line_is_json_a_file_or_a_text(tmp_path: Path) -> None:
    question = {"context": "Ann went home.", "question": "Who?"}
    assert read_input(json.dumps(question)) == question
    assert read_input("[laughs] fine") == "[laughs] fine"
    (tmp_path / "one.txt").write_text("a line")
    assert read_input(str(tmp_path / "one.txt")) == tmp_path / "one.txt"
    for text in ("a text", "x" * 5000, "nul \0"):
        assert read_input(text) == text
