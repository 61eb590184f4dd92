"""Why an outcome is what it is, where a network is sure of it, and so has next to no gradient."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

import gatework as gw
from gatework.inspect import report

T, ANSWER, ASIDE = 12, 3, 8


def two_latches() -> gw.LSTM:
    """Each unit keeps the first number of the step that its own mark, the second or third number, stands at."""
    layer = gw.LSTM(3, 2)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.zero_()
        for unit in range(2):
            layer.weight_ih_l0[unit, 1 + unit], layer.bias_ih_l0[unit] = 20.0, -10.0
            layer.weight_ih_l0[2 + unit, 1 + unit], layer.bias_ih_l0[2 + unit] = -20.0, 10.0
            layer.weight_ih_l0[4 + unit, 0] = 1.0
            layer.bias_ih_l0[6 + unit] = 10.0
    return layer


def test_the_step_that_a_sure_answer_hangs_on_is_named_and_not_one_with_a_larger_gradient() -> None:
    x = torch.full((T, 1, 3), 0.8)
    x[..., 1:] = 0
    x[ANSWER, 0, 1] = x[ASIDE, 0, 2] = 1
    layer = two_latches()

    def sure(result: tuple[Tensor, tuple[Tensor, Tensor]]) -> Tensor:
        answer, aside = result[1][1][0, 0]
        return logsigmoid(16 * answer) + 1e-3 * aside

    (reason,) = report(layer, x, outcome=sure).reasons
    there = gw.inspect.influence(layer, x, lambda result: sure(result)[None])
    assert there.steps[:, 0].abs().argmax() == ASIDE  # what the gradient says where nothing is left out
    assert reason.left_out == [ANSWER]
    assert reason.steps.argmax() == ANSWER
    assert reason.verified
