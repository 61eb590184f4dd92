"""Closed streams, optimized Python, too little memory: one line instead of a traceback."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from gatework.cli import main
from gatework.tasks.base import Task


def test_a_closed_standard_input(gatework, run, monkeypatch):
    monkeypatch.setattr(sys, "stdin", None)
    bot = Path(__file__).parents[1] / "tasks" / "golden" / "chatbot"
    for command in (["predict", run], ["chat", bot]):
        done = gatework(*command)
        assert done.code == 2
        assert done.err == "gatework: standard input: is closed. Give a file, a pipe or a terminal.\n"


def test_a_closed_standard_output(capsys, monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    assert main(["cells"]) == 2
    assert capsys.readouterr().err.startswith("gatework: standard output: it is closed. Send it to")


@pytest.mark.skipif(not shutil.which("sh"), reason="there is no shell here")
def test_a_program_with_every_stream_closed_uses_none_of_their_numbers():
    code = "from gatework.cli.streams import occupy_closed_streams as o; o(); import os; os._exit(os.open('.', 0))"
    command = f'"$0" -c "{code}" <&- >&- 2>&-'
    done = subprocess.run(["sh", "-c", command, sys.executable], check=False, env=os.environ)
    assert done.returncode >= 3


def test_python_without_docstrings_and_assertions(run, tmp_path):
    (tmp_path / "lines.txt").write_text("the c\n")
    commands = [
        ["cells"],
        ["cells", "lstm"],
        ["train", "translator", "--help"],
        ["predict", str(run), str(tmp_path / "lines.txt"), "--set", "length=2"],
    ]
    code = f"from gatework.cli import main\nfor each in {commands}: assert_ = main(each) and exit(1)"
    done = subprocess.run([sys.executable, "-OO", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "lstm" in done.stdout
    assert '"input": "the c"' in done.stdout


def test_too_little_memory_is_one_line(gatework, run, corpus, monkeypatch):
    def greedy(*arguments, **given):
        torch.empty(2**50)

    monkeypatch.setattr(Task, "evaluate", greedy)
    done = gatework("evaluate", run, corpus)
    assert done.code == 2
    assert done.err.startswith("gatework: memory: there is not enough of it")
    assert len(done.err.splitlines()) == 1


def test_other_errors_of_torch_are_not_hidden(gatework, run, corpus, monkeypatch):
    def wrong(*arguments, **given):
        raise RuntimeError("shapes differ")

    monkeypatch.setattr(Task, "evaluate", wrong)
    with pytest.raises(RuntimeError, match="shapes differ"):
        gatework("evaluate", run, corpus)


def test_no_sentence_of_the_help_is_cut(gatework):
    assert "..." not in gatework("--help").out.partition("Commands:")[2]


def test_cells_are_described_by_whole_sentences(gatework, monkeypatch):
    from gatework import cells

    for line, name in zip(gatework("cells").out.splitlines(), cells.names(), strict=True):
        assert line.split(maxsplit=1)[0] == name
        assert line.endswith((".", ")", ":")), line
    monkeypatch.setenv("COLUMNS", "80")
    narrow = gatework("cells").out
    assert max(map(len, narrow.splitlines())) <= 80
    assert narrow.split() == gatework("cells").out.split()
