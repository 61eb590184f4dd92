from __future__ import annotations

from gatework.graph import Expr, Memory, cell
from gatework.graph.language import attend, emit, linear, sigmoid, tanh


@cell
def bahdanau_lstm(x: Expr, h: Expr, c: Expr, memory: Memory) -> tuple[Expr, Expr]:
    """Decoder step of RNNsearch with an LSTM in place of the GRU (Bahdanau et al. 2014, appendix A.2.2; LSTM:
    Hochreiter & Schmidhuber 1997)."""
    context = attend("source", h, memory)
    i = sigmoid(linear("input", x, h, context=context))
    f = sigmoid(linear("forget", x, h, context=context))
    g = tanh(linear("candidate", x, h, context=context))
    o = sigmoid(linear("output", x, h, context=context))
    c = f * c + i * g
    h = o * tanh(c)
    emit("context", context)
    return h, c
