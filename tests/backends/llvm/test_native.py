"""The cache of machine code: where it is kept, and what its names depend on."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

import gatework as gw
from gatework.backends.compiled import programs
from gatework.backends.llvm.codegen import target as engine_target
from gatework.backends.llvm.runtime import native
from tests.conftest import ROOT

CALL = """
import pathlib, torch, gatework as gw
from gatework.backends.llvm.runtime import native
if {homeless}:
    def home():
        raise RuntimeError("Could not determine home directory.")
    pathlib.Path.home = home
with gw.backend("llvm"):
    gw.GRU(2, 3)(torch.zeros(2, 1, 2))
print(*native.cache_folders(), sep="\\n")
"""


def call(*, homeless: bool = False, **variables: str) -> list[Path]:
    """The folders that a process in which the engine ran keeps code in."""
    known = {
        key: value for key, value in os.environ.items() if key not in ("GATEWORK_CACHE", "XDG_CACHE_HOME")
    }
    code = CALL.format(homeless=homeless)
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, env=known | variables
    )
    assert ended.returncode == 0, ended.stderr
    return [Path(line) for line in ended.stdout.split()]


def test_without_a_home_code_is_kept_in_a_private_temporary_folder(tmp_path: Path) -> None:
    (folder,) = call(homeless=True, TMPDIR=str(tmp_path))
    assert folder.parent == tmp_path
    assert folder.stat().st_mode & 0o777 == 0o700
    assert any(folder.iterdir())


def test_a_home_that_cannot_be_made_gives_way_to_a_temporary_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (folder,) = call(HOME=str(tmp_path / "file" / "home"), TMPDIR=str(tmp_path))
    assert folder.parent == tmp_path


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="no user numbers here")
def test_a_temporary_folder_that_others_may_write_to_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nowhere() -> Path:
        raise RuntimeError

    monkeypatch.delenv("GATEWORK_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(native.Path, "home", nowhere)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (folder,) = native.cache_folders()
    folder.chmod(0o777)
    assert native.cache_folders() == []
    folder.rmdir()
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    folder.symlink_to(tmp_path / "elsewhere")
    assert native.cache_folders() == []
    native.native.cache_clear()  # nothing is kept: it is compiled
    assert native.native(programs.programs_of(gw.gru.graph).loop, torch.float32, engine_target.host()).run


def test_a_damaged_file_of_the_cache_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEWORK_CACHE", str(tmp_path / "kernels"))
    graph, kernels = programs.programs_of(gw.minimal_gated_unit.graph).loop, tmp_path / "kernels"
    native.driver(torch.float32, engine_target.host())
    before = set(kernels.glob("*"))
    native.native.cache_clear()
    native.native(graph, torch.float32, engine_target.host())
    [file] = set(kernels.iterdir()) - before
    assert kernels.stat().st_mode & 0o777 == 0o700
    good = file.read_bytes()
    for damaged in (b"", good[:-7], good[:100] + b"x" + good[101:], b"{}\n" + good):
        file.write_bytes(damaged)
        native.native.cache_clear()
        native.native(graph, torch.float32, engine_target.host())
        assert file.read_bytes() == good
    assert set(kernels.iterdir()) - before == {file}


def exists(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # its parent is a module, and so it is a name in it
        return False


def imported(module: str, known: dict[str, Path]) -> None:
    """Adds a module, and all of this package that its file imports."""
    spec = find_spec(module)
    assert spec is not None
    assert spec.origin is not None
    known[module] = Path(spec.origin)
    for node in ast.walk(ast.parse(known[module].read_text())):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.module is not None:
            inner = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [name if exists(name) else node.module for name in inner]
        for name in names:
            if name.startswith("gatework.") and name not in known:
                imported(name, known)


def test_the_name_of_a_file_depends_on_every_source_of_its_code() -> None:
    known: dict[str, Path] = {}
    for module in ("lower", "driver"):
        imported(f"gatework.backends.llvm.codegen.{module}", known)
    assert {"gatework.graph.ops", "gatework.backends.llvm.codegen.mathematics"} <= set(known)
    left_out = {module for module, path in known.items() if path not in native.sources()}
    assert left_out <= {"gatework.errors"}  # of which no code is made


def test_what_a_killed_process_left_in_the_cache_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GATEWORK_CACHE", str(tmp_path))
    old, new = (tmp_path / f"{tempfile.gettempprefix()}{name}" for name in ("old", "new"))
    kept = tmp_path / ("0" * 64)
    for path in (old, new, kept):
        path.write_bytes(b"half a prog")
    for path in (old, kept):
        os.utime(path, (0, 0))
    native._tidy.cache_clear()
    assert native._write(tmp_path / ("1" * 64), "", b"code")
    assert not old.exists()
    assert new.exists()  # another process may be writing it
    assert kept.exists()
    assert sorted(path.name[0] for path in tmp_path.iterdir()) == ["0", "1", "t"]


def test_a_failed_write_leaves_nothing_in_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(self: Path, target: Path) -> None:
        raise OSError("no space is left")

    monkeypatch.setattr(Path, "replace", fails)
    assert not native._write(tmp_path / "program", "", b"code")
    assert list(tmp_path.iterdir()) == []


def test_a_single_step_compiles_nothing_where_a_sequence_ran(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Its weights are read where they stand, which the same code does."""
    monkeypatch.setenv("GATEWORK_CACHE", str(tmp_path))
    native.native.cache_clear()
    layer = gw.Recurrent(gw.cells.get("janet"), 3, 5)
    kept = []
    for steps in (4, 1):
        with gw.backend("llvm"):
            output, _ = layer(torch.randn(steps, 2, 3))
            output.sum().backward()
        kept.append(set(tmp_path.iterdir()))
    assert kept[0]
    assert kept[1] == kept[0]
