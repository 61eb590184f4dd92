"""`export_layer`: a layer as files for another machine, language or runtime."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor, nn

from gatework.errors import InputError, nearest
from gatework.export.cell import Cell
from gatework.export.files import (
    FORMS,
    WEIGHTS,
    Content,
    Exported,
    ExportOptions,
    Form,
    Say,
    Weights,
    check_free,
)
from gatework.export.network import Part, network
from gatework.export.targets import NATIVE
from gatework.layers import Recurrent


def export_layer(
    layer: Recurrent,
    out: str | Path,
    to: Form = "c",
    *,
    name: str = "model",
    target: str = NATIVE,
    weights: Weights = "float32",
    flash: int | None = None,
    ram: int | None = None,
    table: Tensor | nn.Embedding | None = None,
    head: nn.Linear | Cell | None = None,
    emit: Sequence[str] = (),
    say: Say = lambda line: None,
) -> Exported:
    """Writes a layer, as it runs in eval mode, into a new folder.

    What is to be written is run beside the layer first: C by this machine (in the place of another machine's code the
    same code, made for this one), WebAssembly by Node where it is installed, ONNX by ONNX Runtime.

    Args:
        out: the folder, which must not be there yet.
        to: `c`: an object file with the weights in it, a C header, an example and a README. `wasm`: a WebAssembly
            module with the weights in it, an ES module around it, and a README. `onnx`: a model of whole sequences and
            one of a step, in standard operators where the cell is one.
        name: what the functions are called by.
        target: of `c` the machine, a name of `gatework.export.targets.TARGETS`, or `native`: this one.
        weights: `int8` keeps weight matrices in 8 bits, as `layer.stream(weights="int8")` rounds them.
        flash: bytes that the target has for code and weights; None for any number.
        ram: bytes that it has for the states and a step's scratch memory.
        table: embeddings, (V, I): a step reads a token's number.
        head: a linear map of each output.
        emit: gates and states of the top layer that a step gives beside its output.
        say: is told the sizes, before anything is written.

    Raises:
        InputError: an unknown form or target, the nearest named; a folder that is there; an operation that the target
            has no code for; a model too large for `flash` or `ram`; weights that are not float32, or not finite.
        GateworkError: what is to be written gives other numbers than the layer.
        MissingExtraError: no linker for WebAssembly, no package for ONNX.
    """
    options = ExportOptions(target, weights, flash, ram, say)
    check_options(to, options, Path(out))
    if to == "html":
        raise InputError(
            "to='html'", "a layer has no page", "Tasks on texts have one: task.export(out, to='html')."
        )
    made = network(layer, name, table=table, head=head, emit=emit)
    return part_files([made], to, options).written(Path(out), {})


def check_options(to: str, options: ExportOptions, folder: Path) -> None:
    """Refuses what is wrong whatever the model is.

    Raises:
        InputError: an unknown form, or a folder that is there.
    """
    if to not in FORMS:
        raise InputError(f"to={to!r}", "there is no such form", nearest(to, FORMS))
    if options.weights not in WEIGHTS:
        raise InputError(
            f"weights={options.weights!r}",
            "there is no such form of weights",
            nearest(options.weights, WEIGHTS),
        )
    check_free(folder)


def part_files(parts: Sequence[Part], to: str, options: ExportOptions, *, examples: bool = True) -> Content:
    """The files of parts, whose names differ, in a form.

    Args:
        examples: of C, each network has one.

    Raises:
        InputError: as for `export_layer`.
    """
    if to == "wasm":
        from gatework.export.wasm.files import wasm_files

        return wasm_files(parts, options)
    if to == "onnx":
        from gatework.export.onnx.files import onnx_files

        return onnx_files(parts, options)
    from gatework.export.native.files import c_files

    return c_files(parts, options, examples=examples)
