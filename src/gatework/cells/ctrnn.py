from __future__ import annotations

from collections.abc import Callable

from gatework.graph import Expr, cell
from gatework.graph.language import gate, linear, tanh


@cell
def ctrnn(x: Expr, h: Expr, *, leak: float = 0.1, activation: Callable[[Expr], Expr] = tanh) -> Expr:
    """Continuous-time recurrent network, stepped by Euler's method (Funahashi & Nakamura 1993): tau dh/dt = -h +
    activation(W x + U h + b), with leak = dt / tau."""
    drive = gate("drive", activation(linear("drive", x, h)))
    return (1 - leak) * h + leak * drive
