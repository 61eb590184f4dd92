from __future__ import annotations

from collections.abc import Callable

from gatework.graph import Expr, cell
from gatework.graph.language import gate, linear, relu, vector


@cell
def ind_rnn(x: Expr, h: Expr, *, activation: Callable[[Expr], Expr] = relu) -> Expr:
    """Independently recurrent network: each unit sees its own past alone (Li et al. 2018, equation 2); the recurrence
    begins between 0 and 1, as in section 5."""
    return gate("hidden", activation(linear("hidden", x) + vector("recurrence", init=(0.0, 1.0)) * h))
