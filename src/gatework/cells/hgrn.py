from __future__ import annotations

from math import log

from gatework.graph import Expr, cell
from gatework.graph.language import cos, exp, gate, layer_norm, linear, sigmoid, sin, vector


def _candidate(part: str, x: Expr) -> Expr:
    name = f"candidate_{part}"
    e = linear(name, x)
    return gate(name, e * sigmoid(e))


@cell
def hgrn(x: Expr, h: Expr, real: Expr, imaginary: Expr) -> tuple[Expr, Expr, Expr]:
    """Hierarchically gated recurrent network: a complex state, kept as two real ones, whose forget gate has a learned
    lower bound (Qin et al. 2023, arXiv:2311.04823, section 3).

    A layer's bound is learned by itself; in the paper those of a stack's layers are one cumulative softmax.
    """
    bound = sigmoid(vector("lower_bound", init=(-2.0, 2.0)))
    f = gate("forget", bound + (1 - bound) * sigmoid(linear("memory", x)))
    angle = exp(vector("log_angle", init=(log(1e-4), 0.0)))
    across, turned = f * cos(angle), f * sin(angle)
    real, imaginary = (
        across * real - turned * imaginary + (1 - f) * _candidate("real", x),
        turned * real + across * imaginary + (1 - f) * _candidate("imaginary", x),
    )
    seen, seen_imaginary = layer_norm(
        "state",
        sigmoid(linear("output_real", x)) * real,
        sigmoid(linear("output_imaginary", x)) * imaginary,
    )
    return linear("output", seen, imaginary=seen_imaginary), real, imaginary
