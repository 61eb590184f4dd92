from __future__ import annotations

from gatework.graph import Expr, cell
from gatework.graph.language import linear, sigmoid, tanh


@cell
def minimal_gated_unit(x: Expr, h: Expr) -> Expr:
    """Minimal gated unit: one gate that forgets and resets (Zhou et al. 2016)."""
    f = sigmoid(linear("forget", x, h))
    n = tanh(linear("candidate", x, f * h))
    return (1 - f) * h + f * n
