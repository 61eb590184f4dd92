from __future__ import annotations

from gatework.graph import Expr, Memory, cell
from gatework.graph.language import attend, emit, gate, linear, sigmoid, tanh


@cell
def luong_lstm(x: Expr, a: Expr, h: Expr, c: Expr, memory: Memory) -> tuple[Expr, Expr, Expr]:
    """Decoder step of global attention with input feeding: the attentional vector a is the output, and is read again
    in the next step (Luong et al. 2015, equations 5 and 8, section 3.3)."""
    i = sigmoid(linear("input", x, h, feed=a))
    f = sigmoid(linear("forget", x, h, feed=a))
    g = tanh(linear("candidate", x, h, feed=a))
    o = sigmoid(linear("output", x, h, feed=a))
    c = f * c + i * g
    h = o * tanh(c)
    context = attend("source", h, memory, score="general")
    a = gate("attentional", tanh(linear("attentional", h, context=context)))
    emit("context", context)
    return a, h, c
