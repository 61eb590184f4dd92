from __future__ import annotations

from gatework.graph import Expr, cell
from gatework.graph.language import gate, linear, sigmoid, tanh


@cell
def gru(x: Expr, h: Expr) -> Expr:
    """Gated recurrent unit, reset after the product, as cuDNN and torch.nn have it (Cho et al. 2014, version 3 of
    arXiv:1406.1078 has it before: `gru_original`)."""
    r = sigmoid(linear("reset", x, h))
    z = sigmoid(linear("update", x, h))
    n = gate("candidate", tanh(linear("candidate", x) + r * linear("candidate", h)))
    return (1 - z) * n + z * h
