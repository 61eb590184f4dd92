from __future__ import annotations

from gatework.graph import Expr, State, cell
from gatework.graph.language import linear, project, sigmoid, tanh


@cell
def projected_lstm(x: Expr, h: State(size="proj_size"), c: Expr) -> tuple[Expr, Expr]:
    """LSTM whose output is projected to a narrower state (Sak et al. 2014), without peepholes."""
    i = sigmoid(linear("input", x, h))
    f = sigmoid(linear("forget", x, h))
    g = tanh(linear("candidate", x, h))
    o = sigmoid(linear("output", x, h))
    c = f * c + i * g
    h = project("recurrent", o * tanh(c))
    return h, c
