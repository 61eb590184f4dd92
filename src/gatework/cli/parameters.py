"""What several commands are given: arguments and flags that are the same in each."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gatework.cli.threads import set_threads

__all__ = ["Columns", "Data", "Device", "Run", "Settings", "Threads", "TrainingDevice", "Validation"]

Run = Annotated[Path, typer.Argument(metavar="RUN", help="folder of a trained run")]
Data = Annotated[list[Path], typer.Argument(metavar="DATA…", help="files to read")]
Validation = Annotated[
    list[Path] | None,
    typer.Option(
        "--valid", metavar="FILE", help="validation data, once for each file; else some is held back"
    ),
]
Columns = Annotated[str, typer.Option(metavar="a=b,…", help="the data's own column names: text=review")]
Settings = Annotated[
    list[str], typer.Option("--set", metavar="NAME=VALUE", help="an option; may be repeated")
]
Threads = Annotated[
    int | None,
    typer.Option(
        metavar="N", min=1, callback=set_threads, help="threads that share the work; else one a core"
    ),
]

Device = Annotated[str, typer.Option(help="where it runs: cpu, cuda, cuda:N, mps or auto")]
TrainingDevice = Annotated[str | None, typer.Option("--device", help="auto, cpu, cuda, cuda:N or mps")]
