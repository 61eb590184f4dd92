from __future__ import annotations

from gatework.graph import Expr, cell
from gatework.graph.language import gate, linear, sigmoid, tanh


@cell
def lem(x: Expr, y: Expr, z: Expr, *, step: float = 1.0) -> tuple[Expr, Expr]:
    """Long expressive memory: two states, each with time steps that are learned (Rusch et al. 2022, arXiv:2110.04744,
    equation 3)."""
    step_z = gate("step_z", step * sigmoid(linear("step_z", x, y)))
    step_y = gate("step_y", step * sigmoid(linear("step_y", x, y)))
    z = (1 - step_z) * z + step_z * tanh(linear("candidate_z", x, y))
    y = (1 - step_y) * y + step_y * tanh(linear("candidate_y", x, fast=z))
    return y, z
