from __future__ import annotations

from gatework.graph import Expr, cell
from gatework.graph.language import gate, linear, sigmoid


@cell
def min_gru(x: Expr, h: Expr) -> Expr:
    """GRU whose gates read the input alone, so that its state is linear in the one before (Feng et al. 2024,
    arXiv:2410.01201, section 3.1.3)."""
    z = sigmoid(linear("update", x))
    candidate = gate("candidate", linear("candidate", x))
    return (1 - z) * h + z * candidate
