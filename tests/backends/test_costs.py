"""Cost tables: which one `auto` reads, and a machine's own that is damaged, of another version or machine."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest

import gatework as gw
from gatework.backends import choose, costs, selection
from gatework.backends.llvm.codegen import target as engine_target
from gatework.backends.processor import identity, table_name
from gatework.backends.tuned_table import Ratios, TunedTable
from gatework.errors import InputError
from gatework.layers import call_plan, tuning

ROWS = ((1, 32, 0.5, 2.0),)
AVX512, SSE2 = "+avx,+avx2,+avx512f,+avx512vl,+fma", "+sse2"


def forget() -> None:
    """The next calls decide anew."""
    for kept in (costs.cost_table, costs.advantage, choose, call_plan.plan_call, call_plan.plan_dense_call):
        kept.cache_clear()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A cache without a table; what was decided is forgotten before and after."""
    monkeypatch.setenv("GATEWORK_CACHE", str(tmp_path))
    forget()
    yield tmp_path
    monkeypatch.undo()
    forget()


def table() -> TunedTable:
    return TunedTable(
        **identity(engine_target.host()), threads=1, ratios=Ratios(lstm=ROWS, gru=ROWS, rnn=ROWS)
    )


@pytest.mark.parametrize(
    ("triple", "features", "called"),
    [
        ("x86_64-unknown-linux-gnu", AVX512, "the cost table of avx512"),
        ("x86_64-unknown-linux-gnu", AVX512.replace("+avx512vl", "-avx512vl"), "the cost table of avx2"),
        ("x86_64-unknown-linux-gnu", SSE2, "the cost table of avx2, near sse2"),
        ("aarch64-unknown-linux-gnu", "+neon", "the cost table of avx2, near neon"),
    ],
)
def test_the_table_is_that_of_the_instruction_set_or_the_nearest(
    triple: str, features: str, called: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_target, "host", lambda: engine_target.target_of(triple, features))
    found = costs.cost_table()
    assert found.called == called
    assert found.ratios.keys() == {"lstm", "gru", "rnn"}
    assert gw.explain(gw.LSTM(2, 3)).reason.endswith(called)


def test_committed_tables_say_where_they_were_measured() -> None:
    committed = json.loads((Path(costs.__file__).parent / "costs.json").read_text("utf-8"))
    assert set(committed["tables"]) == {"avx512", "avx2"}
    for name, own in committed["tables"].items():
        machine = own["machine"]
        assert machine["cpu"], name
        assert len(machine["commit"]) == 40, name
        assert machine["not_recorded"] if machine["family"] is None else machine["isa"] == name
        assert all(len(row) == len(committed["columns"]) for rows in own["ratios"].values() for row in rows)


def test_a_machine_reads_its_own_table_and_says_so(cache: Path) -> None:
    assert table().keep() == cache / table_name(engine_target.host())
    assert gw.explain(gw.GRU(2, 3)).reason.endswith("in this machine's own cost table")
    assert costs.advantage("rnn_relu", 5, 700, training=False) == 0.5
    assert costs.advantage("lstm", 5, 700, training=True) == 2.0


def edited(**changes: Any) -> Callable[[], bytes]:
    return lambda: json.dumps(json.loads(table().model_dump_json()) | changes).encode()


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (lambda: b"", "it is damaged"),
        (lambda: table().model_dump_json().encode()[:-40], "it is damaged"),
        (lambda: b"\xff\xfe\x00", "it is damaged"),
        (lambda: b"[1, 2]", "it is damaged"),
        (lambda: b'{"version": 3}', "it is damaged"),
        (edited(version="0.0.1"), "it is of Gatework 0.0.1, and this is"),
        (edited(version="0.0.1", columns=[]), "it is of Gatework 0.0.1"),  # whatever stands in it
        (edited(further=1), "it is damaged"),
        (edited(ratios={"lstm": [[1, 32, 1.0, 1.0]]}), "it is damaged"),
        (edited(ratios={kind: [] for kind in ("lstm", "gru", "rnn")}), "it is damaged"),
        (edited(ratios={kind: [[0, 32, 1.0, 1.0]] for kind in ("lstm", "gru", "rnn")}), "it is damaged"),
        (edited(ratios={kind: [[1, 32, -1.0, 1.0]] for kind in ("lstm", "gru", "rnn")}), "it is damaged"),
        (
            edited(ratios={kind: [[1, 32, float("nan"), 1]] for kind in ("lstm", "gru", "rnn")}),
            "it is damaged",
        ),
        (edited(features=["sse9"]), "it was measured on another machine"),
        (edited(isa="mmx"), "it was measured on another machine"),
    ],
)
def test_a_table_that_cannot_serve_is_left_unread_with_one_line(
    content: Callable[[], bytes], why: str, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = cache / table_name(engine_target.host())
    path.write_bytes(content())
    for _ in range(2):
        assert "this machine's own" not in gw.explain(gw.LSTM(2, 3)).reason
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"warning: {path} is left unread: {why}")
    assert "gatework bench tune" in line


def test_a_table_that_cannot_be_opened_is_left_unread(
    cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (cache / table_name(engine_target.host())).mkdir()
    assert "this machine's own" not in gw.explain(gw.LSTM(2, 3)).reason
    assert capsys.readouterr().err.count("\n") == 1


def test_a_table_that_cannot_be_written_is_an_error_of_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("GATEWORK_CACHE", str(tmp_path / "file" / "below"))
    with pytest.raises(InputError, match=r"cannot be written there\. Name a folder in GATEWORK_CACHE"):
        table().keep()


def keep_often(folder: str, turns: int) -> int:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GATEWORK_CACHE", folder)
        for _ in range(turns):
            path = table().keep()
            TunedTable.read(path.read_bytes(), identity(engine_target.host()))
    return turns


def test_processes_that_tune_at_once_leave_one_whole_table(cache: Path) -> None:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        other = pool.submit(keep_often, str(cache), 50)
        while not other.done():
            keep_often(str(cache), 1)
        assert other.result() == 50
    assert [path.name for path in cache.iterdir()] == [table_name(engine_target.host())]
    TunedTable.read(next(cache.iterdir()).read_bytes(), identity(engine_target.host()))


def test_tuning_measures_every_kind_and_shape() -> None:
    seen: list[tuple[int, int]] = []
    found = tuning.tune([(1, 3), (4, 9)], seconds=0.0, progress=lambda done, of: seen.append((done, of)))
    assert seen[-1] == (6, 6)
    for rows in found.rows().values():
        assert [row[:2] for row in rows] == [(1, 3), (4, 9)]
        assert all(ratio > 0 for row in rows for ratio in row[2:])
    assert found.isa == engine_target.host().isa


def test_tuning_refuses_an_engine_with_other_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    real = selection.llvm.run_stack

    def wrong(*arguments: Any) -> Any:
        output, states = real(*arguments)
        return output * 1.01, states

    monkeypatch.setattr(selection.llvm, "run_stack", wrong)
    with pytest.raises(tuning.TuningError, match="lstm, B=2, H=3: the engine's output differs"):
        tuning.tune([(2, 3)], seconds=0.0)
