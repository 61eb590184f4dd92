from __future__ import annotations

from gatework.graph import Expr, State, cell
from gatework.graph.language import exp, gate, linear, log_sigmoid, maximum, sigmoid, tanh


@cell
def slstm(
    x: Expr, h: Expr, c: Expr, n: Expr, m: State(init=-1e30), *, heads: int = 1
) -> tuple[Expr, Expr, Expr, Expr]:
    """LSTM with exponential input gate, normaliser state n and stabiliser state m (Beck et al. 2024, "xLSTM",
    section 2.2). Each of the `heads` reads its own units of h alone. Before the first step m stands for minus infinity,
    so that the first stabilised input gate is 1."""
    input_drive = linear("input", x, h, heads=heads)
    forget_drive = log_sigmoid(linear("forget", x, h, heads=heads))
    z = tanh(linear("candidate", x, h, heads=heads))
    o = sigmoid(linear("output", x, h, heads=heads))
    stabiliser = maximum(forget_drive + m, input_drive)
    i = gate("input", exp(input_drive - stabiliser))
    f = gate("forget", exp(forget_drive + m - stabiliser))
    c = f * c + i * z
    n = f * n + i
    h = o * (c / n)
    return h, c, n, stabiliser
