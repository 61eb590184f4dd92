"""`gw.record`: what is on the tape, under which names, in which order of steps and rows, with which gradients."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import gatework as gw
from gatework.cells import get

T, B, INPUT, H = 6, 3, 4, 5
LENGTHS = torch.tensor([2, 6, 0])


def lstm_by_hand(layer: gw.LSTM, x: Tensor) -> dict[str, list[Tensor]]:
    """Gates and states of one row, (T, I), from torch's documentation of nn.LSTM."""
    h = c = torch.zeros(H)
    found: dict[str, list[Tensor]] = {
        name: [] for name in ("input", "forget", "candidate", "output", "h", "c")
    }
    for step in x:
        packed = layer.weight_ih_l0 @ step + layer.bias_ih_l0 + layer.weight_hh_l0 @ h + layer.bias_hh_l0
        i, f, g, o = packed.chunk(4)
        i, f, g, o = i.sigmoid(), f.sigmoid(), g.tanh(), o.sigmoid()
        c = f * c + i * g
        h = o * c.tanh()
        for name, value in zip(found, (i, f, g, o, h, c), strict=True):
            found[name].append(value)
    return found


@pytest.mark.parametrize("training", [True, False])
def test_gates_and_states_are_those_of_the_equations(training: bool) -> None:
    layer = gw.LSTM(INPUT, H).train(training)
    x = torch.randn(T, B, INPUT)
    with gw.record(layer) as tape, torch.no_grad():
        layer(x, lengths=LENGTHS)
    for row, length in enumerate(LENGTHS.tolist()):
        for name, values in lstm_by_hand(layer, x[:length, row]).items():
            if length:
                torch.testing.assert_close(tape[name][:length, row], torch.stack(values).detach())
            assert not tape[name][length:, row].any()
            assert tape[name].shape == (T, B, H)


def test_the_backward_direction_stands_in_the_inputs_order() -> None:
    layer = gw.LSTM(INPUT, H, bidirectional=True)
    x = torch.randn(T, B, INPUT)
    with gw.record(layer) as tape:
        output, _ = layer(x, lengths=LENGTHS)
    torch.testing.assert_close(tape["l0.h"], output[..., :H])
    torch.testing.assert_close(tape["l0_reverse.h"], output[..., H:])


@pytest.mark.parametrize("options", [{}, {"num_layers": 2}, {"bidirectional": True}])
@pytest.mark.parametrize("lengths", [None, LENGTHS])
def test_gradients_at_every_state(options: dict[str, Any], lengths: Tensor | None) -> None:
    """The gradient at h_t is what a small push of h_t does to the loss: through the output and all later steps."""
    layer = gw.GRU(INPUT, H, dtype=torch.float64, **options)
    x = torch.randn(T, B, INPUT, dtype=torch.float64)
    weights = torch.randn(T, B, H * (2 if layer.bidirectional else 1), dtype=torch.float64)
    with gw.record(layer) as tape:
        output, _ = layer(x, lengths=lengths)
        (output * weights).sum().backward()
    gradient = tape.gradient("h")
    assert gradient.shape == (T, B, H)

    # the last layer's h_t by hand: d loss / d h_t = weights_t + (d h_{t+1} / d h_t)^T d loss / d h_{t+1}
    top = gw.GRU(INPUT, H, dtype=torch.float64)
    if layer.num_layers == 1:
        names = top.state_dict()
        top.load_state_dict({name: layer.state_dict()[name] for name in names})
        for row in range(B):
            last = T if lengths is None else int(lengths[row])
            flowing = torch.zeros(H, dtype=torch.float64)
            for t in reversed(range(last)):
                flowing = flowing + weights[t, row, :H]
                torch.testing.assert_close(gradient[t, row], flowing)
                h = tape["h"][t - 1, row].detach().clone().requires_grad_() if t else torch.zeros(H).double()
                if t:
                    new, _ = top(x[t : t + 1, row], h[None])
                    (flowing,) = torch.autograd.grad(new[0] @ flowing, h)
            assert not gradient[last:, row].any()


def test_gradients_of_each_layer_are_there() -> None:
    layer = gw.LSTM(INPUT, H, num_layers=2, bidirectional=True)
    with gw.record(layer) as tape:
        layer(torch.randn(T, B, INPUT))[0].sum().backward()
    for name in ("l0", "l0_reverse", "l1", "l1_reverse"):
        assert tape.gradient(f"{name}.h").abs().sum() > 0


def test_a_tape_covers_what_is_inside_a_module_and_each_call() -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = gw.GRU(INPUT, H)
            self.decoder = gw.LSTM(H, H)
            self.outside = nn.LSTM(H, H)

        def forward(self, x: Tensor) -> Tensor:
            y, _ = self.encoder(x)
            y, _ = self.encoder(torch.cat([y[..., :INPUT]], -1))
            return self.outside(self.decoder(y)[0])[0]

    model, bystander = Model(), gw.GRU(INPUT, H)
    x = torch.randn(T, B, INPUT)
    with gw.record(model) as tape:
        model(x)
        bystander(x)
    model(x)
    assert [call.module for call in tape.calls] == ["encoder", "encoder", "decoder"]
    assert tape["decoder.forget"].shape == (T, B, H)
    assert tape["encoder.l0.reset"].shape == (T, B, H)
    assert "encoder.l0.reset" in tape.names()
    torch.testing.assert_close(tape.calls[0].layers["l0"].values["h"], model.encoder(x)[0])


def test_names_choose_what_is_kept() -> None:
    layer = gw.LSTM(INPUT, H)
    with gw.record(layer, names=["forget", "c"]) as tape:
        layer(torch.randn(T, B, INPUT))
    assert tape.names() == ["l0.c", "l0.forget"]


def test_unknown_names_and_missing_gradients_are_said() -> None:
    layer = gw.LSTM(INPUT, H)
    with gw.record(layer) as tape:
        with pytest.raises(KeyError, match="empty"):
            tape["forget"]
        layer(torch.randn(T, B, INPUT))
    with pytest.raises(KeyError, match="forget"):
        tape["l0.forgot"]
    with pytest.raises(RuntimeError, match="backward"):
        tape.gradient("h")
    with pytest.raises(KeyError):
        tape.gradient("forget")
    with pytest.raises(TypeError, match="Module"), gw.record("layer"):  # type: ignore[arg-type]
        pass


def test_two_tapes_at_once_and_none_after_an_error() -> None:
    layer = gw.GRU(INPUT, H)
    x = torch.randn(T, B, INPUT)
    with gw.record(layer) as outer:
        with gw.record(layer) as inner:
            layer(x)
        layer(x)
    assert (len(outer.calls), len(inner.calls)) == (2, 1)
    with pytest.raises(ValueError), gw.record(layer) as broken:
        layer(torch.randn(T, B, INPUT + 1))
    layer(x)
    assert broken.calls == []


@pytest.mark.parametrize(("backend", "ran"), [("auto", "llvm"), ("torch", "eager"), ("eager", "eager")])
def test_every_backend_records_and_says_what_ran(backend: str, ran: str) -> None:
    layer = gw.GRU(INPUT, H)
    with gw.backend(backend), gw.record(layer) as tape:
        layer(torch.randn(T, B, INPUT))
    assert tape.calls[0].backend.startswith(ran)
    assert "keep" in tape.calls[0].backend or backend == "eager"  # and why not torch's operators
    assert tape["reset"].shape == (T, B, H)


@gw.cell
def remembers_two_steps(x, h, before, first):  # type: ignore[no-untyped-def]
    """A state that is another one's old value, and one that is never changed."""
    n = gw.tanh(gw.linear("candidate", x, h, before=before))
    return n + 0.1 * first, h, first


CELLS = [get("lstm"), get("gru"), remembers_two_steps]


@pytest.mark.parametrize("backend", ["llvm", "eager"])
@pytest.mark.parametrize("lengths", [None, LENGTHS])
@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.name)
def test_the_gradient_at_a_state_is_what_pushing_it_does(
    cell: gw.Cell, lengths: Tensor | None, backend: str
) -> None:
    """The last but one step's states as torch differentiates them: they stand between two calls."""
    layer = gw.Recurrent(cell, INPUT, H, dtype=torch.float64)
    x = torch.randn(T, B, INPUT, dtype=torch.float64)
    last = torch.full((B,), T) if lengths is None else lengths
    names = [state.name for state in cell.graph.states]
    weights = [torch.randn(B, H, dtype=torch.float64) for _ in names]

    def loss(states: Any) -> Tensor:
        states = states if isinstance(states, tuple) else (states,)
        return sum(
            ((state[0] * weight).sum() for state, weight in zip(states, weights, strict=True)),
            x.new_zeros(()),
        )

    with gw.backend(backend), gw.record(layer) as tape:
        loss(layer(x, lengths=lengths)[1]).backward()
    assert tape.calls[0].backend.startswith(backend)
    for row in range(B):
        count = int(last[row])
        if count < 2:
            continue
        _, before = layer(x[: count - 1, row : row + 1])
        before = before if isinstance(before, tuple) else (before,)
        before = tuple(value.detach().requires_grad_() for value in before)
        _, states = layer(x[count - 1 : count, row : row + 1], before if len(before) > 1 else before[0])
        states = states if isinstance(states, tuple) else (states,)
        own = sum(
            (state[0, 0] @ weight[row] for state, weight in zip(states, weights, strict=True)),
            x.new_zeros(()),
        )
        expected = torch.autograd.grad(own, before)
        of_state = dict(zip(names, (value[0, 0] for value in expected), strict=True))
        if cell.name == "lstm":  # h is made of c in the same step
            o, c = tape["output"][count - 2, row], tape["c"][count - 2, row]
            of_state["c"] = of_state["c"] + o * (1 - c.tanh() ** 2) * of_state["h"]
        for name, value in of_state.items():
            torch.testing.assert_close(tape.gradient(name)[count - 2, row], value)
            assert not tape.gradient(name)[count:, row].any()


@pytest.mark.parametrize("names", [["nosuch"], ["forget", "forgt"], "forgt"])
def test_names_that_no_layer_has_are_refused(names: list[str] | str) -> None:
    model = torch.nn.Sequential(gw.LSTM(3, 4))
    with pytest.raises(ValueError, match="no gate and no state") as caught, gw.record(model, names):
        pass
    assert "forget" in str(caught.value)
    with pytest.raises(ValueError, match="no recurrent layer"), gw.record(torch.nn.Linear(2, 2), ["h"]):
        pass


def test_one_name_may_be_given_by_itself() -> None:
    layer = gw.LSTM(3, 4)
    with gw.record(layer, "forget") as tape:
        layer(torch.zeros(2, 1, 3))
    assert tape.names() == ["l0.forget"]


@pytest.mark.parametrize("cell", ["lstm", "gru", "min_gru"])
@pytest.mark.parametrize("lengths", [None, LENGTHS])
def test_what_training_keeps_anyway_is_not_written_once_more(cell: str, lengths: Tensor | None) -> None:
    layer = gw.Recurrent(cell, INPUT, H)
    x = torch.randn(T, B, INPUT)
    with gw.backend("llvm"), gw.record(layer) as tape:
        output, _ = layer(x, lengths=lengths)
    with gw.backend("eager"), gw.record(layer) as reference:
        layer(x, lengths=lengths)
    for name in tape.names():
        torch.testing.assert_close(tape[name], reference[name])
    if lengths is None and cell != "min_gru":  # one of its gates is computed anew in backward
        states = {state.name for state in layer.stack.graph.states}
        gates = [tape[name.split(".")[1]] for name in tape.names() if name.split(".")[1] not in states]
        assert len({gate.untyped_storage().data_ptr() for gate in gates}) == 1
        pushes = [push for push in tape.calls[0].layers["l0"].pushes.values() if push is not None]
        assert [push.untyped_storage().nbytes() for push in pushes] == [x.element_size() * T * B] * len(
            states
        )
    output.mul_(0)  # the output is the caller's
    assert tape["h"].any()
    output.sum().backward()


def test_what_backward_reads_cannot_be_written_over_on_a_tape() -> None:
    layer = gw.LSTM(INPUT, H)
    with gw.backend("llvm"), gw.record(layer) as tape:
        layer(torch.randn(T, B, INPUT))
    with pytest.raises(RuntimeError, match=r"in-?place"):
        tape["forget"].zero_()
