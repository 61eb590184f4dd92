from __future__ import annotations

from gatework.graph import Expr, cell
from gatework.graph.language import gate, linear, sigmoid, tanh, vector


@cell
def peephole_lstm(x: Expr, h: Expr, c: Expr) -> tuple[Expr, Expr]:
    """LSTM whose gates see the memory cell (Gers, Schraudolph & Schmidhuber 2002): input and forget gate the old
    one, output gate the new one."""
    i = gate("input", sigmoid(linear("input", x, h) + vector("peephole_input") * c))
    f = gate("forget", sigmoid(linear("forget", x, h) + vector("peephole_forget") * c))
    g = tanh(linear("candidate", x, h))
    c = f * c + i * g
    o = gate("output", sigmoid(linear("output", x, h) + vector("peephole_output") * c))
    h = o * tanh(c)
    return h, c
