from __future__ import annotations

from gatework.graph import Expr, Input, cell
from gatework.graph.language import linear, sigmoid, tanh


@cell
def qrn(
    x: Expr, h: Expr, query: Input("input_size"), *, reset: bool = True, vector_gates: bool = False
) -> Expr:
    """Query-reduction network (Seo et al. 2017, arXiv:1606.04582): x is a sentence, `query` what is asked at it, and h
    the query as reduced so far. `reset` is the paper's reset gate; with `vector_gates` each unit has gates of its own.
    A further layer's query is the sum of both directions' outputs."""
    size = "hidden_size" if vector_gates else 1
    z = sigmoid(linear("update", x * query, size=size))
    n = tanh(linear("candidate", x, query=query))
    if reset:
        n = sigmoid(linear("reset", x * query, size=size)) * n
    return z * n + (1 - z) * h
