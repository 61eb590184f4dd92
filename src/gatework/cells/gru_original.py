from __future__ import annotations

from gatework.graph import Expr, cell
from gatework.graph.language import linear, sigmoid, tanh


@cell
def gru_original(x: Expr, h: Expr) -> Expr:
    """Gated recurrent unit, reset before the product (Cho et al. 2014, equations 5 to 8)."""
    r = sigmoid(linear("reset", x, h))
    z = sigmoid(linear("update", x, h))
    n = tanh(linear("candidate", x, r * h))
    return z * h + (1 - z) * n
