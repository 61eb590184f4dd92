from __future__ import annotations

from gatework.graph import Expr, cell
from gatework.graph.language import gate, linear, sigmoid, vector


@cell
def sru(x: Expr, h: Expr, c: Expr) -> tuple[Expr, Expr]:
    """Simple recurrent unit, whose products are of the input alone (Lei et al. 2018, arXiv:1709.02755, equations 1 to
    4); the highway has a linear map, as where input and state differ in width."""
    f = gate("forget", sigmoid(linear("forget", x) + vector("recurrence_forget") * c))
    r = gate("reset", sigmoid(linear("reset", x) + vector("recurrence_reset") * c))
    c = f * c + (1 - f) * linear("candidate", x)
    return r * c + (1 - r) * linear("highway", x), c
