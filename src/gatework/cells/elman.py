from __future__ import annotations

from collections.abc import Callable

import gatework.graph.language as gw
from gatework.graph import Expr, cell
from gatework.graph.language import linear, tanh


@cell
def elman(x: Expr, h: Expr, *, activation: Callable[[Expr], Expr] = tanh) -> Expr:
    """Simple recurrent network (Elman 1990, "Finding structure in time")."""
    return gw.gate("hidden", activation(linear("hidden", x, h)))
