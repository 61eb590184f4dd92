"""Which part of Gatework imports which, from the code itself, and the picture of it in docs/architecture.md.

    python docs/structure.py            # make the picture anew
    python docs/structure.py --check    # exit code 1 where the page is stale

`tests/test_architecture.py` reads the imports and the chain by these functions, and fails where the page is stale.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple

PACKAGE = "gatework"
ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src" / PACKAGE
PAGE = ROOT / "docs" / "architecture.md"

FOR_ALL = "errors"  # every part may import it; it imports none
BEGIN = "<!-- made by docs/structure.py from the imports: begin -->"
END = "<!-- made by docs/structure.py from the imports: end -->"


class Import(NamedTuple):
    """One import: which module it stands in, and what it asks for.

    Attributes:
        module: dotted name of the importing module; a package by its folder alone.
        line: its line there.
        name: dotted name of a module, or of a module and something in it.
    """

    module: str
    line: int
    name: str


def chain(page: str) -> tuple[tuple[str, ...], ...]:
    """The order of the parts, lowest first, from the one line of the page that begins with `errors <`.

    Parts between two `<` are siblings, which may not import each other.

    Raises:
        ValueError: the page has no such line, or more than one.
    """
    lines = re.findall(rf"^`?{FOR_ALL} < ([^`\n]+)`?$", page, re.MULTILINE)
    if len(lines) != 1:
        raise ValueError(
            f"docs/architecture.md has {len(lines)} lines `{FOR_ALL} < …`: it states the order once"
        )
    return tuple(tuple(part.strip() for part in level.split(",")) for level in lines[0].split("<"))


def module_name(root: Path, path: Path) -> str:
    """`src/gatework/graph/node.py` -> `gatework.graph.node`; a package by its folder alone."""
    parts = (PACKAGE, *path.relative_to(root).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(tree: ast.AST, module: str, is_package: bool) -> Iterator[Import]:
    """Every module that the code asks for, by its absolute name: wherever the import stands (inside a function, under
    TYPE_CHECKING), relative or not, or as a text given to import_module.
    """
    parts = module.split(".")
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(module, node.lineno, alias.name)
        elif isinstance(node, ast.ImportFrom):
            base: list[str] = []
            if node.level:
                base = parts[: len(parts) - (node.level - 1 if is_package else node.level)]
            target = ".".join([*base, *([node.module] if node.module else [])])
            for alias in node.names:  # `from .. import graph` names a module, `from ..graph import x` may
                yield Import(module, node.lineno, f"{target}.{alias.name}")
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if called in ("import_module", "__import__") and isinstance(node.args[0].value, str):
                yield Import(module, node.lineno, node.args[0].value)


def parsed(path: Path) -> ast.Module:
    """The syntax tree of a file; read once for all who ask, who must not change it."""
    return _parsed(path, path.stat().st_mtime_ns)


@cache
def _parsed(path: Path, written: int) -> ast.Module:
    return ast.parse(path.read_text("utf-8"))


def all_imports(root: Path) -> dict[str, list[Import]]:
    """The imports of every module of the package under `root`."""
    found = {}
    for path in sorted(root.rglob("*.py")):
        module = module_name(root, path)
        found[module] = list(imported(parsed(path), module, path.name == "__init__.py"))
    return found


def module_graph(root: Path) -> dict[str, set[str]]:
    """Which modules each module imports, of the package's own; the package's door, `gatework/__init__`, left out."""
    imports = all_imports(root)
    graph: dict[str, set[str]] = {module: set() for module in imports if module != PACKAGE}
    for module in graph:
        for each in imports[module]:
            target = each.name if each.name in imports else each.name.rpartition(".")[0]
            if target in graph and target != module:
                graph[module].add(target)
    return graph


def cycles(graph: Mapping[str, set[str]]) -> list[list[str]]:
    """The groups of modules that import each other, directly or not, each sorted (Tarjan 1972)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    groups: list[list[str]] = []

    def visit(module: str) -> None:
        index[module] = low[module] = len(index)
        stack.append(module)
        for other in sorted(graph[module]):
            if other not in index:
                visit(other)
                low[module] = min(low[module], low[other])
            elif other in stack:
                low[module] = min(low[module], index[other])
        if low[module] == index[module]:
            start = stack.index(module)
            group = sorted(stack[start:])
            del stack[start:]
            if len(group) > 1:
                groups.append(group)

    for module in sorted(graph):
        if module not in index:
            visit(module)
    return sorted(groups)


def part(module: str) -> str:
    """`gatework.graph.node` -> `graph`: the folder below the package, or the file."""
    names = module.split(".")
    return names[1] if len(names) > 1 else "__init__"


def picture(root: Path, order: tuple[tuple[str, ...], ...]) -> str:
    """The parts that exist, the highest first, and an arrow from each to every part that it imports."""
    ranks = [name for level in order for name in level]
    arrows: dict[str, set[str]] = {}
    for module, targets in module_graph(root).items():
        own = part(module)
        arrows.setdefault(own, set()).update({part(target) for target in targets} - {own, FOR_ALL})
    width = max(map(len, ranks))
    lines = []
    for name in reversed([name for name in ranks if name in arrows]):
        to = [other for other in reversed(ranks) if other in arrows[name]]
        lines.append(f"{name:<{width}}  ──►  {', '.join(to)}" if to else name)
    return "\n".join(lines)


def with_picture(page: str, drawn: str) -> str:
    """The page with a picture between its two markers.

    Raises:
        ValueError: the page lacks a marker.
    """
    if page.count(BEGIN) != 1 or page.count(END) != 1:
        raise ValueError(f"docs/architecture.md does not have {BEGIN!r} and {END!r} once each")
    before, rest = page.split(BEGIN)
    return f"{before}{BEGIN}\n\n```text\n{drawn}\n```\n\n{END}{rest.split(END)[1]}"


def main() -> int:
    page = PAGE.read_text("utf-8")
    made = with_picture(page, picture(SOURCE, chain(page)))
    if "--check" in sys.argv[1:]:
        if made != page:
            print(
                "docs/architecture.md is stale: python docs/structure.py makes its picture anew",
                file=sys.stderr,
            )
        return int(made != page)
    PAGE.write_text(made, "utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
