"""Single-step cells in a Python loop, beside torch.nn's."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import gatework as gw


@pytest.mark.parametrize("name", ["LSTMCell", "GRUCell", "RNNCell"])
def test_a_step_in_a_loop_is_the_one_of_torch_whatever_its_states_come_in(name: str) -> None:
    ours, theirs = getattr(gw, name)(3, 5), getattr(nn, name)(3, 5)
    theirs.load_state_dict(ours.state_dict())
    x, h, c = torch.randn(2, 3), torch.randn(2, 5), torch.randn(2, 5)
    several = name == "LSTMCell"
    wanted = theirs(x, (h, c) if several else h)
    forms = [(h, c), [h, c]] if several else [h, (h,), [h]]
    for hx in forms:
        torch.testing.assert_close(ours(x, hx), wanted)
    with torch.autocast("cpu", torch.bfloat16, enabled=False), torch.no_grad():
        torch.testing.assert_close(ours(x, forms[0]), wanted)
    for wrong in (torch.randn(3, 5), torch.randn(2, 4), torch.randn(2, 1, 5)):
        with pytest.raises(ValueError, match="rows and units"):
            ours(x, (wrong, c) if several else wrong)
    nn.utils.parametrizations.weight_norm(ours, "weight_hh")
    torch.testing.assert_close(ours(x, forms[0]), wanted)
