"""The command `export`: a run, or a layer of a user's file."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, cast

import typer

from gatework.errors import InputError, nearest

__all__ = ["bytes_of", "export"]

_FACTORS = {"": 1, "K": 1024, "M": 1024 * 1024}


def export(
    source: Annotated[
        str, typer.Argument(metavar="RUN|FILE.py:NAME", help="a run, or a layer that a Python file makes")
    ],
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="the new folder")],
    to: Annotated[str, typer.Option(metavar="FORM", help="c, wasm, onnx or html")] = "c",
    target: Annotated[
        str, typer.Option(metavar="NAME", help="of c: the machine, thumbv7em-none-eabihf; else this one")
    ] = "native",
    name: Annotated[
        str, typer.Option(metavar="NAME", help="what a layer's functions are called by")
    ] = "model",
    weights: Annotated[
        str,
        typer.Option(
            metavar="float32|int8",
            help="how weights are kept: as float32, but in a page of over 5 MB as int8",
        ),
    ] = "",
    flash: Annotated[
        str, typer.Option(metavar="BYTES", help="what the target has for code and weights: 512K, 1M")
    ] = "",
    ram: Annotated[str, typer.Option(metavar="BYTES", help="what it has for states and a step: 64K")] = "",
) -> None:
    """The step of a trained network, or of a layer, where Python is not:

    gatework export runs/shakespeare --out shakespeare --to c --target aarch64-linux-gnu
    """
    from gatework import tasks
    from gatework.cli import printing
    from gatework.export import export_layer

    options: dict[str, Any] = {
        "target": target,
        **({"weights": weights} if weights else {}),
        "flash": bytes_of("--flash", flash),
        "ram": bytes_of("--ram", ram),
        "say": printing.note,
    }
    file, colon, attribute = source.rpartition(":")
    if colon and file.endswith(".py"):
        made = export_layer(_layer(Path(file), attribute), out, cast("Any", to), name=name, **options)
    else:
        made = tasks.load(Path(source)).export(out, cast("Any", to), **options)
    for written, size in made.files.items():
        print(f"{out / written}  {size:,} bytes")


def _layer(file: Path, name: str) -> Any:
    """The layer that a user's file calls so.

    Raises:
        InputError: there is no such file or layer.
    """
    from gatework.cells.load import run_file
    from gatework.layers import Recurrent

    if not file.is_file():
        raise InputError(
            f"layer {file}:{name}", f"there is no file {file}", "Give the path of an existing file."
        )
    made = run_file(file)
    if not isinstance(made.get(name), Recurrent):
        layers = [key for key, value in made.items() if isinstance(value, Recurrent)]
        what = f"{name} is no layer" if name in made else f"there is no {name}"
        raise InputError(f"layer {file}:{name}", what, nearest(name, layers))
    return made[name]


def bytes_of(flag: str, text: str) -> int | None:
    """A number of bytes such as `512K`; None for an empty text.

    Raises:
        InputError: it is no such number.
    """
    if not text:
        return None
    match = re.fullmatch(r"(\d+)([KM]?)", text)
    if match is None:
        raise InputError(flag, f"is {text!r}", "Give a number of bytes: 65536, 64K or 1M.")
    return int(match[1]) * _FACTORS[match[2]]
