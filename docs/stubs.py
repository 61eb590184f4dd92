"""The stubs that tell type checkers and editors which names Gatework has, made from its own tables.

    python docs/stubs.py

`tests/test_public_names.py` fails where one is stale.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import gatework
from gatework import cells

SOURCE = Path(gatework.__file__).parent
HEAD = "# Made by docs/stubs.py; what it says stands in __init__.py.\n\n"


def package_stub(homes: Mapping[str, str], parts: tuple[str, ...]) -> str:
    """The stub of `gatework`.

    Args:
        homes: public names to the modules that hold them.
        parts: modules and packages directly below it.
    """
    lines = [f"from gatework import {part} as {part}\n" for part in sorted(parts)]
    lines += [f"from {homes[name]} import {name} as {name}\n" for name in sorted(homes)]
    return HEAD + "".join(lines) + "\n__version__: str\n"


def cells_stub(names: list[str]) -> str:
    """The stub of `gatework.cells`, from the names of the catalogue."""
    homes = {"CATALOGUE": "catalogue", "get": "catalogue", "names": "catalogue", "load": "load"}
    homes |= {name: name for name in names}
    return HEAD + "".join(
        f"from gatework.cells.{homes[name]} import {name} as {name}\n" for name in sorted(homes)
    )


def stubs() -> dict[Path, str]:
    """Every stub's place and text."""
    return {
        SOURCE / "__init__.pyi": package_stub(gatework._homes(), gatework._PARTS),
        SOURCE / "cells" / "__init__.pyi": cells_stub(cells.names()),
    }


if __name__ == "__main__":
    for path, text in stubs().items():
        path.write_text(text, "utf-8")
