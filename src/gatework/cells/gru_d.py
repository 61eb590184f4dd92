from __future__ import annotations

from gatework.graph import Expr, Input, State, cell
from gatework.graph.language import exp, gate, linear, relu, sigmoid, tanh, vector, where


@cell
def gru_d(
    x: Expr,
    h: Expr,
    last: State(size="input_size"),
    mask: Input("input_size"),
    gap: Input("input_size"),
) -> tuple[Expr, Expr]:
    """GRU for values that are missing and times that are irregular (Che et al. 2018, arXiv:1606.01865): what was seen
    last, and the state, decay with the time since then. `mask` is 1 where a value of x was observed and 0 where not,
    whatever x holds there, NaN too; `gap` is the time since that value's last observation before this step. `mean` is
    the paper's mean of each value, begun at the 0 of standardised ones and learned."""
    observed = mask > 0
    decay = exp(-relu(vector("decay", size="input_size") * gap + vector("decay_bias", size="input_size")))
    decay = gate("input_decay", decay)
    seen = where(observed, x, decay * last + (1 - decay) * vector("mean", size="input_size", init=0.0))
    h = gate("state_decay", exp(-relu(linear("state_decay", gap)))) * h
    r = sigmoid(linear("reset", mask, h, seen=seen))
    z = sigmoid(linear("update", mask, h, seen=seen))
    n = tanh(linear("candidate", mask, r * h, seen=seen))
    return (1 - z) * h + z * n, where(observed, x, last)
