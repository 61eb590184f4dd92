"""Layers of different widths in one stack."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import gatework as gw
from gatework.layers.state import detach_state, map_state, reorder_state
from tests.contracts.backend_contract import check_backend, check_resets, check_states_of_all_steps
from tests.tensors import flat
from tests.tolerances import EXACT, assert_close

WIDTHS = [7, 5, 4]


def one_by_one(layer: gw.Recurrent, x: Tensor) -> tuple[Tensor, list[Tensor]]:
    """A stack's output and final states by torch's layers, one for each, with the stack's weights."""
    theirs: type[nn.RNNBase] = {"LSTM": nn.LSTM, "GRU": nn.GRU}[type(layer).__name__]
    finals = []
    for number, width in enumerate(layer.hidden_size):
        proj_size = {"proj_size": layer.proj_size[number]} if layer.proj_size else {}
        single = theirs(x.shape[2], width, bidirectional=layer.bidirectional, **proj_size)
        own = {key: value for key, value in layer.state_dict().items() if f"_l{number}" in key}
        single.load_state_dict({key.replace(f"_l{number}", "_l0"): value for key, value in own.items()})
        x, final = single(x)
        finals.append(flat(final))
    return x, [state for of_state in zip(*finals, strict=True) for state in of_state]


@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")  # torch's own
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("backend", ["auto", "eager", "torch", "llvm"])
@pytest.mark.parametrize("kind", ["LSTM", "GRU", "projected"])
def test_a_stack_equals_torchs_layers_one_by_one(kind: str, backend: str, bidirectional: bool) -> None:
    torch.manual_seed(0)
    if kind == "projected":
        layer: gw.Recurrent = gw.LSTM(3, WIDTHS, proj_size=[3, 2, 1], bidirectional=bidirectional)
    else:
        layer = getattr(gw, kind)(3, WIDTHS, bidirectional=bidirectional)
    x = torch.randn(6, 2, 3)
    with gw.backend(backend):
        output, state = layer(x)
    expected, finals = one_by_one(layer, x)
    assert_close(output, expected)
    assert_close(flat(state), finals)


@pytest.mark.parametrize("cell", ["lstm", "slstm", "layer_norm_gru", "bahdanau_gru"])
@pytest.mark.parametrize("backend", ["eager", "llvm"])
def test_every_backend(backend: str, cell: str) -> None:
    sizes = {"memory_size": 6} if cell == "bahdanau_gru" else {}
    layer = gw.Recurrent(cell, 3, [5, 7], bidirectional=True, sizes=sizes)
    check_backend(backend, layer, torch.float64)
    if cell in ("lstm", "slstm"):
        check_resets(backend, layer, torch.float64)
        check_states_of_all_steps(backend, layer, torch.float64)


def test_states_are_tuples_of_the_layers() -> None:
    lstm, gru = gw.LSTM(3, WIDTHS), gw.GRU(3, WIDTHS, bidirectional=True)
    x = torch.randn(6, 2, 3)
    _, (h, c) = lstm(x)
    assert (
        [tuple(state.shape) for state in h]
        == [tuple(state.shape) for state in c]
        == [(1, 2, w) for w in WIDTHS]
    )
    _, state = gru(x)
    assert [tuple(layer.shape) for layer in state] == [(2, 2, w) for w in WIDTHS]
    for layer in (lstm, gru):
        first, state = layer(x[:4])
        both = [first, layer(x[4:], state)[0]]
        if layer is lstm:
            assert_close(torch.cat(both), layer(x)[0])
        assert_close(flat(detach_state(state)), flat(state))
        turned = reorder_state(state, torch.tensor([1, 0]))
        assert_close(layer(x[4:].flip(1), turned)[0].flip(1), both[1])
        alone = map_state(lambda value: value[:, 0], state)
        assert_close(layer(x[4:, 0], alone)[0], both[1][:, 0])
        assert_close(flat(layer.initial_state(2)), [torch.zeros_like(value) for value in flat(state)])
    assert isinstance(gw.GRU(3, [5])(x)[1], tuple)  # what a list gives does not hang on its numbers
    assert isinstance(gw.GRU(3, [5, 5])(x)[1], tuple)


@pytest.mark.parametrize("backend", ["eager", "llvm", "torch"])
def test_equal_widths_give_the_numbers_of_the_plain_stack(backend: str) -> None:
    plain, listed = gw.LSTM(3, 6, num_layers=2), gw.LSTM(3, [6, 6])
    listed.load_state_dict(plain.state_dict())
    x = torch.randn(5, 4, 3)
    with gw.backend(backend):
        assert_close(listed(x)[0], plain(x)[0], EXACT)


def test_the_first_weights_follow_the_widths() -> None:
    for number, width in enumerate(WIDTHS):
        weight = getattr(gw.LSTM(3, WIDTHS), f"weight_hh_l{number}")
        assert weight.shape == (4 * width, width)
        assert 0.5 * width**-0.5 < weight.abs().max() <= width**-0.5


@pytest.mark.parametrize("backend", ["auto", "eager"])
@pytest.mark.parametrize("cell", ["lstm", "slstm"])
def test_a_stream(backend: str, cell: str) -> None:
    torch.manual_seed(0)
    layer = gw.Recurrent(cell, 3, WIDTHS)
    x = torch.randn(6, 2, 3)
    with gw.backend(backend):
        stream = layer.stream(2)
        for _ in range(2):
            steps = [stream.step(step).clone() for step in x[:3]]
            kept = stream.state
            steps += [stream.step(step).clone() for step in x[3:]]
            expected, final = layer(x)
            assert_close(torch.stack(steps), expected.detach())
            assert_close(flat(stream.state), [state.detach() for state in flat(final)])
            stream.state = kept
            assert_close(stream.step(x[3]), expected.detach()[3])
            stream.reset()


@pytest.mark.parametrize("cell", ["lstm", "slstm"])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_a_compiled_stack(cell: str, bidirectional: bool) -> None:
    torch._dynamo.reset()
    layer = gw.Recurrent(cell, 3, WIDTHS, bidirectional=bidirectional, dropout=0.5).eval()
    compiled = torch.compile(layer, backend="eager", fullgraph=True)
    x = torch.randn(6, 2, 3)
    expected, state = layer(x)
    output, final = compiled(x)
    assert_close(output, expected)
    assert_close(flat(final), flat(state))
    given = map_state(torch.Tensor.detach, state)  # these break the graph
    assert_close(torch.compile(layer, backend="eager")(x, given)[0], layer(x, given)[0])


def test_options_between_layers() -> None:
    torch.manual_seed(0)
    layer = gw.LSTM(3, WIDTHS, dropout=0.5, recurrent_dropout=0.2, zoneout=0.1)
    x = torch.randn(6, 2, 3)
    assert not torch.equal(layer(x)[0], layer(x)[0])
    layer.eval()
    assert torch.equal(layer(x)[0], layer(x)[0])
    summed = gw.GRU(4, [4, 4], residual=True)
    values, _ = summed(torch.randn(6, 2, 4), emit=["h", "l0.h"])
    assert_close(values["output"], values["h"] + values["l0.h"])


def test_what_it_says_of_itself() -> None:
    layer = gw.LSTM(3, WIDTHS, proj_size=[3, 2, 1], bidirectional=True)
    assert repr(layer) == "LSTM(projected_lstm, 3, [7, 5, 4], bidirectional=True, proj_size=[3, 2, 1])"
    assert (layer.hidden_size, layer.num_layers, layer.output_size) == ((7, 5, 4), 3, 1)
    assert gw.explain(gw.GRU(3, WIDTHS), torch.zeros(6, 2, 3)).name == "llvm"
    with gw.record(layer) as tape:
        layer(torch.zeros(6, 2, 3))
    assert tape["l1_reverse.c"].shape == (6, 2, 5)
    with pytest.raises(
        ValueError, match=r"'itself' has layers of sizes of their own, hidden_size=\[7, 5, 4\]"
    ):
        gw.replace(layer, to="torch")


X = torch.zeros(6, 2, 3)
WRONG: dict[str, tuple[Any, str]] = {
    "layers": (
        lambda: gw.LSTM(3, WIDTHS, num_layers=2),
        r"hidden_size=\[7, 5, 4\] has a size for each of 3 layers, and num_layers=2",
    ),
    "lists": (
        lambda: gw.LSTM(3, WIDTHS, proj_size=[2, 1]),
        r"proj_size=\[2, 1\] has a size for each of 2 layers, and num_layers=3",
    ),
    "zero": (lambda: gw.LSTM(3, [7, 0]), r"hidden_size=0 in \[7, 0\]: it must be a whole number, 1 or more"),
    "text": (lambda: gw.GRU(3, ["7"]), r"hidden_size='7' in \['7'\]"),
    "a fraction": (lambda: gw.LSTM(3, 5.0), r"hidden_size=5.0: it must be a whole number"),  # type: ignore[arg-type]
    "no layer": (lambda: gw.LSTM(3, []), r"hidden_size=\[\] has a size for each of 0 layers"),
    "projection": (lambda: gw.LSTM(3, [7, 5], proj_size=[3, 5]), r"smaller than hidden_size=\[7, 5\]"),
    "residual": (lambda: gw.GRU(3, [7, 5], residual=True), r"l1 reads 7 units and gives 5"),
    "a step": (lambda: gw.RecurrentCell("gru", 3, [7]), r"hidden_size=\[7\]: it must be a whole number"),
    "one tensor": (
        lambda: gw.GRU(3, WIDTHS)(X, torch.zeros(3, 2, 7)),
        r"state h in hx is a Tensor; .* tuple of 3",
    ),
    "two layers": (lambda: gw.GRU(3, WIDTHS)(X, (torch.zeros(1, 2, 7),) * 2), r"state h in hx is 2 values"),
    "a width": (
        lambda: gw.GRU(3, WIDTHS)(X, (torch.zeros(1, 2, 7),) * 3),
        r"h of l1 in hx .* expected \(1, 2, 5\)",
    ),
    "a stream's": (lambda: setattr(gw.GRU(3, WIDTHS).stream(2), "state", X), r"state h in hx is a Tensor"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_sizes_and_states_that_do_not_fit(wrong: str) -> None:
    call, message = WRONG[wrong]
    with pytest.raises(ValueError, match=message):
        call()


def test_an_input_of_a_size_that_differs() -> None:
    @gw.cell
    def reader(x: Any, h: Any, d: gw.Static(size="hidden_size")) -> Any:  # type: ignore[valid-type]
        return gw.tanh(gw.linear("c", x, h)) + d

    with pytest.raises(
        ValueError, match=r"d of reader has the size hidden_size, which differs .* \(\[5, 7\]\)"
    ):
        gw.Recurrent(reader, 3, [5, 7])
    assert gw.Recurrent(reader, 3, [5, 5])(X, inputs={"d": torch.zeros(2, 5)})[0].shape == (6, 2, 5)
