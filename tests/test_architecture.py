"""The rules of docs/architecture.md that a program can check: imports point one way, nothing unpickles,
files stay short, and importing Gatework loads no optional package."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = "gatework"
SOURCE = Path(__file__).resolve().parent.parent / "src" / PACKAGE

# Each part may import the parts of the lines above its own, and no sibling.
CHAIN = (
    ("graph",),
    ("cells",),
    ("backends",),  # may import cells: a fused operator is recognised by a cell's equations
    ("layers",),
    ("seq2seq", "inspect", "export"),
    ("data",),
    ("metrics", "training"),
    ("baselines",),
    ("tasks",),
    ("serve",),
    ("cli",),
)
RANK = {part: rank for rank, parts in enumerate(CHAIN) for part in parts}
FOR_ALL = "errors"  # every part may import it; it imports none
DOORS = ("__init__", "__main__")  # the package's own doors may import every part

UNPICKLING_MODULES = {"pickle", "cPickle", "cloudpickle", "dill", "marshal", "shelve", "joblib"}
UNPICKLING_CALLS = {"torch.save", "torch.load", "accelerator.save_state", "accelerator.load_state"}
VAGUE_NAMES = {"utils", "util", "helpers", "helper", "misc", "common"}


def module_name(root: Path, path: Path) -> tuple[str, ...]:
    """`src/gatework/graph/nodes.py` -> ("gatework", "graph", "nodes"); a package by its folder alone."""
    parts = (PACKAGE, *path.relative_to(root).with_suffix("").parts)
    return parts[:-1] if parts[-1] == "__init__" else parts


def imported(tree: ast.AST, module: tuple[str, ...], is_package: bool) -> Iterator[tuple[int, str]]:
    """Every module that the code asks for, absolute and with its line: wherever the import stands
    (inside a function, under TYPE_CHECKING), relative or not, or as a text given to import_module."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            base: tuple[str, ...] = ()
            if node.level:
                drop = node.level - 1 if is_package else node.level
                base = module[: len(module) - drop]
            target = ".".join((*base, *([node.module] if node.module else [])))
            for alias in node.names:  # `from .. import graph` names a module, `from ..graph import x` may
                yield node.lineno, f"{target}.{alias.name}"
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if called in ("import_module", "__import__") and isinstance(node.args[0].value, str):
                yield node.lineno, node.args[0].value


def crossings(root: Path) -> list[str]:
    """Imports that point the wrong way in the package under `root`, one line each."""
    wrong = []
    for path in sorted(root.rglob("*.py")):
        module = module_name(root, path)
        own = module[1] if len(module) > 1 else "__init__"
        if own in DOORS:
            continue
        if own != FOR_ALL and own not in RANK:
            wrong.append(f"{path.relative_to(root)}: {own!r} is no part named in docs/architecture.md")
            continue
        tree = ast.parse(path.read_text("utf-8"))
        for line, name in imported(tree, module, path.name == "__init__.py"):
            parts = name.split(".")
            if parts[0] != PACKAGE:
                continue
            other = parts[1] if len(parts) > 1 else ""
            if other in (own, FOR_ALL):
                continue
            if own in CHAIN[-1] and other not in RANK:
                continue  # the package's own door stands just below the last parts
            if own == FOR_ALL or other not in RANK or RANK[other] >= RANK[own]:
                wrong.append(f"{path.relative_to(root)}:{line}: {own} imports {name}")
    return wrong


def dotted(node: ast.expr) -> str:
    """`torch.save` of the expression torch.save; empty where it is no plain name."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return ""


def unpickling(root: Path) -> list[str]:
    """Uses of anything that can run code while it reads a file."""
    wrong = []
    for path in sorted(root.rglob("*.py")):
        module = module_name(root, path)
        tree = ast.parse(path.read_text("utf-8"))
        uses = [
            (line, name)
            for line, name in imported(tree, module, path.name == "__init__.py")
            if name.split(".")[0] in UNPICKLING_MODULES or name in UNPICKLING_CALLS
        ]
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                name = dotted(node.func)
                if name in UNPICKLING_CALLS or name.endswith((".accelerator.save_state", ".load_state")):
                    uses.append((node.lineno, name))
                uses += [(node.lineno, key.arg) for key in node.keywords if key.arg == "allow_pickle"]
        wrong += [f"{path.relative_to(root)}:{line}: {name}" for line, name in uses]
    return wrong


def planted(root: Path, files: dict[str, str]) -> Path:
    """A small package tree with these files."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_imports_point_one_way() -> None:
    assert crossings(SOURCE) == []


@pytest.mark.parametrize(
    ("where", "code"),
    [
        ("graph/nodes.py", "from gatework.layers import Recurrent"),
        ("graph/nodes.py", "from gatework import layers"),
        ("graph/nodes.py", "import gatework.layers.recurrent as r"),
        ("graph/nodes.py", "from ..layers import Recurrent"),
        ("graph/nodes.py", "from .. import layers"),
        ("graph/__init__.py", "from ..layers import Recurrent"),
        ("graph/deep/inner.py", "from ...cells import lstm"),
        ("graph/nodes.py", "def late():\n    from gatework.layers import Recurrent"),
        (
            "graph/nodes.py",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from ..layers import Recurrent",
        ),
        ("graph/nodes.py", "import importlib\nimportlib.import_module('gatework.layers')"),
        ("graph/nodes.py", "import gatework"),
        ("graph/nodes.py", "from gatework import sigmoid"),
        ("cells/lstm.py", "from gatework.backends import eager"),
        ("training/loop.py", "from gatework.tasks import language_model"),
        ("data/text.py", "from gatework.training import loop"),
        ("errors.py", "from gatework.graph import nodes"),
        ("helpers.py", "x = 1"),
    ],
)
def test_a_crossing_import_is_found(tmp_path: Path, where: str, code: str) -> None:
    assert len(crossings(planted(tmp_path, {where: code}))) == 1


def test_imports_along_the_chain_are_not_blamed(tmp_path: Path) -> None:
    files = {
        "__init__.py": "from gatework.tasks import language_model",
        "graph/nodes.py": "from . import tracing\nfrom .tracing import t\nfrom ..errors import InputError",
        "layers/recurrent.py": "from ..graph.nodes import Graph\nfrom gatework.backends import eager",
        "cli/train.py": "import gatework\ndef run():\n    from gatework.tasks import language_model",
        "errors.py": "import difflib",
    }
    assert crossings(planted(tmp_path, files)) == []


def test_nothing_unpickles() -> None:
    assert unpickling(SOURCE) == []


@pytest.mark.parametrize(
    "code",
    [
        "import pickle",
        "from joblib import load",
        "import torch\ntorch.load('model.pt')",
        "from torch import save",
        "import numpy as np\nnp.load('x.npy', allow_pickle=True)",
        "def save(self):\n    self.accelerator.save_state('x')",
    ],
)
def test_unpickling_is_found(tmp_path: Path, code: str) -> None:
    assert unpickling(planted(tmp_path, {"training/loop.py": code}))


def test_files_are_short_and_say_what_they_are() -> None:
    long, vague = [], []
    for path in SOURCE.rglob("*.py"):
        text = path.read_text("utf-8")
        docstring = ast.get_docstring(ast.parse(text)) or ""
        if len(text.splitlines()) > 500 and "one piece" not in docstring:
            long.append(path.name)
        if VAGUE_NAMES & set(path.relative_to(SOURCE).with_suffix("").parts):
            vague.append(path.name)
        is_cell = path.parent.name == "cells"  # the cell's own docstring says it
        assert docstring or is_cell or not text.strip(), f"{path} does not say what it is"
    assert long == [], "split these, or say at their top why each is one piece"
    assert vague == [], "name these after what they do"


def test_importing_gatework_is_quick_and_loads_no_extra() -> None:
    extras = (
        "accelerate datasets pyarrow pandas tokenizers yaml sacrebleu sklearn tensorboard onnx onnxruntime"
    )
    code = (
        "import json, sys, time, torch\n"
        "before, clock = set(sys.modules), time.process_time()\n"
        "import gatework\n"
        "took = time.process_time() - clock\n"
        f"late = sorted(set({extras.split()!r}) & (set(sys.modules) - before))\n"
        "print(json.dumps([took, late]))"
    )
    took, late = 9.0, ["?"]
    for _ in range(3):  # a busy machine may spoil one timing, not three
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        took, late = json.loads(done.stdout)
        if took < 0.3:
            break
    assert late == []
    assert took < 0.3, f"import gatework took {took:.2f} s of processor time beside torch's own import"
