from __future__ import annotations

import json
import random

import numpy as np
import torch

from gatework.training import random_state, seed_everything


def draw() -> list[float]:
    return [random.random(), random.gauss(0, 1), np.random.rand(), np.random.randn(), torch.rand(()).item()]


def test_seeds_repeat() -> None:
    seed_everything(3)
    first = draw()
    seed_everything(3)
    assert draw() == first
    seed_everything(4)
    assert draw() != first


def test_capture_survives_json_and_restores_every_generator() -> None:
    seed_everything(5)
    draw()  # numpy and python then hold a second normal number back
    values, tensors = random_state.capture()
    first = draw()
    random_state.restore(json.loads(json.dumps(values)), tensors)
    assert draw() == first


def test_preserved_hides_what_is_drawn_inside() -> None:
    seed_everything(6)
    expected = draw()
    seed_everything(6)
    with random_state.preserved():
        draw()
        seed_everything(1)
    assert draw() == expected
