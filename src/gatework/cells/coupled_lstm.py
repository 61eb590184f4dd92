from __future__ import annotations

from gatework.graph import Expr, cell
from gatework.graph.language import gate, linear, sigmoid, tanh


@cell
def coupled_lstm(x: Expr, h: Expr, c: Expr) -> tuple[Expr, Expr]:
    """LSTM with coupled input and forget gates, i = 1 - f (Greff et al. 2017, "LSTM: a search space odyssey", CIFG)."""
    f = sigmoid(linear("forget", x, h))
    g = tanh(linear("candidate", x, h))
    o = sigmoid(linear("output", x, h))
    i = gate("input", 1 - f)
    c = f * c + i * g
    h = o * tanh(c)
    return h, c
