from __future__ import annotations

from gatework.graph import Expr, cell
from gatework.graph.language import linear, sigmoid, tanh


@cell
def janet(x: Expr, h: Expr, *, beta: float = 1.0) -> Expr:
    """LSTM with nothing but a forget gate (van der Westhuizen & Lasenby 2018, arXiv:1804.04849, section 3).

    beta: by how much more is added than forgotten; 0 couples the two.
    """
    s = linear("forget", x, h)
    candidate = tanh(linear("candidate", x, h))
    return sigmoid(s) * h + (1 - sigmoid(s - beta)) * candidate
