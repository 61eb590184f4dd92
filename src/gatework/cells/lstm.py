from __future__ import annotations

from gatework.graph import Expr, cell
from gatework.graph.language import linear, sigmoid, tanh


@cell
def lstm(x: Expr, h: Expr, c: Expr) -> tuple[Expr, Expr]:
    """Long short-term memory (Hochreiter & Schmidhuber 1997; forget gate: Gers et al. 2000)."""
    i = sigmoid(linear("input", x, h))
    f = sigmoid(linear("forget", x, h))
    g = tanh(linear("candidate", x, h))
    o = sigmoid(linear("output", x, h))
    c = f * c + i * g
    h = o * tanh(c)
    return h, c
