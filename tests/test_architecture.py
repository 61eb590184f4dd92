"""The rules of docs/architecture.md that a program can check.

Imports point one way and in no circle, the picture is not stale, nothing unpickles, no generator lends its caller a
mode, what is private stays in its part, files stay short, and importing Gatework loads no optional package.
"""

from __future__ import annotations

import ast
import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parent.parent


def _loaded(path: Path) -> ModuleType:
    """A script of the checkout as a module."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None  # noqa: PT018
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # NamedTuple looks its module up
    spec.loader.exec_module(module)
    return module


structure = _loaded(ROOT / "docs" / "structure.py")
PACKAGE, SOURCE = structure.PACKAGE, structure.SOURCE

CHAIN = structure.chain(structure.PAGE.read_text("utf-8"))
RANK = {part: rank for rank, parts in enumerate(CHAIN) for part in parts}
FOR_ALL = structure.FOR_ALL
DOORS = ("__init__", "__main__")  # the package's own doors may import every part
ABOVE_THE_DOOR = ("serve", "cli")  # they may import the package's own door, whose names are those below them

# Contexts whose effect is the thread's: a generator that yields inside one hands it to the body of its caller's loop.
MODES = {"inference_mode", "no_grad", "enable_grad", "set_grad_enabled", "autocast", "backend", "record"}
MODES |= {
    "catch_warnings",
    "preserved",
    "fork_rng",
    "errstate",
    "redirect_stdout",
    "redirect_stderr",
    "chdir",
}
UNPICKLING_MODULES = {"pickle", "cPickle", "cloudpickle", "dill", "marshal", "shelve", "joblib"}
UNPICKLING_CALLS = {"torch.save", "torch.load", "accelerator.save_state", "accelerator.load_state"}
VAGUE_NAMES = {"utils", "util", "helpers", "helper", "misc", "common"}


def crossings(root: Path) -> list[str]:
    """Imports that point the wrong way in the package under `root`, one line each."""
    wrong = []
    for module, imports in structure.all_imports(root).items():
        own = structure.part(module)
        if own in DOORS:
            continue
        if own != FOR_ALL and own not in RANK:
            wrong.append(f"{module}: {own!r} is no part named in docs/architecture.md")
            continue
        for _, line, name in imports:
            if name.split(".")[0] != PACKAGE:
                continue
            other = structure.part(name)
            if other in (own, FOR_ALL) or (own in ABOVE_THE_DOOR and other not in RANK):
                continue
            if own == FOR_ALL or other not in RANK or RANK[other] >= RANK[own]:
                wrong.append(f"{module}:{line}: {own} imports {name}")
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
        module = structure.module_name(root, path)
        tree = structure.parsed(path)
        uses = [
            (line, name)
            for _, line, name in structure.imported(tree, module, path.name == "__init__.py")
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


def yields_under_a_mode(root: Path) -> list[str]:
    """Generators that yield inside a `with` whose effect their caller would feel.

    A function that `contextlib.contextmanager` wraps is a context itself: that its effect lasts is what it is for.
    """
    wrong = []

    def look(node: ast.AST, where: str, mode: str) -> None:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ClassDef):
            decorators = [dotted(each) for each in getattr(node, "decorator_list", [])]
            if any(name.endswith("contextmanager") for name in decorators):
                return
            mode = ""
        elif isinstance(node, ast.With | ast.AsyncWith):
            calls = [item.context_expr for item in node.items if isinstance(item.context_expr, ast.Call)]
            names = [dotted(call.func).rpartition(".")[2] for call in calls]
            mode = next((name for name in names if name in MODES), mode)
        elif isinstance(node, ast.Yield | ast.YieldFrom) and mode:
            wrong.append(f"{where}:{node.lineno}: yield under {mode}")
        for child in ast.iter_child_nodes(node):
            look(child, where, mode)

    for path in sorted(root.rglob("*.py")):
        look(structure.parsed(path), str(path.relative_to(root)), "")
    return wrong


def asserts(root: Path) -> list[str]:
    """Asserts, which `python -O` takes away, but for `assert x is not None`, which tells the type checker what the code
    around it has made sure of.
    """
    wrong = []
    for path in sorted(root.rglob("*.py")):
        for node in ast.walk(structure.parsed(path)):
            if isinstance(node, ast.Assert) and not ast.unparse(node.test).endswith(" is not None"):
                wrong.append(f"{path.relative_to(root)}:{node.lineno}: {ast.unparse(node)}")
    return wrong


def private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def private_names_across_parts(root: Path) -> list[str]:
    """Private attributes and names of one part that another part reads.

    Whose a name is, is told by which modules give it a value or define it; a name that none of Gatework's modules
    does is another library's.
    """
    owners: dict[str, set[str]] = {}
    reads: list[tuple[str, int, str, str]] = []
    for path in sorted(root.rglob("*.py")):
        module = structure.module_name(root, path)
        own = structure.part(module)
        for node in ast.walk(structure.parsed(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                owners.setdefault(node.name, set()).add(own)
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                owners.setdefault(node.id, set()).add(own)
            elif isinstance(node, ast.Attribute) and private(node.attr):
                if isinstance(node.ctx, ast.Store):
                    owners.setdefault(node.attr, set()).add(own)
                elif dotted(node.value) not in ("self", "cls"):
                    reads.append((module, node.lineno, node.attr, ast.unparse(node)))
            elif isinstance(node, ast.ImportFrom):
                reads += [
                    (module, node.lineno, each.name, ast.unparse(node))
                    for each in node.names
                    if private(each.name)
                ]
    return [
        f"{module}:{line}: {text}"
        for module, line, name, text in reads
        if owners.get(name) and structure.part(module) not in owners[name]
    ]


def private_names_in_benchmarks(folder: Path, root: Path) -> list[str]:
    """Private attributes of Gatework's modules that a script in `folder` reads: they change without notice."""
    own = {
        node.attr
        for path in root.rglob("*.py")
        for node in ast.walk(structure.parsed(path))
        if isinstance(node, ast.Attribute) and private(node.attr) and dotted(node.value) == "self"
    }
    return [
        f"{path.name}:{node.lineno}: {ast.unparse(node)}"
        for path in sorted(folder.glob("*.py"))
        for node in ast.walk(structure.parsed(path))
        if isinstance(node, ast.Attribute) and node.attr in own and dotted(node.value) != "self"
    ]


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


def test_modules_do_not_import_each_other() -> None:
    cycles = structure.cycles(structure.module_graph(SOURCE))
    assert cycles == [], "cut these: what two modules share belongs in a third that imports neither"


@pytest.mark.parametrize(
    "files",
    [
        {"graph/a.py": "from .b import x", "graph/b.py": "from .a import y"},
        {
            "graph/a.py": "from gatework.graph import b",
            "graph/b.py": "def late():\n    import gatework.graph.a",
        },
        {
            "graph/a.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from .b import x",
            "graph/b.py": "from .c import x",
            "graph/c.py": "import importlib\nimportlib.import_module('gatework.graph.a')",
        },
        {"tasks/__init__.py": "from .base import Task", "tasks/base.py": "from gatework import tasks"},
    ],
)
def test_a_cycle_is_found(tmp_path: Path, files: dict[str, str]) -> None:
    empty = {f"{Path(name).parent}/__init__.py": "" for name in files} | {"__init__.py": ""}
    (cycle,) = structure.cycles(structure.module_graph(planted(tmp_path, {**empty, **files})))
    assert len(cycle) == len(files)


def test_what_is_no_cycle_is_not_blamed(tmp_path: Path) -> None:
    files = {
        "__init__.py": "from gatework.graph import a",
        "graph/__init__.py": "from .a import x\nfrom .b import y",
        "graph/a.py": "from .b import y",
        "graph/b.py": "import json",
        "cli/app.py": "import gatework",
    }
    assert structure.cycles(structure.module_graph(planted(tmp_path, files))) == []


def test_the_picture_of_the_architecture_page_is_todays() -> None:
    page = structure.PAGE.read_text("utf-8")
    drawn = structure.picture(SOURCE, CHAIN)
    assert structure.with_picture(page, drawn) == page, "run: python docs/structure.py"
    assert drawn.splitlines()[0].startswith("cli")
    assert "layers" in next(line for line in drawn.splitlines() if line.startswith("seq2seq")).split("►")[1]


def test_a_page_without_its_one_chain_or_its_markers_is_refused(tmp_path: Path) -> None:
    line = "errors < graph < cells, backends < tasks"
    assert structure.chain(f"text\n{line}\n") == (("graph",), ("cells", "backends"), ("tasks",))
    for page in ("no chain", f"{line}\n{line}\n"):
        with pytest.raises(ValueError, match="states the order once"):
            structure.chain(page)
    with pytest.raises(ValueError, match="once each"):
        structure.with_picture("no markers", "")
    files = {
        "graph/a.py": "",
        "cells/b.py": "from ..graph.a import x",
        "tasks/c.py": "import gatework.cells.b",
    }
    drawn = structure.picture(planted(tmp_path, files), structure.chain(line))
    assert [part.split() for part in drawn.splitlines()] == [
        ["tasks", "──►", "cells"],
        ["cells", "──►", "graph"],
        ["graph"],
    ]


def test_no_generator_yields_under_a_mode() -> None:
    assert yields_under_a_mode(SOURCE) == []


@pytest.mark.parametrize(
    ("code", "count"),
    [
        ("def f():\n    with torch.inference_mode():\n        yield 1", 1),
        ("def f():\n    with open('x'), torch.no_grad():\n        for x in y:\n            yield from x", 1),
        ("class A:\n    def f(self):\n        with gw.backend('eager'):\n            x = yield", 1),
        ("@contextlib.contextmanager\ndef f():\n    with torch.no_grad():\n        yield", 0),
        ("def f():\n    with torch.no_grad():\n        x = 1\n    yield x", 0),
        ("def f():\n    with torch.no_grad():\n        def g():\n            yield 1\n        return g", 0),
        ("def f():\n    with open('x') as file:\n        yield from file", 0),
    ],
)
def test_a_yield_under_a_mode_is_found(tmp_path: Path, code: str, count: int) -> None:
    assert len(yields_under_a_mode(planted(tmp_path, {"seq2seq/search.py": code}))) == count


def test_no_error_of_a_caller_is_an_assert() -> None:
    assert asserts(SOURCE) == []


def test_an_assert_is_found(tmp_path: Path) -> None:
    files = {"a.py": "assert x > 0, 'x is positive'", "b.py": "assert x is not None"}
    assert asserts(planted(tmp_path, files)) == ["a.py:1: assert x > 0, 'x is positive'"]


def test_private_names_stay_in_their_part() -> None:
    assert private_names_across_parts(SOURCE) == []


@pytest.mark.parametrize(
    ("where", "code", "count"),
    [
        ("seq2seq/network.py", "def f(layer):\n    return layer._sizes", 1),
        ("seq2seq/network.py", "from gatework.layers.recurrent import _suffix", 1),
        ("layers/stream.py", "def f(layer):\n    return layer._sizes", 0),
        ("seq2seq/network.py", "class A:\n    def f(self):\n        return self._sizes", 0),
        ("seq2seq/network.py", "import torch\nprint(torch._C)", 0),
    ],
)
def test_a_private_name_of_another_part_is_found(tmp_path: Path, where: str, code: str, count: int) -> None:
    layer = "def _suffix(): ...\nclass A:\n    def __init__(self):\n        self._sizes = {}"
    files = {"layers/recurrent.py": layer, where: code}
    assert len(private_names_across_parts(planted(tmp_path, files))) == count


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
        docstring = ast.get_docstring(structure.parsed(path)) or ""
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


def test_benchmarks_read_no_private_names() -> None:
    assert private_names_in_benchmarks(ROOT / "benchmarks", SOURCE) == []


def test_a_private_name_in_a_benchmark_is_found(tmp_path: Path) -> None:
    planted(tmp_path, {"src/layer.py": "class A:\n    def f(self):\n        self._graph = 1"})
    planted(tmp_path, {"benchmarks/speed.py": "def f(layer):\n    return layer._graph, layer.graph"})
    assert len(private_names_in_benchmarks(tmp_path / "benchmarks", tmp_path / "src")) == 1
