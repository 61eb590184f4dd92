from __future__ import annotations

from gatework.graph import Expr, Memory, cell
from gatework.graph.language import attend, emit, linear, sigmoid, tanh


@cell
def bahdanau_gru(x: Expr, h: Expr, memory: Memory) -> Expr:
    """Decoder step of RNNsearch: a GRU that reads the context which its previous state attends to (Bahdanau et al.
    2014, appendix A.2.2)."""
    context = attend("source", h, memory)
    r = sigmoid(linear("reset", x, h, context=context))
    z = sigmoid(linear("update", x, h, context=context))
    n = tanh(linear("candidate", x, r * h, context=context))
    emit("context", context)
    return (1 - z) * h + z * n
