from __future__ import annotations

from collections.abc import Callable

from gatework.graph import Expr, Input, cell
from gatework.graph.language import gate, linear, sigmoid, tanh


@cell
def cfc(x: Expr, h: Expr, gap: Input(size=1), *, activation: Callable[[Expr], Expr] = tanh) -> Expr:
    """Closed-form continuous-time network (Hasani et al. 2022, arXiv:2106.13898): where a liquid network's state is
    after the time `gap` since the step before. Three heads stand on one backbone: where the state is at first (`near`),
    where it tends to (`far`), and how fast (`speed`)."""
    backbone = gate("backbone", activation(linear("backbone", x, h)))
    soon = gate("soon", sigmoid(-linear("speed", backbone) * gap))
    return soon * tanh(linear("near", backbone)) + (1 - soon) * tanh(linear("far", backbone))
