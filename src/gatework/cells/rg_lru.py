from __future__ import annotations

from gatework.graph import Expr, cell
from gatework.graph.language import exp, gate, linear, log_sigmoid, maximum, sigmoid, sqrt, vector

SHARPNESS = 8.0  # c of equation 4
LEAST = 1e-6  # of 1 - a^2: bounds the square root's gradient where the recurrence gate is shut


@cell
def rg_lru(x: Expr, h: Expr) -> Expr:
    """Real-gated linear recurrent unit, of Griffin and RecurrentGemma (De et al. 2024, arXiv:2402.19427, equations 1 to
    4); `value` is the block's linear map before it.

    The first decays a^c lie between 0.9 and 0.999, as in the paper.
    """
    r = sigmoid(linear("recurrence", x))
    i = sigmoid(linear("input", x))
    a = gate("memory", exp(r * (SHARPNESS * log_sigmoid(vector("decay", init=(4.3, 9.0))))))
    return a * h + sqrt(maximum(1 - a * a, LEAST)) * (i * linear("value", x))
