"""Values of all steps beside the output: gates and states, of any layer."""

from __future__ import annotations

import pytest
import torch

import gatework as gw
from tests.contracts import backend_contract
from tests.contracts.backend_contract import check_states_of_all_steps
from tests.tolerances import EXACT, assert_close


@pytest.mark.parametrize("backend", ["eager", "llvm"])
def test_states_of_all_steps(backend: str) -> None:
    """Each one is the final state of the sequence that ends there, to the bit."""
    torch.manual_seed(0)
    layer = gw.LSTM(3, 5, num_layers=2)
    x = torch.randn(6, 4, 3)
    with gw.backend(backend):
        output, _ = layer(x, emit=["h", "c", "l0.h", "l0.c"])
        assert list(output) == ["output", "h", "c", "l0.h", "l0.c"]
        assert_close(output["h"], output["output"], EXACT)
        for steps in range(1, 7):
            _, (h, c) = layer(x[:steps])
            got = [output[name][steps - 1] for name in ("l0.h", "h", "l0.c", "c")]
            assert_close(got, [*h, *c], EXACT)


def test_padding_is_zero_and_shapes_are_the_callers() -> None:
    layer = gw.LSTM(3, 5, num_layers=2, bidirectional=True, batch_first=True)
    output, (_, c) = layer(torch.randn(2, 6, 3), lengths=[6, 2], emit=["c", "l0.c"])
    assert output["c"].shape == output["l0.c"].shape == (2, 6, 10)
    assert not output["c"][1, 2:].any()
    assert_close(output["c"][:, [5, 1], :5].diagonal().t(), c[2])
    assert_close(output["c"][:, 0, 5:], c[3])
    assert_close(output["l0.c"][:, 0, 5:], c[1])


def test_what_a_residual_adds_is_no_state() -> None:
    layer = gw.GRU(3, 3, num_layers=2, residual=True)
    output, state = layer(torch.randn(4, 2, 3), emit=["h", "l0.h"])
    assert_close(output["h"][-1], state[1])
    assert_close(output["output"], output["h"] + output["l0.h"])


def test_zoneout_has_acted_on_a_state() -> None:
    output, state = gw.GRU(3, 5, zoneout=1.0)(torch.randn(4, 2, 3), torch.ones(1, 2, 5), emit=["h"])
    assert_close([output["h"][-1], output["output"]], [state[0], torch.ones(4, 2, 5)])


def test_the_choice_says_why() -> None:
    choice = gw.explain(gw.LSTM(3, 5), torch.zeros(4, 2, 3), emit=["c"])
    assert (choice.name, "the final states alone" in choice.reason) == ("llvm", True)
    with gw.backend("torch"), pytest.raises(gw.BackendError, match="the output and the final states alone"):
        gw.LSTM(3, 5)(torch.zeros(4, 2, 3), emit=["c"])


def test_layers_that_are_not_there() -> None:
    x = torch.zeros(2, 1, 3)
    with pytest.raises(ValueError, match=r"emit names 'l2.c'; the layers are l0 to l1"):
        gw.LSTM(3, 5, 2)(x, emit=["l2.c"])
    with pytest.raises(ValueError, match=r"no gate or state 'd' to emit"):
        gw.LSTM(3, 5, 2)(x, emit=["l0.d"])


def test_a_fault_in_the_layers_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    right = backend_contract.whole_call

    def another_layer(layer: gw.Recurrent, *given: object) -> object:
        values, state = right(layer, *given)  # type: ignore[arg-type]
        if "l0.c" in values:
            values["l0.c"] = values["l1.c"]
        return values, state

    monkeypatch.setattr(backend_contract, "whole_call", another_layer)
    with pytest.raises(AssertionError, match=r"l0.c differs by"):
        check_states_of_all_steps("eager", gw.LSTM(2, 3, 2), torch.float64)
