from __future__ import annotations

from gatework.graph import Expr, cell
from gatework.graph.language import gate, layer_norm, linear, sigmoid, tanh


@cell
def layer_norm_lstm(x: Expr, h: Expr, c: Expr) -> tuple[Expr, Expr]:
    """LSTM with layer normalisation (Ba, Kiros & Hinton 2016, supplement): of the four gates' input products
    together, of their recurrent products together, and of the memory cell on its way to the output."""
    names = ("input", "forget", "candidate", "output")
    from_input = layer_norm("input", *(linear(name, x) for name in names))
    from_state = layer_norm("state", *(linear(name, h) for name in names))
    i, f, g, o = (a + b for a, b in zip(from_input, from_state, strict=True))
    i, f, o = gate("input", sigmoid(i)), gate("forget", sigmoid(f)), gate("output", sigmoid(o))
    g = gate("candidate", tanh(g))
    c = f * c + i * g
    h = o * tanh(layer_norm("cell", c))
    return h, c
