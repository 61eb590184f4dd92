"""`export_layer`: a layer as files for another machine, language or runtime."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from torch import Tensor, nn

from gatework.errors import InputError, nearest
from gatework.export import targets
from gatework.export.cell import Cell
from gatework.export.network import Network, network
from gatework.layers import Recurrent

Form = Literal["c"]
FORMS: tuple[Form, ...] = get_args(Form)
Weights = Literal["float32", "int8"]
Say = Callable[[str], None]


@dataclass(frozen=True)
class Exported:
    """What an export has written.

    Attributes:
        folder: where the files are.
        files: their names and sizes in bytes.
        code_bytes, data_bytes: of machine code and of weights; 0 where a form has none of its own.
        memory_bytes: of states and scratch memory of a step.
    """

    folder: Path
    files: Mapping[str, int]
    code_bytes: int = 0
    data_bytes: int = 0
    memory_bytes: int = 0


def export_layer(
    layer: Recurrent,
    out: str | Path,
    to: Form = "c",
    *,
    name: str = "model",
    target: str = targets.NATIVE,
    weights: Weights = "float32",
    flash: int | None = None,
    ram: int | None = None,
    table: Tensor | nn.Embedding | None = None,
    head: nn.Linear | Cell | None = None,
    say: Say | None = None,
) -> Exported:
    """Writes a layer, as it runs in eval mode, into a new folder.

    Args:
        out: the folder, which must not be there yet.
        to: `c`: an object file with the weights in it, a C header, an example and a README.
        name: what the functions are called by.
        target: the machine, a name of `gatework.export.targets.TARGETS`, or `native`: the one that this runs on.
        weights: `int8` keeps weight matrices in 8 bits, as `layer.stream(weights="int8")` rounds them.
        flash: bytes that the target has for code and weights; None for any number.
        ram: bytes that it has for the states and a step's scratch memory.
        table: embeddings, (V, I): a step reads a token's number.
        head: a linear map of each output.
        say: is told the sizes, before anything is written.

    Raises:
        InputError: an unknown form or target, the nearest named; a folder that is there; an operation that the target
            has no code for; a model too large for `flash` or `ram`; weights that are not float32.
    """
    if to not in FORMS:
        raise InputError(f"to={to!r}", "there is no such form", nearest(to, FORMS))
    if weights not in get_args(Weights):
        raise InputError(
            f"weights={weights!r}", "there is no such form of weights", nearest(weights, get_args(Weights))
        )
    folder = Path(out)
    check_free(folder)
    made = network(layer, name, table=table, head=head)
    return _c(made, folder, targets.find(target), weights == "int8", flash, ram, say or (lambda line: None))


def check_free(folder: Path) -> None:
    """Refuses to export over something.

    Raises:
        InputError: there is a file, or a folder with something in it.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(str(folder), "is there already", "Name a new folder, or remove this one first.")


def _c(
    made: Network,
    folder: Path,
    target: targets.ExportTarget,
    int8: bool,
    flash: int | None,
    ram: int | None,
    say: Say,
) -> Exported:
    from gatework.export.native.code import compiled
    from gatework.export.native.texts import Texts

    code = compiled(made, target, int8=int8)
    say(
        f"{made.name} for {target.name}: code {code.code_bytes:,} bytes, weights {code.data_bytes:,} bytes, "
        f"states and scratch memory {code.memory_bytes:,} bytes"
    )
    for label, needed, given in (
        ("flash", code.code_bytes + code.data_bytes, flash),
        ("ram", code.memory_bytes, ram),
    ):
        if given is not None and needed > given:
            raise InputError(
                f"{label}={given:,}",
                f"{made.name} needs {needed:,} bytes of it on {target.name}",
                'Keep its weights in weights="int8", or export a smaller model.',
            )
    texts = Texts(code, target, int8=int8)
    files = {
        f"{made.name}.o": code.content,
        f"{made.name}.h": texts.header.encode(),
        "main.c": texts.example.encode(),
        "README.md": texts.readme.encode(),
    }
    write_folder(folder, files)
    sizes = {file: len(content) for file, content in files.items()}
    return Exported(folder, sizes, code.code_bytes, code.data_bytes, code.memory_bytes)


def write_folder(folder: Path, files: Mapping[str, bytes]) -> None:
    """Writes files into a new folder, all or none of them.

    Raises:
        InputError: the folder cannot be made.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    except OSError as error:
        raise InputError(str(folder), f"cannot be made ({error.strerror})", "Name another folder.") from error
    try:
        for file, content in files.items():
            (part / file).write_bytes(content)
        part.chmod(0o755)
        part.replace(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)
