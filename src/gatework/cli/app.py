"""The commands. Heavy imports happen inside them, so that help comes at once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from gatework.cli.exporting import export
from gatework.cli.parameters import Columns, Device, Run, Settings, Threads, TrainingDevice, Validation
from gatework.cli.sweeping import sweep
from gatework.errors import InputError


class Interrupted(Exception):
    """Ctrl-C in a command."""


class ReaderGone(Exception):
    """Whoever read a command's output has closed it."""


class Commands(TyperGroup):
    """The commands. `main` says how one ends: typer itself would turn Ctrl-C and a closed pipe into exit codes."""

    def invoke(self, context: Any) -> Any:
        try:
            return super().invoke(context)
        except KeyboardInterrupt as error:
            raise Interrupted from error
        except BrokenPipeError as error:
            raise ReaderGone from error


app = typer.Typer(
    name="gatework",
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"]},
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        import gatework

        print(f"gatework {gatework.__version__}")
        raise typer.Exit


@app.callback()
def program(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="print the version")
    ] = False,
) -> None:
    """Recurrent sequence models, from a data file to predictions."""


@app.command(context_settings={"help_option_names": []})
def train(
    context: typer.Context,
    task: Annotated[str, typer.Argument(metavar="TASK", help="what to train")] = "",
    data: Annotated[list[Path] | None, typer.Argument(metavar="DATA…", help="files to read")] = None,
    out: Annotated[Path | None, typer.Option(metavar="RUN", help="folder of the new run")] = None,
    valid: Validation = None,
    columns: Columns = "",
    config: Annotated[
        Path | None, typer.Option(metavar="FILE.yaml", help="options, one a line; or a run's config.json")
    ] = None,
    cell: Annotated[str | None, typer.Option(help="a cell of the catalogue, or FILE.py:NAME")] = None,
    from_run: Annotated[
        Path | None, typer.Option("--from", metavar="RUN", help="start from this run's weights")
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="passes over the data")] = None,
    max_minutes: Annotated[float | None, typer.Option(help="minutes at most")] = None,
    seed: Annotated[int | None, typer.Option(help="of every random number")] = None,
    device: TrainingDevice = None,
    threads: Threads = None,
    resume: Annotated[bool, typer.Option("--resume", help="go on with the run in --out")] = False,
    settings: Settings = [],  # noqa: B006  # typer reads the default, nothing changes it
    print_config: Annotated[
        bool, typer.Option("--print-config", help="print TASK's options as a file for --config")
    ] = False,
    show_help: Annotated[bool, typer.Option("--help", "-h", help="show this, and TASK's options")] = False,
) -> int:
    """Train a task on data and keep the run in a folder."""
    from gatework import tasks
    from gatework.cli import printing

    if show_help:
        print(context.get_help())
        if task:
            printing.options(tasks.get(task))
        else:
            print(
                f"\nTasks: {', '.join(tasks.names())}. `gatework train TASK --help` lists a task's options."
            )
        return 0
    from gatework.data import check_exists

    if not task:
        raise InputError("TASK", "is missing", f"Name one: {', '.join(tasks.names())}.")
    tasks.check_name(task)
    if print_config:
        printing.configuration(tasks.get(task))
        return 0
    # Before the imports, which take seconds.
    if not data:
        raise InputError("DATA", "is missing", "Give at least one file to train on.")
    if out is None:
        raise InputError("--out", "is missing", "Name the folder of the new run: --out runs/NAME.")
    for file in [*data, *(valid or [])]:
        check_exists(file)
    from gatework.cli.settings import read_columns, read_config, resume_command
    from gatework.tasks.options import split_settings
    from gatework.training.options import by_new_names

    kind = tasks.get(task)
    flags = {"cell": cell, "epochs": epochs, "max_minutes": max_minutes, "seed": seed, "device": device}
    options: dict[str, Any] = read_config(config, kind) if config else {}
    options |= by_new_names(kind.Options, split_settings(settings), "--set")
    options |= {name: value for name, value in flags.items() if value is not None}
    model = kind(**options)
    model.fit(data, valid=valid, out=out, columns=read_columns(columns), resume=resume, from_run=from_run)
    if model.result_.stopped == "interrupted":
        if model.run_.writes:  # under `accelerate launch` one process speaks for all
            note = f"Interrupted and saved at step {model.result_.steps}. Go on with:"
            printing.note(f"{note}\n  {resume_command()}")
        return 130
    if model.run_.writes:
        printing.figures(model.metrics_, title=f"{task} in {out}, on the validation data")
    return 0


app.command(short_help="A run or a layer as C, WebAssembly or ONNX.")(export)
app.command(short_help="Train a task with other options again and again, and find the best.")(sweep)


@app.command()
def evaluate(
    run: Run,
    data: Annotated[
        list[Path],
        typer.Argument(
            metavar="[RUN…] DATA…", help="further runs, which answer with it as an ensemble; files"
        ),
    ],
    columns: Columns = "",
    as_json: Annotated[bool, typer.Option("--json", help="print one JSON object")] = False,
    device: Device = "cpu",
    threads: Threads = None,
    settings: Settings = [],  # noqa: B006
) -> None:
    """Figures of a run, or several as one, beside naive baselines."""
    from gatework import tasks
    from gatework.cli import printing
    from gatework.cli.settings import read_columns, read_settings, split_runs

    further, data = split_runs(data)
    if not data:
        raise InputError("DATA", "is missing", "Give at least one file to evaluate on.")
    run_names = ", ".join(map(str, [run, *further]))
    model = tasks.load(run, *further, device=device)
    chosen = read_settings(settings, model.evaluation_settings(), f"evaluate with {model.name}")
    figures = model.evaluate(data, columns=read_columns(columns), **chosen)
    if as_json:
        print(json.dumps(figures, allow_nan=False))
    else:
        printing.figures(figures, title=f"{run_names} on {', '.join(map(str, data))}")


@app.command(short_help="An input in, a JSON line out, as they come; or a table.")
def predict(
    run: Run,
    rest: Annotated[
        list[Path],
        typer.Argument(
            metavar="[RUN…] [FILE|-]",
            help="further runs, to answer as an ensemble; inputs: one a line of text, or one a row of a table",
        ),
    ] = [],  # noqa: B006
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="JSON lines, or with the ending .csv or .tsv a table; else the terminal"
        ),
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE.png", help="draw the first forecasts of a forecaster")
    ] = None,
    horizon: Annotated[
        int | None, typer.Option(metavar="STEPS", help="steps that a forecaster forecasts")
    ] = None,
    columns: Columns = "",
    device: Device = "cpu",
    threads: Threads = None,
    settings: Settings = [],  # noqa: B006
) -> None:
    """An input in, a JSON line out, as they come; or a table in, and out with the answers as a column more. A
    forecaster's table has a row for each step to come."""
    from gatework import tasks
    from gatework.cli import printing
    from gatework.cli.settings import (
        forecaster_to_draw,
        open_output,
        read_columns,
        read_inputs,
        read_settings,
        split_runs,
    )
    from gatework.cli.streaming import write_record
    from gatework.data import write_table, writes_table

    further, files = split_runs(rest)
    if len(files) > 1:
        raise InputError(str(files[1]), "is one file too many", "Give one file of inputs, after the runs.")
    model = tasks.load(run, *further, device=device)
    file = str(files[0]) if files else "-"
    forecaster = forecaster_to_draw(model, file) if plot is not None else None
    inputs = read_inputs(file)
    if horizon is not None:
        settings = [*settings, f"horizon={horizon}"]
    given: dict[str, Any] = {
        **read_settings(settings, model.Settings, f"predict with {model.name}"),
        "columns": read_columns(columns),
    }
    if out is not None and writes_table(out):
        changed = write_table(out, model.predict_rows(inputs, **given))
        if changed:
            printing.note(
                f"{changed:,} cells of {out} have a space for a tab or line end: TSV has none, .csv has."
            )
    else:
        answers = model.predict_parts(inputs, **given)
        with open_output(out) as target:
            for line, parts in answers:
                write_record(target, line, parts)
    if forecaster is not None and plot is not None:
        forecaster.plot(inputs, plot, **given)
        printing.note(f"The first forecasts are drawn in {plot}.")


@app.command()
def chat(run: Run, device: Device = "cpu", threads: Threads = None) -> None:
    """A conversation with a trained chat bot."""
    from gatework import tasks
    from gatework.cli.chat import converse
    from gatework.tasks.chat_bot import ChatBot

    bot = tasks.load(run, device=device)
    if not isinstance(bot, ChatBot):
        raise InputError(str(run), f"is a {bot.name}, not a chatbot", "Use gatework predict.")
    converse(bot)


@app.command(short_help="Questions about one's own documents.")
def ask(
    run: Run,
    documents: Annotated[
        list[Path], typer.Argument(metavar="FILE…", help="text files, or folders of them", show_default=False)
    ],
    question: Annotated[
        str, typer.Option(metavar="TEXT", help="answer this one; else the lines of standard input")
    ] = "",
    as_json: Annotated[bool, typer.Option("--json", help="print a JSON object for each question")] = False,
    device: Device = "cpu",
    threads: Threads = None,
    settings: Settings = [],  # noqa: B006
) -> None:
    """Questions about one's own documents, each answer marked in its sentence: gatework ask runs/squad notes/"""
    from gatework import tasks
    from gatework.cli.asking import answer_questions
    from gatework.cli.settings import read_settings
    from gatework.tasks.reader import Reader

    reader = tasks.load(run, device=device)
    if not isinstance(reader, Reader):
        raise InputError(str(run), f"is a {reader.name}, not a reader", "Use gatework predict.")
    chosen = read_settings(settings, reader.Settings, f"predict with {reader.name}")
    answer_questions(reader, documents, [question] if question else None, as_json=as_json, settings=chosen)


@app.command(short_help="Sound in, its words out, as they come.")
def transcribe(
    run: Run,
    source: Annotated[
        str,
        typer.Argument(
            metavar="[FILE|-]",
            help="a sound file, or - for samples of one channel, without a header, on standard input",
        ),
    ] = "",
    microphone: Annotated[
        bool, typer.Option("--microphone", help="listen to the microphone until Ctrl-C (needs sounddevice)")
    ] = False,
    rate: Annotated[
        int | None, typer.Option(metavar="HZ", min=1, help="of the samples on standard input; else the run's")
    ] = None,
    samples: Annotated[
        str, typer.Option(metavar="s16le|f32le", help="what a sample on standard input is")
    ] = "s16le",
    as_json: Annotated[
        bool, typer.Option("--json", help="print a JSON object for each partial and final text")
    ] = False,
    device: Device = "cpu",
    threads: Threads = None,
    settings: Settings = [],  # noqa: B006
) -> None:
    """What is said in a sound, while it is heard: gatework transcribe runs/digits seven.wav, or

    arecord -t raw -f S16_LE -r 16000 | gatework transcribe runs/digits - --rate 16000
    """
    from gatework import tasks
    from gatework.cli.listening import chunks_of_file, chunks_of_microphone, chunks_of_pipe, show_heard
    from gatework.cli.settings import read_settings
    from gatework.tasks.transcriber import Transcriber

    if bool(source) == microphone:
        raise InputError("[FILE|-]", "give one of a sound file, - and --microphone", "See --help.")
    if samples not in ("s16le", "f32le"):
        raise InputError("--samples", f"is {samples!r}", "Give s16le or f32le.")
    model = tasks.load(run, device=device)
    if not isinstance(model, Transcriber):
        raise InputError(str(run), f"is a {model.name}, not a transcriber", "Use gatework predict.")
    chosen: dict[str, Any] = dict(read_settings(settings, model.Settings, f"predict with {model.name}"))
    if not model.streams and source not in ("", "-"):
        (record,) = model.predict(source, **chosen)
        print(json.dumps(record, allow_nan=False) if as_json else record["output"])
        return
    known = rate or model.options_.rate
    if microphone:
        chunks = chunks_of_microphone(known)
    elif source == "-":
        chunks = chunks_of_pipe(samples, known)  # type: ignore[arg-type]  # checked above
    else:
        known = model.options_.rate
        chunks = chunks_of_file(source, known)
    show_heard(model, chunks, known, chosen, as_json=as_json)


@app.command(context_settings={"help_option_names": []}, short_help="Serve runs over HTTP.")
def serve(
    context: typer.Context,
    given: Annotated[
        list[str] | None,
        typer.Argument(metavar="RUN…", help="folders of trained runs; NAME=FOLDER serves one as NAME"),
    ] = None,
    host: Annotated[str, typer.Option(help="where to listen; 0.0.0.0 is every address")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any that is free")] = 8000,
    token_file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="its first line is the token that requests must carry"),
    ] = None,
    device: Device = "cpu",
    threads: Threads = None,
    settings: Settings = [],  # noqa: B006
    show_help: Annotated[
        bool, typer.Option("--help", "-h", help="show this, and what --set changes")
    ] = False,
) -> None:
    """Serve runs over HTTP and WebSockets, on this machine alone unless --host says more: /docs has the routes."""
    from gatework.cli import printing
    from gatework.cli.serving import read_options, serve_runs
    from gatework.serve import ServiceOptions

    if show_help:
        print(context.get_help())
        printing.options_of(ServiceOptions, "What --set NAME=VALUE changes, with the defaults:")
        return
    options = read_options(settings, token_file)
    serve_runs(given or [], host=host, port=port, device=device, options=options)


@app.command(short_help="See inside: what a run's layers do with an input, and why.")
def inspect(
    run: Run,
    given: Annotated[
        str,
        typer.Argument(metavar="INPUT", help="a text, a JSON object or list, or a file (its first input)"),
    ],
    out: Annotated[Path, typer.Option(metavar="FILE.html", help="the report, one page")],
    pictures: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="also draw its parts as PNG files there")
    ] = None,
    columns: Columns = "",
    device: Device = "cpu",
    threads: Threads = None,
    settings: Settings = [],  # noqa: B006
) -> None:
    """Gates and states step by step, what the units tell, how the gradient flows, and what carried the answer:

    gatework inspect runs/en-de "How are you?" --out report.html
    """
    from gatework.cli.looking import look_inside

    look_inside(run, given, out, pictures, columns=columns, device=device, settings=settings)


@app.command(short_help="List and compare runs, and draw how they went.")
def runs(
    folder: Annotated[Path, typer.Argument(metavar="[FOLDER]", help="a run, or a folder of runs")] = Path(
        "runs"
    ),
    as_json: Annotated[bool, typer.Option("--json", help="print a JSON object for each run")] = False,
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE.png", help="draw losses and figures over the steps")
    ] = None,
) -> None:
    """List runs: how far each is, its best validation, and the options in which they differ."""
    from gatework.cli import printing
    from gatework.cli.runs import draw
    from gatework.training.overview import runs_below

    found = runs_below(folder)
    if plot is not None:
        draw(found, plot)
        printing.note(f"The courses are drawn in {plot}.")
    if as_json:
        for run in found:
            print(run.model_dump_json())
    else:
        printing.runs(found)


@app.command(short_help="The catalogue of cells, or one cell's equations.")
def cells(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="a cell, or FILE.py:NAME")] = None,
    latex: Annotated[bool, typer.Option("--latex", help="print the equations as LaTeX")] = False,
) -> None:
    """The catalogue of cells, or one cell's equations, states, gates and paper."""
    from gatework import cells as catalogue
    from gatework.cli import printing

    if name is not None:
        cell = catalogue.load(name)
        print(cell.latex() if latex else cell.describe())
        return
    if latex:
        raise InputError("--latex", "needs a cell", "Name one: gatework cells lstm --latex.")
    printing.cells({each: catalogue.get(each).doc for each in catalogue.names()})


@app.command(
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
    short_help="Run a benchmark suite, or tune `auto` to this machine.",
)
def bench(
    arguments: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[SUITE] [OPTION…]",
            help="a file of benchmarks/, by its name, and its own options; or tune",
        ),
    ] = None,
) -> int:
    """Run a benchmark suite of the project's checkout, layers by default, with its own options:

    gatework bench layers --isa avx2 --random 20 --seed 1, or gatework bench layers --help.

    gatework bench tune measures, in minutes, by which backend auto is quickest on this machine.
    """
    from gatework.cli.benchmarks import run_suite, tune

    given = arguments or []
    suite, options = ("layers", given) if not given or given[0].startswith("-") else (given[0], given[1:])
    return tune(options) if suite == "tune" else run_suite(suite, options)


@app.command(short_help="Train on data that needs no download, and show the result.")
def demo(
    name: Annotated[
        str, typer.Argument(metavar="[NAME]", help="dates (a translator), or language-model")
    ] = "dates",
) -> int:
    """Train on data that needs no download, a minute or a few, and show what was learned."""
    from gatework.cli.demos import run_demo

    return run_demo(name)
