"""What an export writes: a new folder, all of it or nothing."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from gatework.errors import InputError
from gatework.export.targets import NATIVE

Form = Literal["c", "wasm", "onnx", "html"]
FORMS: tuple[Form, ...] = get_args(Form)
Weights = Literal["float32", "int8"]
WEIGHTS: tuple[Weights, ...] = get_args(Weights)
Say = Callable[[str], None]


@dataclass(frozen=True)
class ExportOptions:
    """How a model is exported.

    Attributes:
        target: the machine, a name of `gatework.export.targets.TARGETS`, or `native`: the one that this runs on.
        weights: `int8` keeps weight matrices in 8 bits, as `layer.stream(weights="int8")` rounds them.
        flash: bytes that the target has for code and weights; None for any number.
        ram: bytes that it has for the states and a step's scratch memory.
        say: is told the sizes, before anything is written.
    """

    target: str = NATIVE
    weights: Weights = "float32"
    flash: int | None = None
    ram: int | None = None
    say: Say = lambda line: None

    @property
    def int8(self) -> bool:
        return self.weights == "int8"


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


@dataclass(frozen=True)
class Content:
    """The files of an export before they are written, with the sizes that `Exported` states.

    Attributes:
        facts: what a program must know that runs the parts, as JSON.
    """

    files: Mapping[str, bytes]
    code_bytes: int = 0
    data_bytes: int = 0
    memory_bytes: int = 0
    facts: Mapping[str, Any] = field(default_factory=dict)

    def written(self, folder: Path, further: Mapping[str, bytes]) -> Exported:
        """Writes the files, and further ones beside them."""
        files = {**self.files, **further}
        write_folder(folder, files)
        sizes = {file: len(content) for file, content in files.items()}
        return Exported(folder, sizes, self.code_bytes, self.data_bytes, self.memory_bytes)


def check_free(folder: Path) -> None:
    """Refuses to export over something.

    Raises:
        InputError: there is a file, or a folder with something in it.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(str(folder), "is there already", "Name a new folder, or remove this one first.")


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
