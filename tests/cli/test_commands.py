from __future__ import annotations

import io
import itertools
import json
import os
import re
import subprocess
import sys

import pytest

from gatework import cells
from gatework.cli import printing
from gatework.cli.invocation import program
from gatework.cli.streaming import write_record
from gatework.tasks.language_model.options import CompletionSettings, LanguageModelOptions
from gatework.training.options import options_with
from tests.tolerances import PREDICTIONS, close_to

from .conftest import SMALL


def test_train_prints_figures_beside_the_baseline_and_keeps_them(gatework, corpus, tmp_path):
    out = tmp_path / "run"
    done = gatework("train", "language-model", corpus, "--out", out, "--epochs", 1, "--seed", 3, *SMALL)
    assert done.code == 0
    for word in ("model", "ngram", "perplexity", "bits per character"):
        assert word in done.out
    assert "held back" in done.err
    options = json.loads((out / "config.json").read_text())["options"]
    assert (options["epochs"], options["seed"], options["hidden_size"]) == (1, 3, 16)
    assert f"{json.loads((out / 'metrics.json').read_text())['model']['loss']:.4f}" in done.out


def test_evaluate_gives_one_json_object(gatework, run, corpus):
    done = gatework("evaluate", run, corpus, "--json")
    figures = json.loads(done.out)
    assert done.code == 0
    compared = {"model", "baseline", "baselines", "headline", "strongest", "below_baseline"}
    assert set(figures) == compared | {"examples", "unit", "unknown"}
    assert set(figures["model"]) == set(figures["baseline"]) == {"loss", "perplexity", "bits_per_character"}
    assert figures["examples"] == len(corpus.read_text())
    shown = gatework("evaluate", run, corpus).out
    assert "perplexity" in shown
    assert f"({figures['examples']:,} tokens):" in shown
    assert figures["below_baseline"]  # three steps teach little
    worse = "The model is below its strongest baseline, ngram, in loss: "
    assert f"{worse}{figures['model']['loss']:.4f} against {figures['baseline']['loss']:.4f}." in shown


def test_predict_writes_a_json_line_for_each_line(gatework, run, tmp_path):
    prompts = ["the c", "", 'a "dog"', "dogs b"]
    file = tmp_path / "prompts.txt"
    file.write_text("\n".join(prompts) + "\n")
    settings = ["--set", "length=20", "--set", "seed=2", "--set", "next=2"]
    done = gatework("predict", run, file, *settings)
    records = [json.loads(line) for line in done.out.splitlines()]
    assert done.code == 0
    assert [record["input"] for record in records] == prompts
    assert all(len(record["output"]) == 20 and len(record["next"]) == 2 for record in records)
    out = tmp_path / "answers.jsonl"
    assert gatework("predict", run, file, "--out", out, *settings).out == ""
    assert out.read_text() == done.out
    beam = gatework("predict", run, file, "--set", "beam=2", "--set", "alternatives=2", "--set", "length=5")
    assert [len(json.loads(line)["alternatives"]) for line in beam.out.splitlines()] == [2] * len(prompts)


def test_predict_reads_the_standard_input(gatework, run, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("the c\r\ndógs\n".encode())))
    done = gatework("predict", run, "--set", "length=3")
    assert [json.loads(line)["input"] for line in done.out.splitlines()] == ["the c", "dógs"]
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"fine\nbad \xff\n")))
    done = gatework("predict", run, "-", "--set", "length=3")
    assert done.code == 2
    assert "standard input, line 2: byte 0xff at byte 4" in done.err
    assert json.loads(done.out)["input"] == "fine"  # what could be answered was


def test_pieces_are_written_before_the_end(run):
    """The line is JSON, and yet grows token by token."""
    from gatework import tasks

    class Watched(io.StringIO):
        def flush(self):
            self.seen = [*getattr(self, "seen", []), self.getvalue()]

    file, model = Watched(), tasks.load(run)
    write_record(file, 'say "hi"\n', model.stream('say "hi"\n', length=8, next=1))
    assert len(file.seen) == 9
    assert all(later.startswith(earlier) for earlier, later in zip(file.seen, file.seen[1:], strict=False))
    assert json.loads(file.getvalue()) == model.predict(['say "hi"\n'], length=8, next=1)[0]


class Drawing:
    """Parts of a record whose text has characters that ASCII lacks."""

    parts = ("鷗", "\U0001f3b5 ü", {"input": "é", "output": "鷗\U0001f3b5 ü", "score": 1.0})


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
@pytest.mark.parametrize("parts", [Drawing.parts, Drawing.parts[-1:]])
def test_a_record_is_whole_in_every_encoding(encoding, parts):
    file = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    write_record(file, "é", parts)
    written = file.buffer.getvalue()
    assert json.loads(written.decode(encoding)) == Drawing.parts[-1]
    assert (b"\\u" in written) == (encoding != "utf-8")


def test_an_environment_without_unicode_loses_no_output(run):
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    command = [sys.executable, "-m", "gatework", "predict", str(run), "--set", "length=5"]
    done = subprocess.run(
        command, input=b"\xef\xbb\xbf\xe9\xb7\x97 the\r\n", capture_output=True, check=False, env=environment
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["input"] == "鷗 the"  # nor is the byte order mark a part of the text
    shown = subprocess.run(
        [sys.executable, "-m", "gatework", "cells", "lstm", "--latex"],
        capture_output=True,
        check=False,
        env=environment,
    )
    assert shown.returncode == 0, shown.stderr


@pytest.mark.skipif(not os.path.exists("/dev/stdin"), reason="there is no /dev/stdin here")
def test_a_pipe_is_data_like_any_file(gatework, run, corpus):
    command = [sys.executable, "-m", "gatework", "evaluate", str(run), "/dev/stdin", "--json"]
    piped = subprocess.run(command, input=corpus.read_bytes(), capture_output=True, check=True)
    assert piped.stdout.decode() == gatework("evaluate", run, corpus, "--json").out


def test_config_file_then_set_then_flags(gatework, corpus, tmp_path):
    config = tmp_path / "small.yaml"
    config.write_text(
        "hidden_size: 8\nnum_layers: 1\nbatch_size: 4\nsteps: 16\nmax_steps: 2\nseed: 5\ncell: gru\n"
    )
    out = tmp_path / "run"
    done = gatework(
        "train", "language-model", corpus, "--out", out, "--config", config,
        "--set", "hidden_size=9", "--set", "seed=6", "--seed", 7,
    )  # fmt: skip
    assert done.code == 0, done.err
    options = json.loads((out / "config.json").read_text())["options"]
    assert [options[n] for n in ("hidden_size", "seed", "cell", "max_steps")] == [9, 7, "gru", 2]


def test_columns_and_from(gatework, run, tmp_path):
    table = tmp_path / "reviews.jsonl"
    table.write_text("".join(json.dumps({"review": f"the cat sat {n}"}) + "\n" for n in range(40)))
    out = tmp_path / "run"
    arguments = ["train", "language-model", table, "--out", out, "--columns", "text=review", "--from", run]
    done = gatework(*arguments, "--set", "max_steps=2", "--set", "batch_size=2", "--set", "steps=16")
    assert done.code == 0, done.err
    assert json.loads((out / "config.json").read_text())["options"]["hidden_size"] == 16
    assert (out / "tokenizer.json").read_bytes() == (run / "tokenizer.json").read_bytes()


def test_help_lists_every_option_with_its_default(gatework):
    done = gatework("train", "language-model", "--help")
    assert done.code == 0
    follows_data = options_with(LanguageModelOptions, auto=True)
    for model in (LanguageModelOptions, CompletionSettings):
        for name, field in model.model_fields.items():
            default = field.default
            shown = (
                "auto"
                if name in follows_data
                else "none"
                if default is None
                else ",".join(map(str, default))
                if type(default) is tuple
                else default
            )
            assert f"  {name}={shown}  (" in done.out
    assert "Tasks: language-model" in gatework("train", "--help").out


def test_the_flags_are_those_of_the_contract(gatework):
    assert gatework().out == gatework("--help").out
    flags = {
        "train": "--out --valid --columns --config --cell --from --epochs --max-minutes --seed --device --resume --set "
        "--print-config --threads",
        "evaluate": "--columns --json --device --set --threads",
        "predict": "--out --plot --horizon --columns --device --set --threads",
        "chat": "--device --threads",
        "ask": "--question --json --device --set --threads",
        "cells": "--latex",
        "runs": "--json --plot",
        "bench": "",
        "demo": "",
    }
    assert set(gatework("--help").out.partition("Commands:")[2].split()) >= set(flags)
    for command, expected in flags.items():
        lines = gatework(command, "--help").out.partition("Options:")[2].splitlines()
        found = {line.split()[0] for line in lines if line.strip().startswith("-")}
        assert found == {*expected.split(), "-h,"}, command


def test_cells_lists_and_prints(gatework):
    listing = gatework("cells")
    assert [line.split()[0] for line in listing.out.splitlines()] == cells.names()
    assert gatework("cells", "lstm").out.strip() == cells.get("lstm").describe().strip()
    assert gatework("cells", "gru", "--latex").out.strip() == cells.get("gru").latex().strip()


def test_bench_runs_a_suite_of_the_checkout(gatework, tmp_path, monkeypatch):
    import gatework as package

    monkeypatch.setattr(package, "__file__", str(tmp_path / "src" / "gatework" / "__init__.py"))
    refusal = gatework("bench", "three")
    assert refusal.code == 2
    assert "Clone the project" in refusal.err
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "benchmarks" / "part.py").touch()
    (tmp_path / "benchmarks" / "three.py").write_text('if __name__ == "__main__":\n    raise SystemExit(3)\n')
    assert gatework("bench", "three").code == 3
    (tmp_path / "benchmarks" / "layers.py").write_text(
        'import sys\nif __name__ == "__main__":\n    raise SystemExit(40 + len(sys.argv[1:]))\n'
    )
    assert gatework("bench").code == 40
    assert gatework("bench", "layers", "--isa", "avx2", "--random=3").code == 43
    assert gatework("bench", "--isa", "avx2").code == 42
    assert "Did you mean 'three'" in gatework("bench", "thre").err
    assert "Known: layers, three, tune." in gatework("bench", "part").err


def test_bench_tune_keeps_a_table_for_auto(gatework, tmp_path, monkeypatch):
    from gatework.layers import tuning

    monkeypatch.setenv("GATEWORK_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(tuning, "SHAPES", ((1, 3),))
    done = gatework("bench", "tune")
    (table,) = (tmp_path / "cache").glob("costs-*.json")
    assert done.code == 0
    assert done.out.startswith(f"{table}: ")
    assert f"about {tuning.MINUTES} minutes" in done.err
    assert "takes no options" in gatework("bench", "tune", "--isa", "avx2").err


def test_help_imports_no_task():
    program = (
        "import sys; from gatework.cli import main; main(['--help']); "
        "print([m for m in ('gatework.tasks', 'accelerate', 'datasets', 'tokenizers') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_python_dash_m():
    done = subprocess.run(
        [sys.executable, "-m", "gatework", "nonsense"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "No such command 'nonsense'" in done.stderr


@pytest.mark.slow
def test_two_processes_train_as_one(gatework, corpus, tmp_path):
    arguments = [
        "train",
        "language-model",
        corpus,
        *SMALL,
        "--set",
        "max_steps=10",
        "--set",
        "output_dropout=0",
    ]
    launch = [
        sys.executable,
        "-m",
        "accelerate.commands.launch",
        "--cpu",
        "--num_processes",
        "2",
        "-m",
        "gatework",
    ]
    command = [*launch, *arguments, "--out", tmp_path / "two"]
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, check=False, timeout=200
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("perplexity") == 1  # one process speaks for all
    assert gatework(*arguments, "--out", tmp_path / "one").code == 0
    one, two = (json.loads((tmp_path / run / "metrics.json").read_text()) for run in ("one", "two"))
    assert two["model"]["loss"] == close_to(one["model"]["loss"], table=PREDICTIONS)
    assert two["examples"] == one["examples"]


@pytest.mark.slow
def test_the_language_model_demo_twice(gatework, tmp_path, monkeypatch):
    from gatework.cli.demos import language_model as demo

    monkeypatch.chdir(tmp_path)
    small = {
        "tokenizer": "bpe",
        "vocabulary_size": 300,
        "max_steps": 3,
        "max_minutes": 5,
        "hidden_size": 8,
        "embedding_size": 8,
    }
    monkeypatch.setattr(demo, "OPTIONS", small)
    for folder in ("runs/demo", "runs/demo-2"):
        done = gatework("demo", "language-model")
        assert done.code == 0
        assert (tmp_path / folder / "COMPLETE").exists()
        assert all(sentence in done.out for sentence in demo.SENTENCES)
        assert "ngram" in done.out
        assert "FELL SHORT" in done.err
        assert done.out.splitlines()[-1] == f"  echo 'The statement' | {program()} predict {folder}"


@pytest.mark.slow
def test_the_dates_demo(gatework, tmp_path, monkeypatch):
    from gatework.cli.demos import dates

    monkeypatch.chdir(tmp_path)
    small = {**dates.OPTIONS, "max_steps": 3, "hidden_size": 8}
    monkeypatch.setattr(dates, "OPTIONS", small)
    monkeypatch.setattr(dates, "TRAINING", 300)
    monkeypatch.setattr(dates, "UNSEEN", 20)
    monkeypatch.setattr(dates, "VALIDATION", 20)
    days: dict[str, set[str]] = {}
    fit, evaluate = dates.Translator.fit, dates.Translator.evaluate

    def watched(name, examples):
        rows = list(examples)
        days[name] = {row["target"] for row in rows}
        return iter(rows)

    def watched_fit(self, data, *, valid, **further):
        return fit(self, watched("training", data), valid=watched("validation", valid), **further)

    monkeypatch.setattr(dates.Translator, "fit", watched_fit)
    monkeypatch.setattr(
        dates.Translator, "evaluate", lambda self, data: evaluate(self, watched("test", data))
    )
    done = gatework("demo")
    assert done.code == 0
    # The reported figures are of days that neither training nor the choice of the checkpoint has seen.
    assert set(days) == {"training", "validation", "test"}
    for one, other in itertools.combinations(days.values(), 2):
        assert not one & other
    assert "exact match" in done.out
    assert "copy" in done.out
    assert "IT FELL SHORT: the translator gets 0% of them right, and was to reach 97% of the 20" in done.err
    assert "It made 3 steps in " in done.err
    # The last line is a command that a shell finds.
    command = done.out.splitlines()[-1]
    assert command == f"  echo 'fr 14 juillet 1989' | {program()} predict runs/demo"
    answer = subprocess.run(command, shell=True, capture_output=True, text=True, check=True)
    assert json.loads(answer.stdout)["input"] == dates.YOURS
    monkeypatch.setattr(dates, "OPTIONS", {**small, "target": 0.0})
    done = gatework("demo")
    assert done.code == 0
    assert "FELL SHORT" not in done.err
    assert (tmp_path / "runs/demo/alignment.png").stat().st_size > 1000
    refused = gatework("demo", "date")
    assert refused.code == 2
    assert "Did you mean 'dates'" in refused.err


def test_large_figures_are_short(capsys):
    model = {"loss": 94.7, "perplexity": 1.35e41, "bleu": 100.0}
    figures = {"model": model, "baseline": {}, "baselines": {}, "examples": 1234567, "unit": "tokens"}
    printing.figures(figures, title="run")
    shown = capsys.readouterr().out
    assert "1.35e+41" in shown
    assert "run (1,234,567 tokens):" in shown
    assert max(map(len, re.findall(r"[\d.,e+]+", shown))) < 10


def test_a_command_that_is_named_can_be_typed(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    script = tmp_path / ".venv" / "bin" / "gatework"
    script.parent.mkdir(parents=True)
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)
    monkeypatch.setattr(sys, "argv", [str(script)])
    monkeypatch.setenv("PATH", str(tmp_path))
    assert program() == ".venv/bin/gatework"  # as after make install, when nothing is activated
    monkeypatch.setenv("PATH", str(script.parent))
    assert program() == "gatework"
    other = tmp_path / "other"
    other.mkdir()
    (other / "gatework").write_text("#!/bin/sh\n")
    (other / "gatework").chmod(0o755)
    monkeypatch.setenv("PATH", f"{other}:{script.parent}")
    assert program() == ".venv/bin/gatework"  # another gatework comes first
    monkeypatch.chdir(other)
    assert program() == str(script)
    spaced = tmp_path / "my folder" / "gatework"
    monkeypatch.setattr(sys, "argv", [str(spaced)])
    assert program() == f"'{spaced}'"
    monkeypatch.setattr(sys, "argv", [str(tmp_path / "gatework" / "__main__.py")])
    assert program() == f"{sys.executable} -m gatework"


def test_dates_are_what_people_write_and_none_is_seen_twice():
    from gatework.cli.demos.dates import LANGUAGES, dates, split_days

    *sets, unseen = split_days()
    assert len({day for days in (*sets, unseen) for day in days}) == sum(map(len, (*sets, unseen)))
    rows = list(dates(400, unseen, seed=4))
    assert rows == list(dates(400, unseen, seed=4))
    assert {row["source"][:2] for row in rows} == set(LANGUAGES)
    for row in rows:
        year, _, day = row["target"].split("-")
        assert year in row["source"]
        assert str(int(day)) in row["source"]
        assert any(character.isalpha() for character in row["source"][3:])  # the month's name


@pytest.fixture(scope="module")
def translator(tmp_path_factory):
    from gatework import tasks
    from tests.contracts.task_examples import EXAMPLES

    some = EXAMPLES["translator"]
    out = tmp_path_factory.mktemp("runs") / "translator"
    tasks.get("translator")(**some.options).fit(some.rows, valid=some.valid, out=out)
    return out


def test_predict_reads_a_table_and_writes_it_with_a_column_more(gatework, translator, tmp_path):
    table, out = tmp_path / "a.tsv", tmp_path / "b.tsv"
    rows = [("x1", "one two", 'ein "a'), ("x2", "three", "drei"), ("x3", "four one two three", "")]
    table.write_text("".join("\t".join(cells) + "\n" for cells in [("id", "source", "target"), *rows]))
    done = gatework("predict", translator, table)
    records = [json.loads(line) for line in done.out.splitlines()]
    assert [record["input"] for record in records] == [source for _, source, _ in rows]
    assert gatework("predict", translator, table, "--out", out).out == ""
    header, *lines = [line.split("\t") for line in out.read_text().splitlines()]
    assert header == ["id", "source", "target", "output"]
    expected = [[*row, record["output"]] for row, record in zip(rows, records, strict=True)]
    assert lines == expected
    csv_out, named = tmp_path / "b.csv", tmp_path / "named.csv"
    assert gatework("predict", translator, table, "--out", csv_out).code == 0
    named.write_text(csv_out.read_text().replace("source", "english").replace("output", "was"))
    again = gatework("predict", translator, named, "--columns", "source=english")
    assert again.out == done.out
    refused = gatework("predict", translator, csv_out, "--out", tmp_path / "c.csv")
    assert refused.code == 2
    assert "line 2: has a column 'output' already" in refused.err
    lost = gatework("predict", translator, named)
    assert lost.code == 2
    assert "has no column 'source'" in lost.err


def test_predict_answers_a_pipe_line_by_line(run, tmp_path):
    """`predict RUN <(slow)`: whoever writes sees each answer before writing the next line."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    command = [sys.executable, "-m", "gatework", "predict", run, pipe, "--set", "length=3"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process, pipe.open("wb", buffering=0) as lines:
        for line in (b"the c\n", b"a dog\n"):
            lines.write(line)
            assert json.loads(process.stdout.readline())["input"] == line.decode().strip()
        lines.close()
        assert process.wait(30) == 0


def test_several_runs_answer_as_one(gatework, translator, tmp_path):
    import gatework as gw

    data, lines = tmp_path / "a.tsv", tmp_path / "a.txt"
    data.write_text("source\ttarget\none two\tzwei eins\nthree\tdrei\n")
    lines.write_text("one two\nthree\n")
    both = gw.load(translator, translator)
    done = gatework("predict", translator, translator, lines)
    assert [json.loads(line) for line in done.out.splitlines()] == both.predict(["one two", "three"])
    figures = gatework("evaluate", translator, translator, data, "--json")
    assert json.loads(figures.out) == both.evaluate(data)
    assert f"{translator}, {translator} on {data}" in gatework("evaluate", translator, translator, data).out
    for arguments, complaint in (
        (["evaluate", translator, translator], "DATA: is missing"),
        (["predict", translator, lines, lines], "one file too many"),
        (["predict", translator, tmp_path / "nothing"], "no such file"),
    ):
        refused = gatework(*arguments)
        assert (refused.code, complaint in refused.err) == (2, True), refused.err
