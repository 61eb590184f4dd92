"""Shapes that layers are measured at: those of every run, and others drawn at random."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

Shape = tuple[int, int, int, int]  # B, T, I, H
SHORT: list[Shape] = [
    (1, 100, 32, 32), (1, 100, 256, 256), (8, 50, 128, 128), (32, 50, 32, 64), (32, 100, 128, 128),
    (32, 100, 256, 256), (64, 50, 512, 512),
]  # fmt: skip
HIDDEN = (32, 64, 100, 128, 200, 256, 512, 1024)
FULL = list(dict.fromkeys(SHORT + [(b, 50, h, h) for b in (1, 8, 32, 128) for h in HIDDEN]))

CLASSES: dict[str, Callable[[int], bool]] = {
    "1": lambda rows: rows == 1,
    "8": lambda rows: rows == 8,
    ">=32": lambda rows: rows >= 32,
    "24..48": lambda rows: 24 <= rows <= 48,
}
ODD = ((300, 300), (768, 384))  # inputs and units of models in use that are no powers of two
WIDTHS = (64, 100, 128, 200, 256, 300, 384, 512, 768)
_WORK = 6e9  # operations of an LSTM's sequence, at most: a shape takes seconds, not minutes


def drawn(count: int, seed: int) -> list[Shape]:
    """Shapes at random; the same seed gives the same shapes.

    Batches have 1, 8, 24 to 48 and 32 to 128 rows in turn, sequences 10 to 100 steps; widths are odd ones first, then
    those of models in use or any number.
    """
    draw = random.Random(seed)
    rows: tuple[Callable[[], int], ...] = (
        lambda: 1,
        lambda: 8,
        lambda: draw.randint(24, 48),
        lambda: draw.randint(32, 128),
    )
    shapes: list[Shape] = []
    while len(shapes) < count:
        place = len(shapes)
        batch = rows[place % len(rows)]()
        if place < 2 * len(rows):
            width, hidden = ODD[(place + place // len(rows)) % 2]
        else:
            width, hidden = _width(draw), _width(draw)
        most = int(_WORK / (8 * batch * hidden * (width + hidden)))
        shape = (batch, draw.randint(10, max(10, min(100, most))), width, hidden)
        if shape not in shapes:
            shapes.append(shape)
    return shapes


def _width(draw: random.Random) -> int:
    if draw.random() < 0.5:
        return draw.choice(WIDTHS)
    return round(math.exp(draw.uniform(math.log(24), math.log(640))))
