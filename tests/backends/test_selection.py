"""Which backend runs: what is asked for, what `auto` takes, and what is said about it."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import torch

import gatework as gw
from gatework import linear, sigmoid, tanh
from gatework.backends import choose, costs, selection
from gatework.layers import call_plan
from tests.tolerances import FINITE_DIFFERENCES, assert_close


def test_auto_takes_the_engine_and_says_why() -> None:
    for layer in (gw.LSTM(2, 3), gw.LSTM(2, 3, proj_size=2), gw.GRU(2, 3), gw.RNN(2, 3, nonlinearity="relu")):
        assert gw.explain(layer).name == "llvm"
        assert "measured" in gw.explain(layer).reason
    for layer in (gw.Recurrent("gru_original", 2, 3), gw.LSTM(2, 3, zoneout=0.1)):
        assert gw.explain(layer).name == "llvm"
        assert "own equations" in gw.explain(layer).reason
    assert gw.explain(gw.GRU(2, 3), torch.zeros(0, 1, 2)).name == "eager"


def test_auto_leaves_the_engine_where_it_cannot_run() -> None:
    known, other = gw.GRU(2, 3), gw.Recurrent("gru_original", 2, 3)
    with torch.autocast("cpu"):
        assert gw.explain(known).name == "torch"
        assert "autocast" in gw.explain(other).reason
    with torch.autograd.forward_ad.dual_level():
        assert gw.explain(known).name == "torch"
    assert gw.explain(known.bfloat16()).name == "torch"
    assert "bfloat16" in gw.explain(other.bfloat16()).reason
    one = torch.zeros(1, 5, 256)
    assert "a single step does not repay" in gw.explain(gw.GRU(256, 256), one).reason
    assert gw.explain(gw.GRU(256, 256), one).name == "torch"
    assert gw.explain(gw.GRU(256, 8), one).name == "llvm"  # few weights
    x, tangent = torch.randn(4, 1, 2), torch.randn(4, 1, 2)
    layer = gw.Recurrent("gru_original", 2, 3)
    _, got = torch.func.jvp(lambda x: layer(x)[0], (x,), (tangent,))
    finite = (layer(x + 1e-3 * tangent)[0] - layer(x - 1e-3 * tangent)[0]) / 2e-3
    assert_close(got, finite, FINITE_DIFFERENCES)
    batches = torch.randn(3, 4, 1, 2)
    for each in (layer, gw.GRU(2, 3)):
        together = torch.func.vmap(lambda x, each=each: each(x)[0])(batches)
        torch.testing.assert_close(together, torch.stack([each(x)[0] for x in batches]))


def forget_decisions() -> None:
    """The next calls decide anew."""
    for kept in (costs.advantage, choose, call_plan.plan_call, call_plan.plan_dense_call):
        kept.cache_clear()


def test_the_cost_table_decides_between_the_engine_and_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = ((1, 32, 2.0, 3.0), (64, 512, 0.5, 2.0))
    table = costs.CostTable("a table", {"lstm": rows})
    for reader in (costs, selection):
        monkeypatch.setattr(reader, "cost_table", lambda: table)
    forget_decisions()
    try:
        small, large = torch.zeros(3, 2, 40), torch.zeros(3, 60, 40)
        assert gw.explain(gw.LSTM(40, 40), small).name == "llvm"
        with torch.no_grad():
            choice = gw.explain(gw.LSTM(40, 400), large)
        assert str(choice).startswith("torch: its operator was measured 2.00 times as fast")
        assert choice.reason.endswith("forward, in a table")
        assert gw.explain(gw.LSTM(40, 400), large).name == "llvm"  # training
    finally:
        forget_decisions()


def test_equations_are_recognised_whatever_their_names() -> None:
    @gw.cell
    def mine(u: Any, state: Any, memory: Any) -> Any:
        a = sigmoid(linear("alpha", u, state))
        b = sigmoid(linear("beta", u, state))
        g = tanh(linear("gamma", u, state))
        d = sigmoid(linear("delta", u, state))
        memory = b * memory + a * g
        return d * tanh(memory), memory

    @gw.cell
    def swapped(u: Any, state: Any, memory: Any) -> Any:
        a = sigmoid(linear("alpha", u, state))
        b = sigmoid(linear("beta", u, state))
        g = tanh(linear("gamma", u, state))
        d = sigmoid(linear("delta", u, state))
        memory = a * memory + b * g  # input and forget gate the other way round: no LSTM of torch's layout
        return d * tanh(memory), memory

    with gw.backend("torch"):
        assert gw.explain(gw.Recurrent(mine, 2, 3)).name == "torch"
        with pytest.raises(gw.BackendError, match="no fused operator"):
            gw.explain(gw.Recurrent(swapped, 2, 3))


def test_a_named_backend_that_cannot_serve_says_why() -> None:
    layer = gw.Recurrent("slstm", 2, 3)
    with gw.backend("torch"), pytest.raises(gw.BackendError, match="slstm"):
        layer(torch.zeros(1, 1, 2))
    assert layer(torch.zeros(1, 1, 2))[0].shape == (1, 1, 3)


def test_an_unknown_backend_gets_the_nearest_right_one() -> None:
    with pytest.raises(ValueError, match="Did you mean 'eager'"):
        gw.backend("eagre")


def test_the_choice_ends_with_its_block_even_after_an_error() -> None:
    layer = gw.GRU(2, 3)
    with gw.backend("eager"):
        assert gw.explain(layer).name == "eager"
        with pytest.raises(ValueError, match="input_size"), gw.backend("torch"):
            layer(torch.zeros(1, 1, 7))
        assert gw.explain(layer).name == "eager"
    assert gw.explain(layer).name == "llvm"


def test_as_a_function_it_holds_from_there_on() -> None:
    layer = gw.GRU(2, 3)
    gw.backend("eager")
    try:
        assert gw.explain(layer).name == "eager"
    finally:
        gw.backend("auto")
    assert gw.explain(layer).name == "llvm"


def test_the_choice_belongs_to_its_thread() -> None:
    layer, seen = gw.GRU(2, 3), []
    with gw.backend("eager"):
        thread = threading.Thread(target=lambda: seen.append(gw.explain(layer).name))
        thread.start()
        thread.join()
    assert seen == ["llvm"]
