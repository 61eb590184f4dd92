"""The command `sweep`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from gatework.cli.parameters import Columns, Data, Settings, Threads, TrainingDevice, Validation

__all__ = ["sweep"]


def sweep(
    task: Annotated[str, typer.Argument(metavar="TASK", help="what to train")],
    data: Data,
    out: Annotated[Path, typer.Option(metavar="DIR", help="folder of the sweep, new or to go on with")],
    trials: Annotated[int, typer.Option(metavar="N", min=1, help="trials that the folder is to have")] = 20,
    search: Annotated[
        list[str],
        typer.Option(metavar="NAME=LOW..HIGH|A,B,C", help="an option to search; may be repeated"),
    ] = [],  # noqa: B006
    valid: Validation = None,
    columns: Columns = "",
    config: Annotated[
        Path | None, typer.Option(metavar="FILE.yaml", help="options of every trial, one a line")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="of the options that are tried")] = 0,
    prune: Annotated[
        bool, typer.Option("--prune/--no-prune", help="stop trials that validate worse than most")
    ] = True,
    device: TrainingDevice = None,
    threads: Threads = None,
    settings: Settings = [],  # noqa: B006
) -> int:
    """Train a task with other options again and again, by as many processes on one folder as are started:

    gatework sweep classifier train.tsv --out sweeps/films --trials 30 --search hidden_size=64..512
    --search cell=lstm,gru,min_gru --set epochs=5

    A process that was killed harms nothing: another one, or the same command again, goes on with its trial.
    """
    from gatework import tasks
    from gatework.cli import printing
    from gatework.cli.settings import read_columns, read_config
    from gatework.data import check_exists
    from gatework.tasks.options import split_settings
    from gatework.tasks.sweeping import Sweep

    tasks.check_name(task)
    for file in [*data, *(valid or [])]:
        check_exists(file)
    kind = tasks.get(task)
    options: dict[str, Any] = read_config(config, kind) if config else {}
    options |= split_settings(settings)
    options |= {"device": device} if device is not None else {}
    wanted = split_settings(search, "--search") or None
    swept = Sweep(kind, out, search=wanted, options=options, seed=seed, prune=prune)
    swept.train(data, trials, valid=valid, columns=read_columns(columns))
    printing.sweep(swept.write(), swept.figure.name, title=f"{task}, trials of {out}")
    if swept.interrupted:
        printing.note("Interrupted and saved. The same command goes on.")
        return 130
    return 0
