from __future__ import annotations

from gatework.graph import Expr, cell
from gatework.graph.language import gate, linear, sigmoid, tanh


@cell
def mogrifier_lstm(x: Expr, h: Expr, c: Expr, *, rounds: int = 5) -> tuple[Expr, Expr]:
    """LSTM whose input and state gate each other by turns before it reads them (Melis et al. 2020, arXiv:1909.01792,
    equations 1 and 2).

    rounds: how many times one gates the other; 0 makes it an LSTM.
    """
    for number in range(1, rounds + 1):
        name = f"mogrify_{number}"
        if number % 2:
            x = 2 * gate(name, sigmoid(linear(name, h, size="input_size"))) * x
        else:
            h = 2 * gate(name, sigmoid(linear(name, mogrified=x))) * h
    i, f, o = (sigmoid(linear(name, h, mogrified=x)) for name in ("input", "forget", "output"))
    c = f * c + i * tanh(linear("candidate", h, mogrified=x))
    return o * tanh(c), c
