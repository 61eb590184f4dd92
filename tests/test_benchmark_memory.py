"""The memory benchmark: its problems by their definitions, its training, and pairs as processes of their own."""

from __future__ import annotations

import importlib
import itertools
import json
import math
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from tests.tolerances import TOTALS, close_to, of_draws

FOLDER = Path(__file__).resolve().parent.parent / "benchmarks"
MODULES = ("machine", "peak", "isa", "memory_problems", "memory_training", "memory")


@pytest.fixture
def modules(monkeypatch: pytest.MonkeyPatch) -> dict[str, ModuleType]:
    monkeypatch.syspath_prepend(str(FOLDER))
    for name in MODULES:
        monkeypatch.delitem(sys.modules, name, raising=False)
    return {name: importlib.import_module(name) for name in ("memory_problems", "memory_training", "memory")}


@pytest.fixture
def problems(modules: dict[str, ModuleType]) -> dict[str, Any]:
    return modules["memory_problems"].PROBLEMS


def drawn(problem: Any, seed: int = 0, rows: int = 20) -> tuple[torch.Tensor, torch.Tensor]:
    batch = problem.draw(rows, torch.Generator().manual_seed(seed))
    assert batch.inputs.shape[1:] == (rows, problem.inputs)
    return batch.inputs, batch.targets


def test_a_seed_repeats_a_batch(problems: dict[str, Any]) -> None:
    for problem in problems.values():
        first, again, other = (drawn(problem, seed)[0] for seed in (3, 3, 4))
        assert torch.equal(first, again)
        assert not torch.equal(first, other)


def test_adding_marks_one_number_in_each_half(problems: dict[str, Any]) -> None:
    inputs, targets = drawn(problems["adding_200"])
    numbers, marks = inputs.unbind(-1)
    assert torch.equal(marks[:100].sum(0), torch.ones(20))
    assert torch.equal(marks[100:].sum(0), torch.ones(20))
    for row in range(20):
        first, second = (int(step) for step in marks[:, row].nonzero().flatten())
        assert float(targets[0, row]) == close_to(float(numbers[first, row] + numbers[second, row]))
    problem = problems["adding_200"]
    _, many = drawn(problem, rows=4000)
    says_one = problem.figure(torch.ones(1, 4000, 1), many)
    assert abs(says_one / problem.chance - 1) < 2 * of_draws(4000)


def test_copying_asks_for_the_first_ten_symbols(problems: dict[str, Any]) -> None:
    inputs, targets = drawn(problems["copying_100"])
    symbols = inputs.argmax(-1)
    assert torch.equal(symbols[:10], targets)
    assert (symbols[10:109] == 8).all()
    assert (symbols[109] == 9).all()
    assert (symbols[110:] == 8).all()
    assert len(symbols) == 120  # the first answer is 110 steps after the first symbol


def test_temporal_order_has_the_class_of_its_two_symbols(problems: dict[str, Any]) -> None:
    inputs, targets = drawn(problems["temporal_order_200"], rows=50)
    symbols = inputs.argmax(-1)
    for row in range(50):
        places = (symbols[:, row] >= 6).nonzero().flatten().tolist()
        assert len(places) == 2
        assert 20 <= places[0] < 40
        assert 100 <= places[1] < 120
        first, second = (int(symbols[place, row]) - 6 for place in places)
        assert int(targets[0, row]) == 2 * first + second
    assert set(targets.flatten().tolist()) == {0, 1, 2, 3}


def is_reber(text: str) -> bool:
    """Reber's automaton, as Hochreiter & Schmidhuber's figure 3 has it."""
    arrows = {
        "start": {"B": "left"},
        "left": {"T": "up", "P": "down"},
        "up": {"S": "up", "X": "middle_up"},
        "down": {"T": "down", "V": "middle_down"},
        "middle_up": {"X": "down", "S": "right"},
        "middle_down": {"P": "middle_up", "V": "right"},
        "right": {"E": "end"},
    }
    state = "start"
    for letter in text:
        state = arrows.get(state, {}).get(letter, "")
    return state == "end"


def test_reber_strings_are_those_of_the_grammar(problems: dict[str, Any]) -> None:
    problem = problems["reber_50"]
    inputs, targets = drawn(problem, rows=30)
    for row in range(30):
        letters = [*inputs[:, row].argmax(-1).tolist(), int(targets[-1, row])]
        text = "".join("BEPSTVX"[letter] for letter in letters)
        assert text[1] == text[-2] in "TP"
        assert len(text) == problem.lag + 3
        inner = re.findall(r"B[^BE]*E", text[2:-2])
        assert "".join(inner) == text[2:-2]
        assert all(is_reber(part) for part in inner)
    right = torch.nn.functional.one_hot(targets, 7).float()
    assert problem.figure(right, targets) == 1.0
    wrong = right.clone()
    wrong[-2] = right[-2].roll(1, 0)
    assert problem.figure(wrong, targets) < 1.0


@pytest.mark.parametrize(("name", "things"), [("parity", 2), ("s3", 3), ("s5", 5)])
def test_permutations_are_the_swaps_one_after_another(
    problems: dict[str, Any], name: str, things: int
) -> None:
    inputs, targets = drawn(problems[name], rows=5)
    orders = {order: number for number, order in enumerate(itertools.permutations(range(things)))}
    letters = inputs.argmax(-1)
    assert set(letters.flatten().tolist()) == set(range(things))
    for row in range(5):
        order = list(range(things))
        for step, letter in enumerate(letters[:, row].tolist()):
            if letter:
                order[letter - 1], order[letter] = order[letter], order[letter - 1]
            assert orders[tuple(order)] == int(targets[step, row])
    assert problems[name].chance == 1 / math.factorial(things)
    if name == "parity":
        assert torch.equal(targets, letters.cumsum(0) % 2)


def test_permutations_are_tested_at_lengths_that_no_training_saw(problems: dict[str, Any]) -> None:
    problem = problems["s3"]
    batch = problem.draw_test(4, torch.Generator().manual_seed(0))
    assert len(batch.inputs) == 400
    right = torch.nn.functional.one_hot(batch.targets, 6).float()
    right[50:] = right[50:].roll(1, -1)  # all wrong from step 50 on
    assert problem.test_figures(right, batch.targets) == {
        "s3_40": 1.0,
        "s3_80": 0.0,
        "s3_160": 0.0,
        "s3_400": 0.0,
    }


def test_a_pair_is_learned_in_its_time_and_a_solved_one_stops(
    modules: dict[str, ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    training, problem = modules["memory_training"], modules["memory_problems"].PROBLEMS["parity"]
    found = training.learn(problem, "min_gru", minutes=0.03)
    assert len(found["tried"]) == 6
    assert found["steps"] in [trial["steps"] for trial in found["tried"]]
    assert set(found["skill"]) == {"parity_40", "parity_80", "parity_160", "parity_400"}
    validation = problem.draw(8, training.generator("validation", 0))
    trial = training.Trial(problem, "min_gru", training.settings("min_gru")[0], 0, validation)
    monkeypatch.setattr(type(problem), "figure", lambda self, outputs, targets: 1.0)
    trial.train(60.0)
    assert trial.solved
    assert trial.seconds < 30


def test_chrono_gates_remember_for_the_lag(modules: dict[str, ModuleType]) -> None:
    training, problem = modules["memory_training"], modules["memory_problems"].PROBLEMS["copying_100"]
    for cell, keeps in (("lstm", 1), ("min_gru", -1), ("gru", 1)):
        setting = next(s for s in training.settings(cell) if s.start == "chrono")
        layers = training.Network(problem, cell, setting).layers.requires_grad_(False)
        slot, gate = training._memory_gate(layers.cell)
        first, last = training.gate_rows(layers.cell.graph, slot, layers.stack.layer_sizes(1))[gate]
        bias = keeps * getattr(layers, f"bias_{slot}_l1")[first:last]
        assert bool(((bias >= 0) & (bias <= math.log(99))).all())
        assert abs(float(bias.exp().mean()) / 50 - 1) < 2 * of_draws(len(bias))


def test_a_variant_of_a_cell_is_a_contestant(modules: dict[str, ModuleType]) -> None:
    training, problem = modules["memory_training"], modules["memory_problems"].PROBLEMS["parity"]
    setting = training.settings("slstm_4_heads")[0]
    heads, whole = (training.Network(problem, name, setting).layers for name in ("slstm_4_heads", "slstm"))
    assert heads.weight_hh_l0.numel() == whole.weight_hh_l0.numel() / 4
    assert training.settings("slstm_4_heads") == training.settings("slstm")
    assert "slstm_4_heads" in modules["memory"].CELLS


def test_skill_goes_from_chance_to_perfect(problems: dict[str, Any]) -> None:
    adding, order = problems["adding_200"], problems["temporal_order_200"]
    assert [adding.skill(figure) for figure in (0.5, adding.chance, 0.0)] == [0.0, 0.0, 1.0]
    assert [order.skill(figure) for figure in (0.1, 0.25, 1.0)] == [0.0, 0.0, 1.0]
    assert order.skill(0.625) == close_to(0.5, table=TOTALS)


def test_results_that_are_kept_stay_beside_new_ones(
    modules: dict[str, ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = modules["memory"]
    name = "slstm_4_heads"
    committed = json.loads((FOLDER / "results" / "memory.json").read_text("utf-8"))["results"]
    before = [result for result in committed if result["cell"] != name]
    kept, own = tmp_path / "kept", tmp_path / "own"
    (own / "pairs").mkdir(parents=True)
    kept.mkdir()
    (kept / "memory.json").write_text(json.dumps({"results": before}))
    first = next(result for result in before if result["problem"] == "parity")
    for cell in (first["cell"], name):
        new = {**first, "cell": cell, "steps": 7}
        memory.result_file(own, ("parity", cell)).write_text(json.dumps(new))
    monkeypatch.setattr(memory, "KEPT", kept)
    assert memory.main(["--merge", "--keep", "--out", str(own)]) == 0
    after = json.loads((kept / "memory.json").read_text("utf-8"))["results"]
    assert len(after) == len(before) + 1
    assert [r["cell"] for r in after if r["steps"] == 7] == sorted([first["cell"], name], key=memory._place)
    assert len(json.loads((own / "memory.json").read_text("utf-8"))["results"]) == 2
    assert (kept / "memory.svg").stat().st_size > 1000


@pytest.mark.slow
def test_pairs_are_processes_whose_results_are_merged(
    modules: dict[str, ModuleType], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    memory, minutes = modules["memory"], 0.005
    memory.train_pair(tmp_path, ("parity", "min_gru"), minutes, 0)
    first = memory.result_file(tmp_path, ("parity", "min_gru"))
    before = first.read_bytes()
    given = ["--problems", "parity", "--out", str(tmp_path), "--max-minutes", str(minutes), "--jobs", "2"]
    assert memory.main([*given, "--cells", "min_gru,elman"]) == 0
    assert "1 of 1" in capfd.readouterr().out  # the other one was there
    report = json.loads((tmp_path / "memory.json").read_text())
    assert [result["cell"] for result in report["results"]] == ["elman", "min_gru"]
    assert first.read_bytes() == before
    assert (tmp_path / "memory.svg").stat().st_size > 1000
    assert memory.is_done(tmp_path, ("parity", "elman"), minutes, 0)
    assert not memory.is_done(tmp_path, ("parity", "elman"), minutes, 1)


def test_a_pair_that_fails_is_said_and_the_others_count(
    modules: dict[str, ModuleType],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    memory = modules["memory"]
    monkeypatch.setattr(memory.sys, "executable", "false")
    failed = memory.train_pairs(tmp_path, [("parity", "lstm"), ("s3", "gru")], 1.0, 0, 2)
    assert failed == [("parity", "lstm"), ("s3", "gru")]
    assert capsys.readouterr().out.count("FAILED (1)") == 2
    with pytest.raises(SystemExit, match="Did you mean 'lstm'"):
        memory.main(["--cells", "lstmm"])
    with pytest.raises(SystemExit, match="no result"):
        memory.main(["--merge", "--out", str(tmp_path / "none")])
