"""The C example of an export, built by the compiler of its target and run, beside the layer's stream."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import llvmlite.binding as llvm
import pytest
import torch

import gatework as gw
from gatework.errors import InputError
from gatework.export import targets
from gatework.export.targets import TARGETS
from tests.contracts.test_cells import users_own
from tests.export.test_native import layer_of
from tests.tolerances import EXPORTED, assert_close

# How each target's example is built and run; the example of a microcontroller stands in a Linux program, without the
# attributes of its object that say which processors it is for.
RUN = {
    "native": (["gcc"], []),
    "x86_64-linux-gnu": (["gcc"], []),
    "aarch64-linux-gnu": (["aarch64-linux-gnu-gcc", "-static"], ["qemu-aarch64"]),
    "armv7-linux-gnueabihf": (["arm-linux-gnueabihf-gcc", "-static"], ["qemu-arm"]),
    "thumbv7em-none-eabihf": (["arm-linux-gnueabihf-gcc", "-static", "-mthumb"], ["qemu-arm"]),
}
WARNINGS = ["-std=c11", "-Wall", "-Wextra", "-Wpedantic", "-Werror"]


def run(*command: str | Path, given: str = "") -> str:
    if shutil.which(str(command[0])) is None:
        pytest.skip(f"{command[0]} is not installed: `make qemu` installs what runs code of other machines")
    done = subprocess.run(
        [str(part) for part in command], input=given, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def built(folder: Path, target: str, name: str = "model") -> list[str | Path]:
    """The command that runs an export's example."""
    compiler, emulator = RUN[target]
    if target == "thumbv7em-none-eabihf":
        run("arm-linux-gnueabihf-objcopy", "-R", ".ARM.attributes", folder / f"{name}.o")
    run(*compiler, *WARNINGS, folder / "main.c", folder / f"{name}.o", "-o", folder / name)
    return [*emulator, folder / name]


def text(*rows: torch.Tensor) -> str:
    return "".join(" ".join(f"{value:.9g}" for value in row.flatten().tolist()) + "\n" for row in rows)


def numbers(printed: str) -> torch.Tensor:
    return torch.tensor([[float(value) for value in line.split()] for line in printed.splitlines()])


def check_calls_nothing(file: Path) -> None:
    """No symbol of an object is defined elsewhere."""
    lines = [line.split() for line in run("readelf", "--symbols", "--wide", file).splitlines()]
    undefined = {line[7] for line in lines if len(line) == 8 and line[6] == "UND"}
    assert undefined <= {"_GLOBAL_OFFSET_TABLE_"}


def test_a_call_of_the_c_library_would_be_seen(tmp_path: Path) -> None:
    (tmp_path / "own.c").write_text("double sin(double); double own(double x) { return sin(x); }")
    run("gcc", "-c", tmp_path / "own.c", "-o", tmp_path / "own.o")
    with pytest.raises(AssertionError, match="sin"):
        check_calls_nothing(tmp_path / "own.o")


@pytest.mark.parametrize("target", list(RUN))
def test_the_example_gives_the_numbers_of_the_stream(tmp_path: Path, target: str) -> None:
    layer = layer_of("layer_norm_lstm", num_layers=2)
    made = gw.export_layer(layer, tmp_path / "out", name="model", target=target)
    x, stream = torch.randn(6, 1, 5), layer.stream()
    expected = torch.stack([stream.step(value)[0].clone() for value in x])
    printed = run(*built(made.folder, target), given=text(*x))
    assert_close(numbers(printed), expected, EXPORTED)
    check_calls_nothing(made.folder / "model.o")
    readme = (made.folder / "README.md").read_text("utf-8")
    assert f"{made.code_bytes:,} bytes" in readme
    assert f"{made.memory_bytes:,} bytes" in readme


@pytest.mark.parametrize("target", ["native", "aarch64-linux-gnu"])
def test_the_example_of_two_directions(tmp_path: Path, target: str) -> None:
    layer = layer_of(users_own, num_layers=2, bidirectional=True)
    made = gw.export_layer(layer, tmp_path / "out", target=target)
    x = torch.randn(6, 1, 5)
    printed = run(*built(made.folder, target), given="6\n" + text(*x))
    assert_close(numbers(printed), layer(x)[0][:, 0].detach(), EXPORTED)


def test_the_example_of_a_decoder(tmp_path: Path) -> None:
    layer, memory, x = layer_of("bahdanau_gru"), torch.randn(9, 1, 7), torch.randn(4, 1, 5)
    made = gw.export_layer(layer, tmp_path / "out")
    printed = run(*built(made.folder, "native"), given=text(torch.tensor(9.0), *memory, *x))
    assert_close(numbers(printed), layer(x, memory=memory)[0]["output"][:, 0].detach(), EXPORTED)


def test_the_example_of_further_inputs(tmp_path: Path) -> None:
    layer, (x, mask, gap) = layer_of("gru_d"), torch.rand(3, 6, 1, 5).round(decimals=1)
    made = gw.export_layer(layer, tmp_path / "out")
    printed = run(*built(made.folder, "native"), given=text(*torch.cat([x, mask, gap], -1)))
    expected = layer(x, inputs={"mask": mask, "gap": gap})[0][:, 0].detach()
    assert_close(numbers(printed), expected, EXPORTED)


@pytest.mark.parametrize("target", [name for name in TARGETS if name not in RUN])
def test_targets_that_are_not_run_here_are_compiled(tmp_path: Path, target: str) -> None:
    made = gw.export_layer(layer_of("lstm"), tmp_path / "out", target=target, weights="int8")
    assert 1_000 < made.code_bytes < 20_000
    assert 11 * 4 * 16 < made.data_bytes < 8_000
    if not target.endswith(("msvc", "macos")):
        check_calls_nothing(made.folder / "model.o")


def refused(tmp_path: Path, **options: Any) -> str:
    with pytest.raises(InputError) as error:
        gw.export_layer(gw.LSTM(3, 4), tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()
    return str(error.value)


def test_an_unknown_target_names_the_nearest(tmp_path: Path) -> None:
    assert "Did you mean 'thumbv7em-none-eabihf'?" in refused(tmp_path, target="thumbv7m-none-eabi")
    assert "Did you mean 'c'?" in refused(tmp_path, to="C") or "Known: c" in refused(tmp_path, to="C")
    assert "there is no such form of weights" in refused(tmp_path, weights="int4")
    assert "is no name of a function in C" in refused(tmp_path, name="my-model")


def test_a_model_that_is_too_large_says_its_size_before_anything_is_written(tmp_path: Path) -> None:
    said: list[str] = []
    told = refused(tmp_path, target="thumbv7em-none-eabihf", flash=2_000, say=said.append)
    assert "flash=2,000: model needs" in told
    assert "bytes of it on thumbv7em-none-eabihf" in told
    assert "states and scratch memory" in said[0]
    assert "ram=10: model needs" in refused(tmp_path, ram=10)


def test_an_export_over_something_is_refused(tmp_path: Path) -> None:
    gw.export_layer(gw.LSTM(3, 4), tmp_path / "out")
    with pytest.raises(InputError, match=r"out: is there already\. Name a new folder"):
        gw.export_layer(gw.LSTM(3, 4), tmp_path / "out")


def test_the_same_layer_gives_the_same_bytes(tmp_path: Path) -> None:
    layer = gw.GRU(3, 4)
    folders = [
        gw.export_layer(layer, tmp_path / name, target="aarch64-linux-gnu").folder for name in ("a", "b")
    ]
    first, second = ((folder / "model.o").read_bytes() for folder in folders)
    assert first == second


def test_the_native_target_is_this_machine() -> None:
    assert targets.find("native").triple == llvm.get_process_triple()
