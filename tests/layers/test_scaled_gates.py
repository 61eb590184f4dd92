"""Gates that are multiplied while a tape records: against the equations, on every backend, and what is refused."""

from __future__ import annotations

import math

import pytest
import torch

import gatework as gw
from tests.tolerances import VALUES, assert_close

T, B, INPUT, H = 7, 3, 4, 5


@pytest.mark.parametrize("backend", ["eager", "llvm", "auto"])
def test_a_gate_is_multiplied_wherever_the_step_reads_it(backend: str) -> None:
    torch.manual_seed(0)
    layer, x = gw.LSTM(INPUT, H, num_layers=2), torch.randn(T, B, INPUT)
    with torch.no_grad(), gw.backend(backend):
        plain = layer(x)[0]
        with gw.record(layer, scale={"forget": 0.5}) as tape:
            changed = layer(x)[0]
        for name in ("l0", "l1"):
            forget, c = tape[f"{name}.forget"], tape[f"{name}.c"]
            before = torch.cat([torch.zeros(1, B, H), c[:-1]])
            assert_close(c, forget * before + tape[f"{name}.input"] * tape[f"{name}.candidate"], VALUES)
            assert forget.max() < 0.5
        with gw.record(layer, scale={"forget": 0.5}), gw.record(layer, scale={"forget": 2.0}):
            assert_close(layer(x)[0], plain, VALUES)
        assert not torch.allclose(changed, plain)
        assert torch.equal(layer(x)[0], plain)


def test_a_candidate_that_is_switched_off_leaves_an_empty_memory() -> None:
    layer = gw.LSTM(INPUT, H)
    with torch.no_grad(), gw.record(layer, scale={"candidate": 0}) as tape:
        assert not layer(torch.randn(T, B, INPUT))[0].any()
    assert not tape["c"].any()


def test_gates_that_are_none_and_numbers_that_are_none_are_refused() -> None:
    layer = gw.GRU(INPUT, H)
    for scale, match in (({"forget": 0.0}, "no gate 'forget'"), ({"h": 0.0}, "no gate 'h'")):
        with pytest.raises(ValueError, match=match), gw.record(layer, scale=scale):
            pass
    with pytest.raises(ValueError, match="finite number"), gw.record(layer, scale={"update": math.nan}):
        pass
