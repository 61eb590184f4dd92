from __future__ import annotations

from gatework.graph import Expr, cell
from gatework.graph.language import gate, linear, tanh


@cell
def co_rnn(
    x: Expr, y: Expr, z: Expr, *, step: float = 0.042, frequency: float = 2.7, damping: float = 4.7
) -> tuple[Expr, Expr]:
    """Coupled oscillatory network: y is the oscillators' place and z their velocity (Rusch & Mishra 2021,
    arXiv:2010.00951, equation 3).

    step, frequency, damping: the paper's dt, gamma and epsilon, here those of sequential MNIST.
    """
    force = gate("force", tanh(linear("force", x, y, velocity=z)))
    z = z + step * (force - frequency * y - damping * z)
    return y + step * z, z
