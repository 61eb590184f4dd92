"""Each cell of the catalogue against one step written by hand from its paper, with weights taken by gate name."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import gatework as gw
from gatework.cells.catalogue import CATALOGUE
from gatework.graph.node import resolve
from tests.cells.weights import Weights
from tests.contracts.cell_contract import ALONE
from tests.tolerances import assert_close

INPUT, HIDDEN, PROJECTED, BATCH = 3, 5, 2, 4
PARTS = ("real", "imaginary")  # of a complex number


def elman(w: Weights, x: Tensor, h: Tensor) -> tuple[Tensor, ...]:
    return (torch.tanh(w.both("hidden", x, h)),)


def lstm(w: Weights, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, ...]:
    i, f, o = (torch.sigmoid(w.both(gate, x, h)) for gate in ("input", "forget", "output"))
    c = f * c + i * torch.tanh(w.both("candidate", x, h))
    return o * torch.tanh(c), c


def projected_lstm(w: Weights, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, ...]:
    wide, c = lstm(w, x, h, c)
    return F.linear(wide, w.vectors["weight_hr"]), c


def gru(w: Weights, x: Tensor, h: Tensor) -> tuple[Tensor, ...]:
    r, z = (torch.sigmoid(w.both(gate, x, h)) for gate in ("reset", "update"))
    n = torch.tanh(w.linear("ih", "candidate", x) + r * w.linear("hh", "candidate", h))
    return ((1 - z) * n + z * h,)


def gru_original(w: Weights, x: Tensor, h: Tensor) -> tuple[Tensor, ...]:
    r, z = (torch.sigmoid(w.both(gate, x, h)) for gate in ("reset", "update"))
    return (z * h + (1 - z) * torch.tanh(w.both("candidate", x, r * h)),)


def peephole_lstm(w: Weights, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, ...]:
    i = torch.sigmoid(w.both("input", x, h) + w.vectors["peephole_input"] * c)
    f = torch.sigmoid(w.both("forget", x, h) + w.vectors["peephole_forget"] * c)
    c = f * c + i * torch.tanh(w.both("candidate", x, h))
    o = torch.sigmoid(w.both("output", x, h) + w.vectors["peephole_output"] * c)
    return o * torch.tanh(c), c


def coupled_lstm(w: Weights, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, ...]:
    f, o = (torch.sigmoid(w.both(gate, x, h)) for gate in ("forget", "output"))
    c = f * c + (1 - f) * torch.tanh(w.both("candidate", x, h))
    return o * torch.tanh(c), c


def layer_norm_lstm(w: Weights, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, ...]:
    gates = ("input", "forget", "candidate", "output")
    from_x = w.norm("input", *(w.linear("ih", gate, x) for gate in gates))
    from_h = w.norm("state", *(w.linear("hh", gate, h) for gate in gates))
    i, f, g, o = (a + b for a, b in zip(from_x, from_h, strict=True))
    c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
    (normal,) = w.norm("cell", c)
    return torch.sigmoid(o) * torch.tanh(normal), c


def layer_norm_gru(w: Weights, x: Tensor, h: Tensor) -> tuple[Tensor, ...]:
    from_x = w.norm("input", *(w.linear("ih", gate, x) for gate in ("reset", "update")))
    from_h = w.norm("state", *(w.linear("hh", gate, h) for gate in ("reset", "update")))
    r, z = (torch.sigmoid(a + b) for a, b in zip(from_x, from_h, strict=True))
    (side,) = w.norm("candidate_input", w.linear("ih", "candidate", x))
    (past,) = w.norm("candidate_state", w.linear("hh", "candidate", h))
    return ((1 - z) * torch.tanh(side + r * past) + z * h,)


def minimal_gated_unit(w: Weights, x: Tensor, h: Tensor) -> tuple[Tensor, ...]:
    f = torch.sigmoid(w.both("forget", x, h))
    return ((1 - f) * h + f * torch.tanh(w.both("candidate", x, f * h)),)


def ind_rnn(w: Weights, x: Tensor, h: Tensor) -> tuple[Tensor, ...]:
    return (torch.relu(w.linear("ih", "hidden", x) + w.vectors["recurrence"] * h),)


def ctrnn(w: Weights, x: Tensor, h: Tensor) -> tuple[Tensor, ...]:
    gate = next(gate for slot, gate in w.rows if slot == "hh")
    return (h + 0.1 * (torch.tanh(w.both(gate, x, h)) - h),)


def slstm(w: Weights, x: Tensor, h: Tensor, c: Tensor, n: Tensor, m: Tensor) -> tuple[Tensor, ...]:
    """Without the stabiliser, as the paper defines it: i = exp(·), f = sigmoid(·), h = o c / n."""
    i = torch.exp(w.both("input", x, h))
    f = torch.sigmoid(w.both("forget", x, h))
    z, o = torch.tanh(w.both("candidate", x, h)), torch.sigmoid(w.both("output", x, h))
    # the states that the stabilised form keeps are these, divided by exp(m)
    c, n = f * c * torch.exp(m) + i * z, f * n * torch.exp(m) + i
    new = torch.maximum(torch.log(f) + m, torch.log(i))
    return o * c / n, c / torch.exp(new), n / torch.exp(new), new


def gru_d(w: Weights, x: Tensor, h: Tensor, last: Tensor, mask: Tensor, gap: Tensor) -> tuple[Tensor, ...]:
    """As the paper writes it, m x + (1 - m) (…): what stands in x where nothing was observed is not read."""
    m = (mask > 0).to(x.dtype)
    x = torch.where(m == 1, x, 0.0)
    decay = torch.exp(-torch.clamp_min(w.vectors["decay"] * gap + w.vectors["decay_bias"], 0))
    seen = m * x + (1 - m) * (decay * last + (1 - decay) * w.vectors["mean"])
    h = torch.exp(-torch.clamp_min(w.linear("ih", "state_decay", gap), 0)) * h
    r, z = (torch.sigmoid(w(gate, ih=mask, hh=h, seen=seen)) for gate in ("reset", "update"))
    n = torch.tanh(w("candidate", ih=mask, hh=r * h, seen=seen))
    return (1 - z) * h + z * n, m * x + (1 - m) * last


def cfc(w: Weights, x: Tensor, h: Tensor, gap: Tensor) -> tuple[Tensor, ...]:
    backbone = torch.tanh(w.both("backbone", x, h))
    speed, near, far = (w.linear("hh", head, backbone) for head in ("speed", "near", "far"))
    soon = 1 / (1 + torch.exp(speed * gap))
    return (soon * torch.tanh(near) + (1 - soon) * torch.tanh(far),)


def qrn(w: Weights, x: Tensor, h: Tensor, query: Tensor) -> tuple[Tensor, ...]:
    z, r = (torch.sigmoid(w.linear("ih", gate, x * query)) for gate in ("update", "reset"))
    n = torch.tanh(w("candidate", ih=x, query=query))
    return (z * r * n + (1 - z) * h,)


def min_gru(w: Weights, x: Tensor, h: Tensor) -> tuple[Tensor, ...]:
    z = torch.sigmoid(w.linear("ih", "update", x))
    return (torch.lerp(h, w.linear("ih", "candidate", x), z),)


def min_lstm(w: Weights, x: Tensor, h: Tensor) -> tuple[Tensor, ...]:
    """The gates of the paper's log-space form (appendix B.2.2): log f' = -softplus(softplus(-k_f) - softplus(-k_i))."""
    forget, enter = (F.softplus(-w.linear("ih", gate, x)) for gate in ("forget", "input"))
    f, i = torch.exp(-F.softplus(forget - enter)), torch.exp(-F.softplus(enter - forget))
    return (f * h + i * w.linear("ih", "candidate", x),)


def lru(w: Weights, x: Tensor, h: Tensor, real: Tensor, imaginary: Tensor) -> tuple[Tensor, ...]:
    """In complex numbers, as the paper has it; h is Re(C s) + D x."""
    rate, phase = (w.vectors[name].exp() for name in ("log_rate", "log_phase"))
    eigenvalue = torch.exp(torch.complex(-rate, phase))
    drive = torch.complex(w.linear("ih", "drive_real", x), w.linear("ih", "drive_imaginary", x))
    s = eigenvalue * torch.complex(real, imaginary) + (1 - eigenvalue.abs() ** 2).sqrt() * drive
    read_out = torch.complex(w.vectors["weight_hh"], -w.vectors["weight_imaginary"])
    return (s @ read_out.mT).real + w.linear("ih", "output", x) + w.vectors["bias_hh"], s.real, s.imag


def rg_lru(w: Weights, x: Tensor, h: Tensor) -> tuple[Tensor, ...]:
    r, i = (torch.sigmoid(w.linear("ih", gate, x)) for gate in ("recurrence", "input"))
    a = torch.sigmoid(w.vectors["decay"]) ** (8 * r)
    return (a * h + (1 - a**2).sqrt() * i * w.linear("ih", "value", x),)


def hgrn(w: Weights, x: Tensor, h: Tensor, real: Tensor, imaginary: Tensor) -> tuple[Tensor, ...]:
    """In complex numbers, as the paper has it."""
    bound, angle = torch.sigmoid(w.vectors["lower_bound"]), w.vectors["log_angle"].exp()
    decay = bound + (1 - bound) * torch.sigmoid(w.linear("ih", "memory", x))
    candidate = torch.complex(*(F.silu(w.linear("ih", f"candidate_{part}", x)) for part in PARTS))
    s = torch.polar(decay, angle.expand_as(decay)) * torch.complex(real, imaginary) + (1 - decay) * candidate
    gates = (torch.sigmoid(w.linear("ih", f"output_{part}", x)) for part in PARTS)
    seen = w.norm("state", *(gate * part for gate, part in zip(gates, (s.real, s.imag), strict=True)))
    return w("output", hh=seen[0], imaginary=seen[1]), s.real, s.imag


def sru(w: Weights, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, ...]:
    f, r = (
        torch.sigmoid(w.linear("ih", gate, x) + w.vectors[f"recurrence_{gate}"] * c)
        for gate in ("forget", "reset")
    )
    c = torch.lerp(w.linear("ih", "candidate", x), c, f)
    return torch.lerp(w.linear("ih", "highway", x), c, r), c


def janet(w: Weights, x: Tensor, h: Tensor) -> tuple[Tensor, ...]:
    s = w.both("forget", x, h)
    return (torch.sigmoid(s) * h + torch.sigmoid(1 - s) * torch.tanh(w.both("candidate", x, h)),)


def co_rnn(w: Weights, x: Tensor, y: Tensor, z: Tensor) -> tuple[Tensor, ...]:
    force = torch.tanh(w("force", ih=x, hh=y, velocity=z))
    z = z + 0.042 * force - 0.042 * 2.7 * y - 0.042 * 4.7 * z
    return y + 0.042 * z, z


def lem(w: Weights, x: Tensor, y: Tensor, z: Tensor) -> tuple[Tensor, ...]:
    step_y, step_z = (torch.sigmoid(w.both(f"step_{state}", x, y)) for state in "yz")
    z = torch.lerp(z, torch.tanh(w.both("candidate_z", x, y)), step_z)
    return torch.lerp(y, torch.tanh(w("candidate_y", ih=x, fast=z)), step_y), z


def mogrifier_lstm(w: Weights, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, ...]:
    for number in (1, 3, 5):
        x = 2 * torch.sigmoid(w.linear("hh", f"mogrify_{number}", h)) * x
        if number < 5:
            h = 2 * torch.sigmoid(w.linear("mogrified", f"mogrify_{number + 1}", x)) * h
    i, f, o, g = (w(gate, hh=h, mogrified=x) for gate in ("input", "forget", "output", "candidate"))
    c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(c), c


STEPS: dict[str, Callable[..., tuple[Tensor, ...]]] = {
    name: globals()[name] for name in CATALOGUE if name in globals()
}
"""Cells to the functions of their names above."""


def test_every_cell_has_a_step_here() -> None:
    assert set(STEPS) == set(ALONE)


@pytest.mark.parametrize("name", STEPS)
def test_a_cell_is_its_paper(name: str) -> None:
    proj = {"proj_size": PROJECTED} if name == "projected_lstm" else {}
    layer = gw.Recurrent(name, INPUT, HIDDEN, dtype=torch.float64, **proj)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(0.7 * torch.randn_like(parameter))
    specs = layer.cell.graph.states
    widths = {"proj_size": PROJECTED, "input_size": INPUT, "hidden_size": HIDDEN}
    sizes = [widths[str(spec.size)] for spec in specs]
    states = tuple(0.3 + torch.rand(BATCH, size, dtype=torch.float64) for size in sizes)
    x = torch.randn(6, BATCH, INPUT, dtype=torch.float64)
    further = {
        spec.name: torch.randn(6, BATCH, resolve(spec.size, widths), dtype=torch.float64)
        for spec in layer.cell.graph.inputs[1:]
    }
    hx = tuple(s[None] for s in states)
    with torch.no_grad(), gw.backend("eager"):
        output, last = layer(x, hx if len(hx) > 1 else hx[0], inputs=further)
    weights, expected = Weights(layer), []
    with torch.no_grad():
        for steps in zip(x, *further.values(), strict=True):
            states = STEPS[name](weights, steps[0], *states, *steps[1:])
            expected.append(states[0])
    assert_close(output, torch.stack(expected))
    for mine, theirs in zip(last if len(hx) > 1 else (last,), states, strict=True):
        assert_close(mine[0], theirs)


@pytest.mark.parametrize("reset", [True, False])
@pytest.mark.parametrize("vector_gates", [True, False])
def test_each_form_of_qrn_is_its_closed_form(reset: bool, vector_gates: bool) -> None:
    """The paper's parallel form: the state is a sum over the steps so far, without a recurrence."""
    cell = gw.cells.get("qrn").with_options(reset=reset, vector_gates=vector_gates)
    layer = gw.Recurrent(cell, INPUT, HIDDEN, dtype=torch.float64)
    x, query = torch.randn(2, 6, BATCH, INPUT, dtype=torch.float64)
    w = Weights(layer)
    with torch.no_grad():
        output, _ = layer(x, inputs={"query": query})
        z = torch.sigmoid(w.linear("ih", "update", x * query))
        candidate = torch.tanh(w("candidate", ih=x, query=query))
        if reset:
            candidate = candidate * torch.sigmoid(w.linear("ih", "reset", x * query))
        assert z.shape[-1] == (HIDDEN if vector_gates else 1)
        for t in range(6):
            kept = [z[i] * (1 - z[i + 1 : t + 1]).prod(0) * candidate[i] for i in range(t + 1)]
            assert_close(output[t], torch.stack(kept).sum(0))


def test_slstm_survives_large_gates() -> None:
    """exp of a hundred overflows in float32; the stabiliser keeps it away."""
    layer = gw.Recurrent("slstm", INPUT, HIDDEN)
    with torch.no_grad():
        layer.bias_ih_l0.fill_(120.0)
    output, state = layer(torch.randn(50, 2, INPUT))
    assert output.isfinite().all()
    assert all(s.isfinite().all() for s in state)


def test_gru_d_reads_nothing_where_nothing_was_observed() -> None:
    """NaN and numbers there give the same outputs and the same gradients, on each backend."""
    layer = gw.Recurrent("gru_d", INPUT, HIDDEN, dtype=torch.float64)
    generator = torch.Generator().manual_seed(1)
    x, gap = torch.rand(2, 7, BATCH, INPUT, dtype=torch.float64, generator=generator)
    mask = (torch.rand(7, BATCH, INPUT, generator=generator) < 0.6).double()
    for backend in ("eager", "llvm"):
        found = []
        for filling in (float("nan"), 5.0):
            given = torch.where(mask > 0, x, filling).requires_grad_()
            with gw.backend(backend):
                output, state = layer(given, inputs={"mask": mask, "gap": gap})
                loss = output.square().sum() + state[1].square().sum()
                gradients = torch.autograd.grad(loss, [given, *layer.parameters()])
            found.append([output, *state, *gradients])
        assert_close(found[0], found[1])
        assert not found[0][3][mask == 0].any()


def test_gru_d_forgets_with_the_time() -> None:
    """After a long gap the state is that of a sequence which begins there, and what was seen last is the mean."""
    layer = gw.Recurrent("gru_d", INPUT, HIDDEN, dtype=torch.float64)
    with torch.no_grad():
        layer.decay_l0.fill_(1.0)
        layer.weight_ih_l0[Weights(layer).rows["ih", "state_decay"]] = 1.0
    x = torch.randn(5, BATCH, INPUT, dtype=torch.float64)
    mask, gap = torch.ones_like(x), torch.ones_like(x)
    mask[4], gap[4] = 0.0, 1e6
    output, _ = layer(x, inputs={"mask": mask, "gap": gap})
    alone, _ = layer(x[4:], inputs={"mask": mask[4:], "gap": gap[4:]})
    assert_close(output[4], alone[0])
    gap[4] = 0.0
    soon, _ = layer(x, inputs={"mask": mask, "gap": gap})
    assert (soon[4] - alone[0]).abs().max() > 1e-3
