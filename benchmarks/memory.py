"""Which cells learn what needs a long memory or the tracking of a state, and at what cost: a table and a picture.

    gatework bench memory --jobs 8 --max-minutes 10 --out runs/memory
    gatework bench memory --cells lstm,min_gru --problems parity,s3 --max-minutes 2 --out runs/memory

Each pair of a problem (`memory_problems.py`) and a cell is trained (`memory_training.py`) by a process of its own on
one thread, `--jobs` of them at a time, and has at most `--max-minutes` of a core, all its settings together. Its result
is a file in --out; a pair whose result is there, of the same minutes and seed, is not trained again, so that a command
that was stopped goes on, and one of other cells, or on another machine, adds to the same folder. What is in the folder
is merged into memory.json, memory.svg and memory.png there; --keep adds it to the first two in benchmarks/results too,
where a pair of the folder takes the place of the same one.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from machine import machine
from memory_problems import PROBLEMS, shown_names
from memory_training import known_names, learn
from rich.console import Console
from rich.table import Table

from gatework.backends.processor import processor
from gatework.errors import nearest

HERE = Path(__file__).resolve().parent
KEPT = HERE / "results"
CELLS = (
    *("elman", "lstm", "gru", "janet", "mogrifier_lstm", "slstm", "slstm_4_heads", "co_rnn", "lem"),
    *("ind_rnn", "sru", "min_gru", "min_lstm", "rg_lru", "lru", "hgrn"),  # whose state meets no matrix
)
ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
Pair = tuple[str, str]


def result_file(folder: Path, pair: Pair) -> Path:
    return folder / "pairs" / "{}-{}.json".format(*pair)


def is_done(folder: Path, pair: Pair, minutes: float, seed: int) -> bool:
    """Whether the pair has a result of the same minutes and seed."""
    path = result_file(folder, pair)
    if not path.is_file():
        return False
    found = json.loads(path.read_text("utf-8"))
    return (found["minutes"], found["seed"]) == (minutes, seed)


def train_pair(folder: Path, pair: Pair, minutes: float, seed: int) -> None:
    """Trains one pair here, on one thread, and writes its result; whoever stops it leaves nothing half-written."""
    torch.set_num_threads(1)
    problem, cell = pair
    result = learn(PROBLEMS[problem], cell, minutes, seed)
    path = result_file(folder, pair)
    path.parent.mkdir(parents=True, exist_ok=True)
    half = path.with_suffix(f".{os.getpid()}")
    half.write_text(json.dumps({**result, "processor": processor()}, indent=1) + "\n", encoding="utf-8")
    half.replace(path)


def train_pairs(folder: Path, pairs: Sequence[Pair], minutes: float, seed: int, jobs: int) -> list[Pair]:
    """Trains pairs, so many processes at a time; the pairs that failed, whose output has been shown."""
    begin, done = time.monotonic(), 0

    def train(pair: Pair) -> bool:
        nonlocal done
        command = [sys.executable, __file__, "--pair", "/".join(pair), "--out", str(folder)]
        command += ["--max-minutes", str(minutes), "--seed", str(seed)]
        ended = subprocess.run(
            command, env={**os.environ, **ONE_THREAD}, capture_output=True, text=True, check=False
        )
        done += 1
        said = "trained" if ended.returncode == 0 else f"FAILED ({ended.returncode})\n{ended.stderr[-2000:]}"
        elapsed = (time.monotonic() - begin) / 60
        print(f"{done} of {len(pairs)}, {elapsed:.1f} minutes: {'/'.join(pair)} {said}", flush=True)
        return ended.returncode == 0

    with ThreadPoolExecutor(jobs) as pool:
        went_well = list(pool.map(train, pairs))
    return [pair for pair, well in zip(pairs, went_well, strict=True) if not well]


def merged(folder: Path, kept: Path | None = None) -> list[dict[str, Any]]:
    """The results of the folder, in the order of the problems and cells here.

    Args:
        kept: a memory.json, whose other pairs are added.
    """
    found = [json.loads(path.read_text("utf-8")) for path in (folder / "pairs").glob("*.json")]
    if kept is not None and kept.is_file():
        own = {(result["problem"], result["cell"]) for result in found}
        before = json.loads(kept.read_text("utf-8"))["results"]
        found += [result for result in before if (result["problem"], result["cell"]) not in own]
    cells = [*CELLS, *sorted({result["cell"] for result in found} - set(CELLS))]
    return sorted(found, key=lambda r: (list(PROBLEMS).index(r["problem"]), cells.index(r["cell"])))


def rows_and_columns(results: Sequence[dict[str, Any]]) -> tuple[list[str], list[str]]:
    """The cells, and the names of the figures, of which there is a result."""
    there = {name for result in results for name in result["figures"]}
    names = [name for problem in PROBLEMS.values() for name in shown_names(problem) if name in there]
    return list(dict.fromkeys(sorted((r["cell"] for r in results), key=_place))), names


def _place(cell: str) -> tuple[int, str]:
    return (CELLS.index(cell) if cell in CELLS else len(CELLS)), cell


def by_figure(
    results: Iterable[dict[str, Any]],
) -> dict[tuple[str, str], tuple[float, float, dict[str, Any]]]:
    """(cell, name of a figure) to the figure, its skill and the whole result."""
    return {
        (result["cell"], name): (figure, result["skill"][name], result)
        for result in results
        for name, figure in result["figures"].items()
    }


def text_of(name: str, figure: float) -> str:
    """Mean squared errors to their first digits, shares in percent."""
    return f"{figure:.1g}" if name.startswith("adding") else f"{100 * figure:.0f}"


def show(results: Sequence[dict[str, Any]], console: Console) -> None:
    """Two tables: the figures, and what each training took."""
    cells, names = rows_and_columns(results)
    found = by_figure(results)
    table = Table(
        title="Test figures (adding: mean squared error; else % right); * solved on the validation data"
    )
    costs = Table(title="Minutes of the chosen setting / milliseconds a step of 32 examples")
    for each in (table, costs):
        each.add_column("cell", no_wrap=True)
    problems = list(dict.fromkeys(result["problem"] for result in results))
    for name in names:
        table.add_column(name.replace("_", " "))
    for problem in problems:
        costs.add_column(problem.replace("_", " "))
    for cell in cells:
        told = [found.get((cell, name)) for name in names]
        table.add_row(
            cell,
            *(
                "" if one is None else text_of(name, one[0]) + "*" * one[2]["solved"]
                for name, one in zip(names, told, strict=True)
            ),
        )
        own = {result["problem"]: result for result in results if result["cell"] == cell}
        costs.add_row(
            cell,
            *(
                f"{own[p]['seconds'] / 60:.1f} / {own[p]['milliseconds_a_step']:.0f}" if p in own else ""
                for p in problems
            ),
        )
    console.print(table)
    console.print(costs)


def draw(results: Sequence[dict[str, Any]], paths: Iterable[Path]) -> None:
    """A square for each cell and figure: from chance, pale, to perfect, dark."""
    from matplotlib.figure import Figure

    cells, names = rows_and_columns(results)
    found = by_figure(results)
    skills = [
        [found[cell, name][1] if (cell, name) in found else float("nan") for name in names] for cell in cells
    ]
    figure = Figure(figsize=(2.2 + 0.62 * len(names), 1.6 + 0.36 * len(cells)), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(skills, cmap="YlGnBu", vmin=0.0, vmax=1.0, aspect="auto")
    for row, cell in enumerate(cells):
        for column, name in enumerate(names):
            if (cell, name) in found:
                value, skill, _ = found[cell, name]
                colour = "white" if skill > 0.6 else "black"
                axes.text(
                    column, row, text_of(name, value), ha="center", va="center", fontsize=8, color=colour
                )
    axes.set_xticks(range(len(names)), [name.replace("_", " ") for name in names], rotation=40, ha="right")
    axes.set_yticks(range(len(cells)), cells)
    axes.set_xticks([x - 0.5 for x in range(1, len(names))], minor=True)
    axes.set_yticks([y - 0.5 for y in range(1, len(cells))], minor=True)
    axes.grid(which="minor", color="white", linewidth=1.5)
    axes.tick_params(which="both", length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    minutes = sorted({result["minutes"] for result in results})
    axes.set_title(
        f"What each cell learned in {', '.join(f'{m:g}' for m in minutes)} minutes on one core\n"
        "adding: mean squared error; else % right",
        fontsize=10,
    )
    figure.colorbar(image, ax=axes, label="from chance (0) to perfect (1)", shrink=0.8)
    for path in paths:
        figure.savefig(path, dpi=144)


def write(results: Sequence[dict[str, Any]], folder: Path, pictures: Iterable[Path]) -> None:
    """memory.json in a folder, and its pictures."""
    report = {"machine": machine(), "results": results}
    (folder / "memory.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    draw(results, pictures)


def chosen(text: str, known: Iterable[str], flag: str) -> list[str]:
    """Names from a flag's list.

    Raises:
        SystemExit: a name that there is not; the message has the nearest.
    """
    names = text.split(",")
    for name in names:
        if name not in (known := list(known)):
            raise SystemExit(f"{flag}: there is no {name!r}. {nearest(name, known)}")
    return names


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cells", default=",".join(CELLS))
    parser.add_argument("--problems", default=",".join(PROBLEMS))
    parser.add_argument("--out", type=Path, default=Path("runs/memory"), help="folder of the results")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="processes at a time")
    parser.add_argument("--max-minutes", type=float, default=10.0, help="of a pair, all settings together")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--merge", action="store_true", help="train nothing, merge what is there")
    parser.add_argument(
        "--keep", action="store_true", help="add them to benchmarks/results/memory.json and .svg too"
    )
    parser.add_argument("--pair", metavar="PROBLEM/CELL", help="train this pair in this process")
    options = parser.parse_args(arguments)
    if options.pair is not None:
        problem, _, cell = options.pair.partition("/")
        pair = (chosen(problem, PROBLEMS, "--pair")[0], chosen(cell, known_names(), "--pair")[0])
        train_pair(options.out, pair, options.max_minutes, options.seed)
        return 0
    cells = chosen(options.cells, known_names(), "--cells")
    problems = chosen(options.problems, PROBLEMS, "--problems")
    longest_first = sorted(problems, key=lambda name: -PROBLEMS[name].lag)
    pairs = [(problem, cell) for problem in longest_first for cell in cells]
    left = [p for p in pairs if not is_done(options.out, p, options.max_minutes, options.seed)]
    failed = (
        []
        if options.merge
        else train_pairs(options.out, left, options.max_minutes, options.seed, options.jobs)
    )
    results = merged(options.out)
    if not results:
        raise SystemExit(f"There is no result in {options.out}.")
    show(results, Console(width=200))
    write(results, options.out, [options.out / "memory.svg", options.out / "memory.png"])
    if options.keep:
        write(merged(options.out, KEPT / "memory.json"), KEPT, [KEPT / "memory.svg"])
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
