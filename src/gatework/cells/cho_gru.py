from __future__ import annotations

from gatework.graph import Expr, Static, cell
from gatework.graph.language import gate, linear, sigmoid, tanh


@cell
def cho_gru(x: Expr, h: Expr, context: Static) -> Expr:
    """Decoder step of the first encoder-decoder: a GRU that reads one fixed context at every step (Cho et al. 2014,
    appendix A.1.2)."""
    r = sigmoid(linear("reset", x, h, context=context))
    z = sigmoid(linear("update", x, h, context=context))
    n = gate("candidate", tanh(linear("candidate", x) + r * linear("candidate", h, context=context)))
    return z * h + (1 - z) * n
