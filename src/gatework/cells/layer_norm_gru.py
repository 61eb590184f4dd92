from __future__ import annotations

from gatework.graph import Expr, cell
from gatework.graph.language import gate, layer_norm, linear, sigmoid, tanh


@cell
def layer_norm_gru(x: Expr, h: Expr) -> Expr:
    """GRU with layer normalisation (Ba, Kiros & Hinton 2016, supplement): of the two gates' input and
    recurrent products, and of the candidate's, each before the reset gate acts."""
    names = ("reset", "update")
    from_input = layer_norm("input", *(linear(name, x) for name in names))
    from_state = layer_norm("state", *(linear(name, h) for name in names))
    r, z = (sigmoid(a + b) for a, b in zip(from_input, from_state, strict=True))
    r, z = gate("reset", r), gate("update", z)
    candidate = layer_norm("candidate_input", linear("candidate", x))
    n = gate("candidate", tanh(candidate + r * layer_norm("candidate_state", linear("candidate", h))))
    return (1 - z) * n + z * h
