from __future__ import annotations

from gatework.graph import Expr, cell
from gatework.graph.language import gate, linear, sigmoid


@cell
def min_lstm(x: Expr, h: Expr) -> Expr:
    """LSTM whose gates read the input alone and sum to one, so that its state is linear in the one before (Feng et al.
    2024, arXiv:2410.01201, section 3.2.4)."""
    f = sigmoid(linear("forget", x))
    i = sigmoid(linear("input", x))
    candidate = gate("candidate", linear("candidate", x))
    f, i = gate("forget", f / (f + i)), gate("input", i / (f + i))
    return f * h + i * candidate
