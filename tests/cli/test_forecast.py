"""The forecaster from the command line: tables and pictures out of tables."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gatework.cli import main
from tests.cli.conftest import Outcome

Command = Callable[..., Outcome]
SMALL = ("horizon=6", "season=4", "window=12", "hidden_size=8", "max_steps=5")
LEVELS = ["0.025", "0.1", "0.2", "0.25", "0.3", "0.4", "0.5", "0.6", "0.7", "0.75", "0.8", "0.9", "0.975"]


def hours(count: int, begin: str = "2024-01-01T00") -> list[str]:
    return [str(time) for time in np.datetime64(begin) + np.arange(count)]


def values(count: int, seed: int = 0) -> list[float]:
    noise = np.random.default_rng(seed).normal(size=count)
    return [round(value, 3) for value in 20 + 5 * np.sin(np.arange(count) * np.pi / 2) + 0.3 * noise]


def write(path: Path, header: str, *columns: Sequence[Any]) -> Path:
    rows = [",".join(map(str, row)) for row in zip(*columns, strict=True)]
    path.write_text("\n".join([header, *rows, ""]))
    return path


def long_table(path: Path) -> Path:
    names = ["B"] * 100 + ["A"] * 90
    times = hours(100) + hours(90)
    return write(path, "unique_id,ds,y", names, times, values(100) + values(90, seed=1))


def train(data: Path, out: Path, *arguments: str) -> Path:
    options = [word for option in SMALL for word in ("--set", option)]
    assert main(["train", "forecaster", str(data), "--out", str(out), *options, *arguments]) == 0
    return out


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trained on a long table of two series; tests must not change it."""
    folder = tmp_path_factory.mktemp("forecaster")
    return train(long_table(folder / "long.csv"), folder / "run")


def read(path: Path, delimiter: str = ",") -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file, delimiter=delimiter))


def test_a_long_table_becomes_a_row_a_step(gatework: Command, run: Path, tmp_path: Path) -> None:
    data, out = long_table(tmp_path / "a.csv"), tmp_path / "b.csv"
    records = [json.loads(line) for line in gatework("predict", run, data).out.splitlines()]
    assert [record["input"]["series"] for record in records] == ["B", "A"]
    assert gatework("predict", run, data, "--out", out).out == ""
    rows = read(out)
    assert list(rows[0]) == ["series", "time", "mean", *LEVELS]
    assert [row["series"] for row in rows] == ["B"] * 6 + ["A"] * 6
    assert [row["time"] for row in rows[:2]] == ["2024-01-05T04:00:00", "2024-01-05T05:00:00"]
    assert [row["time"] for row in rows[6:7]] == ["2024-01-04T18:00:00"]
    for number, record in enumerate(records):
        own = rows[6 * number : 6 * number + 6]
        assert [float(row["mean"]) for row in own] == record["output"]
        for level in LEVELS:
            assert [float(row[level]) for row in own] == record["quantiles"][level]


def test_the_horizon_is_a_flag_and_a_setting(gatework: Command, run: Path, tmp_path: Path) -> None:
    data = long_table(tmp_path / "a.csv")
    for word in (("--horizon", "2"), ("--set", "horizon=2")):
        assert gatework("predict", run, data, "--out", tmp_path / "b.tsv", *word).code == 0
        assert len(read(tmp_path / "b.tsv", "\t")) == 4
    far = gatework("predict", run, data, "--horizon", "30")
    assert far.code == 2
    assert "is 30, and this run forecasts 6 steps" in far.err
    assert gatework("predict", run, data, "--horizon", "0").code == 2


def test_numbered_steps_and_several_targets(gatework: Command, tmp_path: Path) -> None:
    wide = write(tmp_path / "wide.csv", "load,heat", values(80), values(80, seed=2))
    run = train(wide, tmp_path / "run")
    assert gatework("predict", run, wide, "--out", tmp_path / "b.csv", "--horizon", "2").code == 0
    rows = read(tmp_path / "b.csv")
    assert [(row["step"], row["target"]) for row in rows] == [
        ("1", "load"),
        ("2", "load"),
        ("1", "heat"),
        ("2", "heat"),
    ]
    (record,) = (
        json.loads(line) for line in gatework("predict", run, wide, "--horizon", "2").out.splitlines()
    )
    assert [[float(rows[0]["mean"]), float(rows[2]["mean"])]] == record["output"][:1]


def test_rows_that_hold_a_series_each_keep_their_columns(
    gatework: Command, run: Path, tmp_path: Path
) -> None:
    rows = [{"start": "2024-01-01", "target": values(40), "item_id": name, "note": 1} for name in "AB"]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert gatework("predict", run, tmp_path / "a.jsonl", "--out", tmp_path / "b.csv").code == 0
    written = read(tmp_path / "b.csv")
    assert [list(row) for row in written] == [["start", "target", "item_id", "note", "output"]] * 2
    assert len(json.loads(written[0]["output"])) == 6


def test_forecasts_are_drawn(gatework: Command, run: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    data, out = long_table(tmp_path / "a.csv"), tmp_path / "b.csv"
    done = gatework("predict", run, data, "--out", out, "--plot", tmp_path / "a.png")
    assert done.code == 0
    assert "a.png" in done.err
    assert (tmp_path / "a.png").read_bytes()[:4] == b"\x89PNG"
    wrong = gatework("predict", run, data, "--out", out, "--plot", tmp_path / "a.nothing")
    assert wrong.code == 2
    assert "cannot be drawn" in wrong.err
    piped = gatework("predict", run, "-", "--plot", tmp_path / "a.png")
    assert piped.code == 2
    assert "a pipe" in piped.err


def test_only_a_forecaster_draws(gatework: Command, corpus: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    small = ["hidden_size=8", "num_layers=1", "batch_size=2", "steps=16", "ngram_order=2", "max_steps=1"]
    options = [word for option in small for word in ("--set", option)]
    assert gatework("train", "language-model", corpus, "--out", run, *options).code == 0
    refused = gatework("predict", run, corpus, "--plot", tmp_path / "a.png")
    assert refused.code == 2
    assert "the run is a language-model" in refused.err
    refused = gatework("predict", run, corpus, "--horizon", "3")
    assert refused.code == 2
    assert "horizon" in refused.err
    assert not (tmp_path / "a.png").exists()


def test_a_series_of_zeros_has_no_scaled_error(gatework: Command, tmp_path: Path) -> None:
    data = write(tmp_path / "a.csv", "time,sold", hours(60), [0] * 60)
    run = train(data, tmp_path / "run")
    figures = json.loads(gatework("evaluate", run, data, "--json").out)
    assert "scaled_crps" not in figures["model"]
    assert figures["model"]["rmse"] < 0.05
    assert not figures["below_baseline"]


def test_a_column_that_the_training_had_is_named(gatework: Command, run: Path, tmp_path: Path) -> None:
    data = write(tmp_path / "a.csv", "ds,sold", hours(9), values(9))
    refused = gatework("predict", run, data)
    assert refused.code == 2
    assert "has no column 'y'. Known: ds, sold" in refused.err
    assert gatework("predict", run, data, "--columns", "target=sold").code == 0
