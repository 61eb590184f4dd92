"""What `import gatework` offers."""

from __future__ import annotations

import pkgutil
from types import ModuleType

import gatework


def test_every_part_is_an_attribute() -> None:
    parts = [part.name for part in pkgutil.iter_modules(gatework.__path__) if not part.name.startswith("_")]
    assert {"inspect", "cli", "graph", "cells", "errors"} <= set(parts)
    for part in parts:
        assert isinstance(getattr(gatework, part), ModuleType)
        assert part in dir(gatework)
