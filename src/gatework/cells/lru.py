from __future__ import annotations

from math import log, pi

from gatework.graph import Expr, cell
from gatework.graph.language import cos, exp, linear, sin, sqrt, vector

SMALLEST, LARGEST = 0.9, 0.999  # the ring in which the first eigenvalues lie


@cell
def lru(x: Expr, h: Expr, real: Expr, imaginary: Expr) -> tuple[Expr, Expr, Expr]:
    """Linear recurrent unit: a diagonal recurrence of complex numbers, kept as two real states, and its read-out h
    (Orvieto et al. 2023, arXiv:2303.06349, equations 5 to 7 and section 3.4).

    The first eigenvalues have magnitudes of 0.9 to 0.999 and phases of 0.01 to pi, both uniform on a logarithmic scale.
    """
    rate = exp(vector("log_rate", init=(log(-log(LARGEST)), log(-log(SMALLEST)))))
    phase = exp(vector("log_phase", init=(log(0.01), log(pi))))
    size = exp(-rate)
    gain = sqrt(1 - size * size)
    across, turned = size * cos(phase), size * sin(phase)
    real, imaginary = (
        across * real - turned * imaginary + gain * linear("drive_real", x),
        turned * real + across * imaginary + gain * linear("drive_imaginary", x),
    )
    return linear("output", x, real, imaginary=imaginary), real, imaginary
