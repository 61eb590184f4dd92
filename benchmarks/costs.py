"""The committed cost table of an instruction set, measured as `gatework bench tune` measures a machine's own.

    python benchmarks/costs.py [--isa avx512|avx2] [--threads 2] [--seconds 0.2]
                               [--out src/gatework/backends/costs.json]

Replaces the table of that instruction set in the file, with the machine and the commit beside it.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import isa
import torch
from machine import machine
from rich.progress import Progress

from gatework.layers import tuning

COMMITTED = Path(__file__).resolve().parent.parent / "src" / "gatework" / "backends" / "costs.json"


def as_text(content: Mapping[str, Any]) -> str:
    """The file's text, a measured shape a line."""
    tables = []
    for name, table in content["tables"].items():
        kinds = (
            f'    "{kind}": [\n' + ",\n".join(f"     {json.dumps(row)}" for row in rows) + "\n    ]"
            for kind, rows in table["ratios"].items()
        )
        head = f'  "{name}": {{\n   "machine": {json.dumps(table["machine"])},\n   "ratios": {{\n'
        tables.append(head + ",\n".join(kinds) + "\n   }\n  }")
    columns = f' "columns": {json.dumps(content["columns"])},\n'
    return "{\n" + columns + ' "tables": {\n' + ",\n".join(tables) + "\n }\n}\n"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--isa", choices=isa.NAMES, help="instruction set; by default the widest")
    parser.add_argument("--seconds", type=float, default=0.2, help="of each measurement, at least")
    parser.add_argument("--threads", type=int, help="that share the work; by default torch's number")
    parser.add_argument("--out", type=Path, default=COMMITTED)
    options = parser.parse_args(arguments)
    isa.start_at(options.isa)
    if options.threads:
        torch.set_num_threads(options.threads)
    here = machine()
    with Progress() as bar:
        task = bar.add_task("measured", total=None)
        table = tuning.tune(
            seconds=options.seconds, progress=lambda done, of: bar.update(task, completed=done, total=of)
        )
    content = json.loads(options.out.read_text("utf-8"))
    content["tables"][here["isa"]] = {"machine": here, "ratios": table.rows()}
    options.out.write_text(as_text(content), encoding="utf-8")


if __name__ == "__main__":
    main()
