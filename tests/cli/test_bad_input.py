"""Bad input: exit code 2, one line that says what, where and how to mend it, and nothing lost."""

from __future__ import annotations

import errno
import io
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time

import pytest

from .conftest import SMALL

RUN = object()  # stands for the trained run


def refused(outcome, *parts):
    """The outcome is one line and exit code 2, and the line holds every part."""
    assert outcome.code == 2, outcome
    lines = [
        line
        for line in outcome.err.splitlines()
        if not re.search("held back|^For [0-9,]+ tokens|^epoch [0-9.]+, step", line)
    ]
    assert len(lines) == 1, outcome.err
    for part in parts:
        assert str(part) in lines[0]


def test_the_check_itself_can_fail(gatework, run, corpus):
    with pytest.raises(AssertionError):
        refused(gatework("evaluate", run, corpus), "perplexity")


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        (None, ["no such file", "Check the path"]),
        (b"", ["is empty", "Give a file"]),
        (b"text \0 binary", ["is not a text file", "byte 5"]),
        (b"fine\nsecond \xff line\n", ["line 2", "byte 0xff at byte 12"]),
        (b"too short\n", ["fewer than the", "Give more text"]),
    ],
)
def test_files(gatework, run, tmp_path, content, parts):
    file, out = tmp_path / "data.txt", tmp_path / "out"
    if content is not None:
        file.write_bytes(content)
    refused(gatework("train", "language-model", file, "--out", out, *SMALL), *parts)
    assert not out.exists()  # the way is free for another try
    if content != b"too short\n":
        refused(gatework("evaluate", run, file), *parts)


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["--cell", "lsmt"], ["lsmt", "Did you mean 'lstm'"]),
        (["--set", "hiden_size=3"], ["hiden_size", "Did you mean 'hidden_size'"]),
        (["--set", "hidden_size=many"], ["hidden_size", "'many'", "units of a recurrent layer"]),
        (["--set", "dropout=2"], ["dropout", "less than 1"]),
        (["--set", "hidden_size"], ["--set", "name=value"]),
        (["--columns", "txt=review"], ["'txt'", "text"]),
        (["--columns", "review"], ["--columns", "no '='"]),
        (["--epochs", "-1"], ["epochs", "greater than or equal to 1"]),
        (["--epochs", "x"], ["--epochs", "integer"]),
        (["--epoch", "3"], ["--epoch", "--epochs"]),
        (["--device", "gpu"], ["device", "gpu"]),
        (["--from", "nowhere"], ["nowhere", "no such folder"]),
        (["--resume"], ["no run to resume", "--resume"]),
        (["--valid", "nowhere.txt"], ["nowhere.txt", "no such file"]),
        (["--config", "nowhere.yaml"], ["nowhere.yaml", "Check the path"]),
    ],
)
def test_options(gatework, corpus, tmp_path, arguments, parts):
    out = tmp_path / "out"
    refused(gatework("train", "language-model", corpus, "--out", out, *SMALL, *arguments), *parts)
    assert not out.exists()


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("hidden_sizes: 3\n", ["hidden_sizes", "Did you mean 'hidden_size'"]),
        ("- 3\n", ["is a list", "name: value"]),
        ("a: [\n", ["is not YAML"]),
        ("cell: mine.py:cell\n", ["names a cell in a Python file", "--cell mine.py:cell"]),
        ("hidden_size: !!python/object/apply:os.system ['touch owned']\n", ["is not YAML"]),
    ],
)
def test_config_files(gatework, corpus, tmp_path, monkeypatch, text, parts):
    monkeypatch.chdir(tmp_path)
    config = tmp_path / "config.yaml"
    config.write_text(text)
    refused(gatework("train", "language-model", corpus, "--out", "out", "--config", config), config, *parts)
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["train"], ["TASK", "language-model"]),
        (["train", "langage-model", "x"], ["Did you mean 'language-model'"]),
        (["train", "language-model"], ["DATA"]),
        (["train", "language-model", "x"], ["--out"]),
        (["trian"], ["Did you mean 'train'"]),
        (["evaluate"], ["RUN"]),
        (["predict", "nowhere"], ["nowhere", "no such folder"]),
        (["predict", RUN, "--out", "no/such/folder"], ["no/such/folder", "cannot be written"]),
        (["predict", RUN, "--set", "lenght=3"], ["lenght", "Did you mean 'length'"]),
        (["cells", "lsmt"], ["Did you mean 'lstm'"]),
        (["cells", "--latex"], ["gatework cells lstm --latex"]),
        (["bench", "nothing"], ["there is no suite 'nothing'"]),
    ],
)
def test_commands(gatework, run, monkeypatch, arguments, parts):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"the\n")))
    refused(gatework(*(run if argument is RUN else argument for argument in arguments)), *parts)


@pytest.mark.parametrize(
    ("source", "parts"),
    [
        ("import nothing_of_this_name\n", ["line 1", "ModuleNotFoundError"]),
        ("def cell(:\n", ["line 1", "SyntaxError"]),
        ("x = 1\n", ["there is no cell"]),
        (
            "import gatework as gw\n@gw.cell\ndef cell(x, h):\n    return h if h > 0 else x\n",
            ["cannot be traced"],
        ),
    ],
)
def test_cell_files(gatework, corpus, tmp_path, source, parts):
    file, out = tmp_path / "mine.py", tmp_path / "out"
    file.write_text(source)
    refused(gatework("train", "language-model", corpus, "--out", out, "--cell", f"{file}:cell"), file, *parts)
    assert not out.exists()


@pytest.mark.parametrize(
    ("given", "parts"),
    [
        (b"fine\nnot \xff\n", ["standard input, line 2", "byte 0xff at byte 4"]),
        (b"zero \0 byte\n", ["standard input, line 1", "not text"]),
    ],
)
def test_standard_input(gatework, run, monkeypatch, given, parts):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(given)))
    refused(gatework("predict", run, "--set", "length=2"), *parts)


@pytest.mark.parametrize("command", ["evaluate", "predict", "train"])
def test_ctrl_c_before_there_is_anything_to_save(gatework, run, corpus, tmp_path, monkeypatch, command):
    from gatework import tasks

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(tasks, "load", interrupted)
    monkeypatch.setattr(tasks, "get", interrupted)
    arguments = ["language-model", corpus, "--out", tmp_path / "out"] if command == "train" else [run, corpus]
    done = gatework(command, *arguments)
    assert (done.code, done.err) == (130, "gatework: interrupted\n")


def test_a_run_in_the_way(gatework, run, corpus):
    before = {file.name: file.read_bytes() for file in run.iterdir() if file.is_file()}
    refused(
        gatework("train", "language-model", corpus, "--out", run, *SMALL), run, "already there", "--resume"
    )
    assert before == {file.name: file.read_bytes() for file in run.iterdir() if file.is_file()}


def test_damaged_and_newer_runs(gatework, run, corpus, tmp_path):
    for name, content, part in (
        ("model.safetensors", b"nonsense", "model.safetensors"),
        ("config.json", json.dumps({"format_version": 99}).encode(), "Upgrade"),
        ("tokenizer.json", b"\xff", "tokenizer.json"),
    ):
        folder = tmp_path / name
        shutil.copytree(run, folder)
        (folder / name).write_bytes(content)
        for arguments in (["evaluate", folder, corpus], ["predict", folder, corpus]):
            refused(gatework(*arguments), part)


def test_divergence_keeps_the_last_good_checkpoint(gatework, corpus, tmp_path):
    out = tmp_path / "out"
    done = gatework(
        "train", "language-model", corpus, "--out", out, "--epochs", 2, *SMALL, "--set", "clip_norm=0",
        "--set", "optimizer=sgd", "--set", "learning_rate=1e38", "--set", "checkpoint_every=1",
        "--set", "schedule=constant",
    )  # fmt: skip
    assert done.code == 2
    last = done.err.splitlines()[-1]
    assert "step " in last
    assert "gradient norm" in last
    assert "learning_rate" in last


def test_a_full_disk(gatework, run, corpus, tmp_path, monkeypatch):
    refused(gatework("predict", run, corpus, "--out", "/dev/full", "--set", "length=2"), "no space")
    out = tmp_path / "out"
    real = os.replace

    def replace(source, target, **options):
        if "checkpoint" in str(target) or str(target).endswith("model.safetensors"):
            raise OSError(errno.ENOSPC, "No space left on device", str(target))
        real(source, target, **options)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", replace)
        done = gatework("train", "language-model", corpus, "--out", out, "--epochs", 1, *SMALL)
        refused(done, "the disk is full", "--resume")
    again = gatework("train", "language-model", corpus, "--out", out, "--resume")
    assert again.code == 0, again.err
    assert (out / "COMPLETE").exists()


def start(*arguments):
    command = [sys.executable, "-m", "gatework", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_interrupting_saves_and_resuming_gives_the_same_weights(gatework, corpus, tmp_path):
    straight, broken = tmp_path / "straight", tmp_path / "broken run"
    arguments = ["train", "language-model", corpus, "--epochs", 15, *SMALL, "--set", "record_every=5"]
    assert gatework(*arguments, "--out", straight).code == 0
    process = start(*arguments, "--out", broken)
    deadline = time.monotonic() + 60
    while not (broken / "history.jsonl").exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, complaint = process.communicate(timeout=60)
    assert process.returncode == 130, complaint
    assert "Interrupted and saved at step" in complaint
    python, *words = shlex.split(complaint.strip().splitlines()[-1])
    assert os.path.abspath(python) == sys.executable
    assert words == ["-m", "gatework", *map(str, arguments), "--out", str(broken), "--resume"]
    assert any((broken / "checkpoints").iterdir())
    assert gatework("predict", broken).code == 2
    assert gatework(*arguments, "--out", broken, "--resume").code == 0
    for name in ("model.safetensors", "metrics.json"):
        assert (broken / name).read_bytes() == (straight / name).read_bytes()


def test_waiting_for_a_line_can_be_interrupted(run):
    """The answer to the first line is there while the second does not come; Ctrl-C then ends in good order."""
    command = [sys.executable, "-m", "gatework", "predict", str(run), "--set", "length=3"]
    # What a shell starts in the background ignores SIGINT, the tests and their children included.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    pipe = subprocess.PIPE
    try:
        process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe)
    finally:
        signal.signal(signal.SIGINT, before)
    process.stdin.write(b"the c\n")
    process.stdin.flush()
    assert json.loads(process.stdout.readline())["input"] == "the c"
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 130  # -6 where Python dies of the reader's lock
    _, complaint = process.communicate()
    assert b"Fatal" not in complaint


def test_a_reader_that_has_read_enough_is_no_fault(run, tmp_path):
    """As in `gatework predict RUN | head -1`."""
    (tmp_path / "inputs.txt").write_text("the c\n" * 2000)
    command = [sys.executable, "-m", "gatework", "predict", run, tmp_path / "inputs.txt", "--set", "length=1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert json.loads(process.stdout.readline())["input"] == "the c"
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(30) == 0


def test_messages_name_flags_here_and_arguments_in_python(gatework, run, corpus, tmp_path):
    import gatework as gw
    from gatework.cli import with_flags

    model = gw.LanguageModel()
    with pytest.raises(gw.InputError) as caught:
        model.fit(corpus, out=run)
    assert str(caught.value).endswith("Go on with resume=True, or give another folder: out=RUN.")
    refused(
        gatework("train", "language-model", corpus, "--out", run), "Go on with --resume, or", "--out RUN."
    )
    with pytest.raises(gw.InputError) as caught:
        model.fit([{"txt": "a"}], out=tmp_path / "out")
    assert "columns={'text': 'COLUMN'}" in str(caught.value)
    assert "--columns text=COLUMN" in with_flags(str(caught.value))
    assert with_flags("Name it again: cell=a.py:b.") == "Name it again: --cell a.py:b."
    assert with_flags("Name it again: other_cell=a.py:b.") == "Name it again: --set other_cell=a.py:b."
    assert with_flags("out=3 valid=FILE from_run=RUN") == "out=3 --valid FILE --from RUN"
