"""Gradient flow: against what is known of linear recurrences, against Jacobians multiplied by hand, and in words."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

import gatework as gw
from gatework.inspect import draw_gradient_flow, gradient_flow, lyapunov_exponents, remedies
from tests.tolerances import VALUES, assert_close, close_to

T, B, INPUT, H = 40, 3, 4, 6


@gw.cell
def linear_recurrence(x, h):  # type: ignore[no-untyped-def]
    return gw.linear("candidate", x, h)


def turning(scale: float) -> gw.Recurrent:
    """A linear recurrence whose matrix is an orthogonal one times a number."""
    torch.manual_seed(0)
    layer = gw.Recurrent(linear_recurrence, INPUT, H, dtype=torch.float64)
    orthogonal = torch.linalg.qr(torch.randn(H, H, dtype=torch.float64)).Q
    with torch.no_grad():
        layer.weight_hh_l0.copy_(scale * orthogonal)
    return layer


def inputs(steps: int = T, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(steps, B, INPUT, generator=torch.Generator().manual_seed(1), dtype=dtype)


@pytest.mark.parametrize(("scale", "verdict"), [(0.5, "vanishes"), (1.0, "is kept"), (1.5, "explodes")])
def test_a_linear_recurrence_has_the_rate_of_its_matrix(scale: float, verdict: str) -> None:
    layer = turning(scale)
    flow = gradient_flow(layer, inputs()).states["l0.h"]
    assert flow.rate == close_to(math.log(scale), torch.float64)
    assert flow.verdict == verdict
    assert flow.change == pytest.approx(scale ** (T - 1))
    assert f"the gradient {verdict}" in str(flow)
    exponents = lyapunov_exponents(layer, inputs(), H)
    assert_close(exponents, torch.full((H,), math.log(scale), dtype=torch.float64), VALUES)


@pytest.mark.parametrize("cell", ["elman", "lstm"])
def test_exponents_are_those_of_the_steps_jacobians(cell: str) -> None:
    """The sum of all exponents is the mean logarithm of the Jacobians' determinants, whatever the tangents were."""
    torch.manual_seed(0)
    layer = gw.Recurrent(cell, INPUT, 3, num_layers=2, dtype=torch.float64, init="keras")
    x = inputs()[:, :1]
    states = layer(x[:1])[1]
    states = states if isinstance(states, tuple) else (states,)
    flat = torch.cat([state[:, 0].flatten() for state in states]).detach()

    def step(flat: Tensor, now: Tensor) -> Tensor:
        parts = tuple(part.reshape(2, 1, 3) for part in flat.chunk(len(states)))
        new = layer(now[None], parts if len(parts) > 1 else parts[0])[1]
        new = new if isinstance(new, tuple) else (new,)
        return torch.cat([state[:, 0].flatten() for state in new])

    determinants = []
    for now in x[1:]:
        jacobian = torch.autograd.functional.jacobian(lambda value, now=now: step(value, now), flat)
        determinants.append(torch.linalg.slogdet(jacobian).logabsdet)
        flat = step(flat, now).detach()
    exponents = lyapunov_exponents(layer, x, len(flat))
    assert_close(exponents.sum(), torch.stack(determinants[T // 10 - 1 :]).mean(), VALUES)
    assert_close(lyapunov_exponents(layer, x), lyapunov_exponents(layer, x, 2)[:1], VALUES)


def test_the_gradients_rate_is_the_largest_exponent() -> None:
    torch.manual_seed(0)
    layer = gw.Recurrent("gru", INPUT, H, num_layers=2, dtype=torch.float64)
    x = inputs(200)
    # What reaches the upper states has not come through the lower ones: the larger rate is that of both.
    rate = max(state.rate for state in gradient_flow(layer, x).states.values())
    exponent = float(lyapunov_exponents(layer, x)[0])
    assert 0.95 < rate / exponent < 1.05


def test_norms_stand_by_the_steps_back_from_each_rows_end() -> None:
    layer = turning(0.5)
    lengths = [T, 0, 7]
    flow = gradient_flow(layer, inputs(), lengths=lengths).states["l0.h"]
    assert flow.norms.shape == (T, B)
    for row, length in enumerate(lengths):
        expected = torch.tensor([0.5**back for back in range(length)], dtype=torch.float64)
        assert_close(flow.norms[:length, row], expected, VALUES)
        assert flow.norms[length:, row].isnan().all()
    assert_close(flow.mean, torch.tensor([0.5**back for back in range(T)], dtype=torch.float64), VALUES)


def test_both_directions_are_followed_from_where_they_end() -> None:
    torch.manual_seed(0)
    layer = gw.Recurrent(linear_recurrence, INPUT, H, bidirectional=True, dtype=torch.float64)
    with torch.no_grad():
        layer.weight_hh_l0.copy_(0.5 * torch.eye(H))
        layer.weight_hh_l0_reverse.copy_(2.0 * torch.eye(H))
    flow = gradient_flow(layer, inputs(), lengths=[T, 5, 9])
    assert flow.states["l0.h"].rate == close_to(math.log(0.5), torch.float64)
    assert flow.states["l0_reverse.h"].rate == close_to(math.log(2.0), torch.float64)
    assert flow.worst.name in flow.states


def test_a_module_and_a_loss_of_ones_own() -> None:
    class Model(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.below, self.above = gw.LSTM(INPUT, H), gw.GRU(H, H)
            self.out = torch.nn.Linear(H, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.out(self.above(self.below(x)[0])[0])

    model = Model().train()
    x = inputs(dtype=torch.float32)
    model(x).sum().backward()
    before = [parameter.grad.clone() for parameter in model.parameters() if parameter.grad is not None]
    flow = gradient_flow(model, x, loss=lambda output: output[-1].sum())
    assert list(flow.states) == ["below.l0.h", "below.l0.c", "above.l0.h"]
    assert all(state.rate < 0 for state in flow.states.values())
    assert model.training
    assert model.below.training
    for value, parameter in zip(before, model.parameters(), strict=True):
        assert torch.equal(value, parameter.grad)
    with pytest.raises(ValueError, match="say what is differentiated"):
        gradient_flow(model, x)
    with pytest.raises(ValueError, match="called no recurrent layer"):
        gradient_flow(model.out, inputs(dtype=torch.float32)[..., :1].expand(-1, -1, H), loss=torch.sum)
    with pytest.raises(ValueError, match="no row has a step"):
        gradient_flow(model.below, x, lengths=[0, 0, 0])
    with pytest.raises(ValueError, match="bidirectional"):
        lyapunov_exponents(gw.GRU(INPUT, H, bidirectional=True), x)
    with pytest.raises(ValueError, match="count=7"):
        lyapunov_exponents(gw.GRU(INPUT, H), x, 7)


def test_what_is_gone_within_a_few_steps_has_no_rate() -> None:
    layer = turning(0.0)
    flow = gradient_flow(layer, inputs()).states["l0.h"]
    assert math.isnan(flow.rate)
    assert flow.verdict == "vanishes"
    assert "within fewer than 4 steps" in str(flow)


def test_what_mends_it_is_measured() -> None:
    torch.manual_seed(0)
    layer = gw.RNN(INPUT, H, batch_first=True)
    found = remedies(layer, inputs(dtype=torch.float32).transpose(0, 1))
    assert found[0].change == ""
    assert found[0].flow.worst.verdict == "vanishes"
    rates = [abs(remedy.flow.worst.rate) for remedy in found[1:]]
    assert rates == sorted(rates)
    assert rates[0] < abs(found[0].flow.worst.rate) / 2
    written = {remedy.change: remedy for remedy in found}
    assert {"init='keras'", "cell='gru'", "cell='lstm', forget_bias=2.0"} <= written.keys()
    again = remedies(layer, inputs(dtype=torch.float32).transpose(0, 1))
    assert [str(remedy) for remedy in again] == [str(remedy) for remedy in found]
    assert "residual=True" in {
        remedy.change for remedy in remedies(gw.LSTM(INPUT, H, 2), inputs(dtype=torch.float32))
    }


def test_what_mends_it_is_measured_with_the_layers_zoneout() -> None:
    given = inputs(dtype=torch.float32)
    plain, kept = (remedies(gw.RNN(INPUT, H, zoneout=rate), given)[0].flow.worst for rate in (0.0, 0.9))
    assert abs(kept.rate) < abs(plain.rate) / 2  # nine tenths of a state stay as they are
    changed = remedies(gw.LSTM(INPUT, H, zoneout={"c": 0.9}), given)
    assert len(changed) > 1


def test_a_picture_is_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    draw_gradient_flow(gradient_flow(turning(0.0), inputs()), tmp_path / "gone.png")
    draw_gradient_flow(
        gradient_flow(gw.LSTM(INPUT, H, 2), inputs(dtype=torch.float32)), tmp_path / "flow.png"
    )
    assert all((tmp_path / name).read_bytes().startswith(b"\x89PNG") for name in ("gone.png", "flow.png"))
    with pytest.raises(ValueError):
        draw_gradient_flow(gradient_flow(turning(0.5), inputs()), tmp_path / "flow.xyz")
