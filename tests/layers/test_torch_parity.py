"""`gw.LSTM`, `gw.GRU` and `gw.RNN` against `torch.nn`: outputs, states, all gradients, first weights, state
dicts, and what people do to modules (deep copies, parametrizations, tying, autocast, export).

The witness is fed a PackedSequence wherever lengths are given; ours is fed a padded tensor with NaN in its
padding. torch refuses empty sequences: the witness runs on the others and the empty rows are put in after.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

import gatework as gw
from gatework.backends import torch_fused
from tests.tensors import flat
from tests.tolerances import GRADIENTS, OF_THE_LARGEST, ROUNDING, VALUES, assert_close, of_the_largest

STEPS, BATCH, INPUT, HIDDEN, PROJECTED = 5, 4, 3, 4, 2
LENGTHS = (3, 0, 5, 1)  # any order, an empty one among them
PACKED_LENGTHS = (3, 2, 5, 1)

# kind -> torch's class, ours, and the arguments that make it
KINDS: dict[str, tuple[type[nn.RNNBase], Any, dict[str, Any]]] = {
    "lstm": (nn.LSTM, gw.LSTM, {}),
    "lstm_projected": (nn.LSTM, gw.LSTM, {"proj_size": PROJECTED}),
    "gru": (nn.GRU, gw.GRU, {}),
    "rnn_tanh": (nn.RNN, gw.RNN, {}),
    "rnn_relu": (nn.RNN, gw.RNN, {"nonlinearity": "relu"}),
}
FORMS = ("dense", "lengths", "packed_sorted", "packed_unsorted", "unbatched")


class Pair(NamedTuple):
    theirs: nn.RNNBase
    ours: nn.Module


def pair(kind: str, **options: Any) -> Pair:
    """torch's layer and ours with the same weights."""
    their_class, our_class, extra = KINDS[kind]
    theirs = their_class(INPUT, HIDDEN, **extra, **options)
    ours = our_class(INPUT, HIDDEN, **extra, **options)
    ours.load_state_dict(theirs.state_dict())
    return Pair(theirs, ours)


def states_of(layer: nn.RNNBase, batch: int | None, dtype: torch.dtype) -> Any:
    """A random initial state as torch takes it."""
    count = layer.num_layers * (2 if layer.bidirectional else 1)
    rows = () if batch is None else (batch,)
    h = torch.randn(count, *rows, layer.proj_size or layer.hidden_size, dtype=dtype)
    if layer.mode != "LSTM":
        return h
    return h, torch.randn(count, *rows, layer.hidden_size, dtype=dtype)


def leaf(value: Any) -> Any:
    """The same value as fresh tensors that ask for gradients."""
    if value is None:
        return None
    if isinstance(value, tuple):
        return tuple(leaf(part) for part in value)
    return value.detach().clone().requires_grad_()


def lengths_reference(layer: nn.RNNBase, x: Tensor, hx: Any, lengths: Tensor) -> list[Tensor]:
    """torch on packed sequences, with the empty ones, which it refuses, left out and put in after."""
    rows = lengths.nonzero().squeeze(1)
    axis = 0 if layer.batch_first else 1
    used = None if hx is None else tuple(h[:, rows] for h in flat(hx))
    packed = pack_padded_sequence(
        x.index_select(axis, rows), lengths[rows], batch_first=layer.batch_first, enforce_sorted=False
    )
    output, state = layer(packed, used if used is None or layer.mode == "LSTM" else used[0])
    padded, _ = pad_packed_sequence(output, batch_first=layer.batch_first, total_length=STEPS)
    shape = list(padded.shape)
    shape[axis] = len(lengths)
    whole = padded.new_zeros(shape).index_copy(axis, rows, padded)
    starts = (
        [s.new_zeros(s.shape[0], len(lengths), s.shape[2]) for s in flat(state)] if hx is None else flat(hx)
    )
    return [whole, *(b.index_copy(1, rows, s) for b, s in zip(starts, flat(state), strict=True))]


def run(pair: Pair, form: str, dtype: torch.dtype, with_state: bool) -> Iterator[tuple[str, Tensor, Tensor]]:
    """Both layers on the same data: names with our values and theirs, gradients included."""
    theirs, ours = (layer.to(dtype) for layer in pair)
    batch = None if form == "unbatched" else BATCH
    x = (
        torch.randn(STEPS, INPUT, dtype=dtype)
        if batch is None
        else torch.randn(STEPS, BATCH, INPUT, dtype=dtype)
    )
    if theirs.batch_first and batch is not None:
        x = x.transpose(0, 1)  # not contiguous
    hx = states_of(theirs, batch, dtype) if with_state else None
    their_x, our_x, their_hx, our_hx = leaf(x), leaf(x), leaf(hx), leaf(hx)

    if form == "lengths":
        lengths = torch.tensor(LENGTHS)
        past = torch.arange(STEPS) >= lengths[:, None]  # (B, T)
        spoiled = our_x.masked_fill((past if theirs.batch_first else past.T)[..., None], float("nan"))
        expected = lengths_reference(theirs, their_x, their_hx, lengths)
        got = flat(ours(spoiled, our_hx, lengths=lengths))
    elif form.startswith("packed"):
        lengths = torch.tensor(
            sorted(PACKED_LENGTHS, reverse=True) if form == "packed_sorted" else PACKED_LENGTHS
        )
        pack = {"batch_first": theirs.batch_first, "enforce_sorted": form == "packed_sorted"}
        expected = flat(theirs(pack_padded_sequence(their_x, lengths, **pack), their_hx))
        packed, state = ours(pack_padded_sequence(our_x, lengths, **pack), our_hx)
        assert isinstance(packed, PackedSequence)
        got = flat((packed, state))
    else:
        expected = flat(theirs(their_x, their_hx))
        got = flat(ours(our_x, our_hx))

    weights = [torch.randn_like(e) for e in expected]
    for values in (expected, got):
        torch.stack([(v * w).sum() for v, w in zip(values, weights, strict=True)]).sum().backward()
    names = ("output", "h", "c")[: len(expected)]
    yield from zip(names, got, expected, strict=True)
    yield "gradient of the input", our_x.grad, their_x.grad
    for ours_, theirs_ in zip(flat(our_hx), flat(their_hx), strict=True):
        yield "gradient of the state", ours_.grad, theirs_.grad
    mine = dict(ours.named_parameters())
    for name, parameter in theirs.named_parameters():
        yield f"gradient of {name}", mine[name].grad, parameter.grad
    theirs.zero_grad()
    ours.zero_grad()


def differences(results: Iterator[tuple[str, Tensor, Tensor]], dtype: torch.dtype) -> list[str]:
    """What is further from torch than the tolerance, relative to the largest entry of torch's value."""
    wrong = []
    for name, got, expected in results:
        if got.shape != expected.shape:
            wrong.append(f"{name}: {tuple(got.shape)}, not {tuple(expected.shape)}")
            continue
        difference = of_the_largest(got, expected)
        if not difference <= OF_THE_LARGEST[dtype]:  # a NaN fails too
            wrong.append(f"{name}: {difference:.1e}")
    return wrong


@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")  # torch.nn's own
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no_bias"])
@pytest.mark.parametrize("batch_first", [False, True], ids=["time_first", "batch_first"])
@pytest.mark.parametrize("bidirectional", [False, True], ids=["forward", "both"])
@pytest.mark.parametrize("num_layers", [1, 2])
@pytest.mark.parametrize("kind", KINDS)
def test_equal_to_torch(
    kind: str, num_layers: int, bidirectional: bool, batch_first: bool, bias: bool, form: str
) -> None:
    layers = pair(
        kind, num_layers=num_layers, bidirectional=bidirectional, batch_first=batch_first, bias=bias
    )
    for backend, dtype, with_state in (
        ("auto", torch.float32, True),
        ("eager", torch.float32, False),
        ("auto", torch.float64, False),
        ("eager", torch.float64, True),
    ):
        with gw.backend(backend):
            wrong = differences(run(layers, form, dtype, with_state), dtype)
        assert wrong == [], f"{backend}, {dtype}, {with_state=}"


@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")  # torch.nn's own
@pytest.mark.parametrize("backend", ["auto", "llvm", "torch", "eager"])
@pytest.mark.parametrize("gradients", [True, False], ids=["training", "inference"])
@pytest.mark.parametrize("num_layers", [1, 2])
@pytest.mark.parametrize("kind", KINDS)
def test_rows_first_and_contiguous(kind: str, num_layers: int, gradients: bool, backend: str) -> None:
    """An input (B, T, I) as a data loader gives it: plain and contiguous, and yet not (T, B, I)."""
    theirs, ours = pair(kind, num_layers=num_layers, batch_first=True)
    x = torch.randn(BATCH, STEPS, INPUT, requires_grad=gradients)
    with torch.set_grad_enabled(gradients), gw.backend(backend):
        for hx in (None, states_of(theirs, BATCH, x.dtype)):
            expected, got = flat(theirs(x, hx)), flat(ours(x, hx))
            for a, b in zip(got, expected, strict=True):
                assert a.shape == b.shape
                assert_close(a, b, VALUES)
            if gradients:
                loss = [sum(value.square().sum() for value in values) for values in (got, expected)]
                of_ours, of_theirs = (torch.autograd.grad(value, x)[0] for value in loss)
                assert_close(of_ours, of_theirs, GRADIENTS)


@pytest.mark.parametrize("form", FORMS)
def test_the_comparison_sees_swapped_gates(form: str) -> None:
    layers = pair("lstm", bidirectional=True)
    with torch.no_grad():
        packed = layers.ours.weight_hh_l0
        packed.copy_(torch.cat([packed[HIDDEN : 2 * HIDDEN], packed[:HIDDEN], packed[2 * HIDDEN :]]))
    assert differences(run(layers, form, torch.float64, True), torch.float64)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("options", [{}, {"num_layers": 2, "bidirectional": True}, {"bias": False}])
def test_the_same_seed_draws_the_same_weights(kind: str, options: dict[str, Any]) -> None:
    their_class, our_class, extra = KINDS[kind]
    torch.manual_seed(3)
    theirs = their_class(INPUT, HIDDEN, **extra, **options)
    their_next = torch.rand(())
    torch.manual_seed(3)
    ours = our_class(INPUT, HIDDEN, **extra, **options)
    assert torch.equal(torch.rand(()), their_next), "ours draws more or fewer numbers"
    assert list(ours.state_dict()) == list(theirs.state_dict())
    for name, value in theirs.state_dict().items():
        assert torch.equal(ours.state_dict()[name], value), name


@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")  # torch.nn's own
@pytest.mark.parametrize("kind", KINDS)
def test_state_dicts_go_both_ways(kind: str) -> None:
    their_class, our_class, extra = KINDS[kind]
    options = {**extra, "num_layers": 2, "bidirectional": True}
    theirs, ours = their_class(INPUT, HIDDEN, **options), our_class(INPUT, HIDDEN, **options)
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(STEPS, BATCH, INPUT)
    assert_close(theirs(x)[0], ours(x)[0], ROUNDING)
    other = their_class(INPUT, HIDDEN, **options)
    ours.load_state_dict(other.state_dict())
    assert_close(other(x)[0], ours(x)[0], ROUNDING)


def test_arguments_by_position_and_by_keyword() -> None:
    ours = gw.LSTM(INPUT, HIDDEN, 2, False, True, 0.0, True, PROJECTED, None, torch.float64)
    theirs = nn.LSTM(INPUT, HIDDEN, 2, False, True, 0.0, True, PROJECTED, None, torch.float64)
    ours.load_state_dict(theirs.state_dict())
    x, hx = torch.randn(BATCH, STEPS, INPUT, dtype=torch.float64), states_of(theirs, BATCH, torch.float64)
    torch.testing.assert_close(ours(x, hx=hx), theirs(x, hx=hx))
    torch.testing.assert_close(ours(input=x, hx=hx), theirs(input=x, hx=hx))
    ours_rnn, theirs_rnn = gw.RNN(INPUT, HIDDEN, 1, "relu"), nn.RNN(INPUT, HIDDEN, 1, "relu")
    ours_rnn.load_state_dict(theirs_rnn.state_dict())
    z = torch.randn(STEPS, BATCH, INPUT)
    torch.testing.assert_close(ours_rnn(z), theirs_rnn(z))
    ours.flatten_parameters()


CELLS = [
    (nn.LSTMCell, gw.LSTMCell, {}),
    (nn.GRUCell, gw.GRUCell, {}),
    (nn.RNNCell, gw.RNNCell, {}),
    (nn.RNNCell, gw.RNNCell, {"nonlinearity": "relu"}),
]


@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no_bias"])
@pytest.mark.parametrize("batch", [None, 1, 7])
@pytest.mark.parametrize(("their_class", "our_class", "extra"), CELLS)
def test_single_steps(
    their_class: Any, our_class: Any, extra: dict[str, Any], batch: int | None, bias: bool
) -> None:
    torch.manual_seed(5)
    theirs = their_class(INPUT, HIDDEN, bias, **extra).double()
    torch.manual_seed(5)
    ours = our_class(INPUT, HIDDEN, bias, **extra).double()
    assert list(ours.state_dict()) == list(theirs.state_dict())
    rows = () if batch is None else (batch,)
    x = torch.randn(*rows, INPUT, dtype=torch.float64)
    h = torch.randn(*rows, HIDDEN, dtype=torch.float64)
    state = (h, torch.randn_like(h)) if their_class is nn.LSTMCell else h
    for hx in (None, state):
        got, expected = ours(x, leaf(hx)), theirs(x, leaf(hx))
        assert_close(got, expected)
        mine = torch.autograd.grad(sum(v.sin().sum() for v in flat(got)), list(ours.parameters()))
        reference = torch.autograd.grad(sum(v.sin().sum() for v in flat(expected)), list(theirs.parameters()))
        assert_close(mine, reference)


@pytest.mark.parametrize("kind", KINDS)
def test_deep_copies_are_independent(kind: str) -> None:
    layer = pair(kind, num_layers=2).ours
    x = torch.randn(STEPS, BATCH, INPUT)
    before = layer(x)[0]
    twin = copy.deepcopy(layer)
    assert torch.equal(twin(x)[0], before)
    with torch.no_grad():
        twin.weight_hh_l0.add_(1.0)
    assert torch.equal(layer(x)[0], before)
    assert not torch.equal(twin(x)[0], before)


def test_weight_norm_as_with_torch() -> None:
    theirs, ours = pair("lstm", num_layers=2)
    for layer in (theirs, ours):
        parametrizations.weight_norm(layer, "weight_hh_l0", dim=0)
        with torch.no_grad():
            layer.parametrizations.weight_hh_l0.original0.mul_(1.7)
    x = torch.randn(STEPS, BATCH, INPUT)
    assert_close(ours(x)[0], theirs(x)[0], ROUNDING)
    for layer in (theirs, ours):
        layer(x)[0].square().sum().backward()
    for name in ("original0", "original1"):
        got, expected = (getattr(layer.parametrizations.weight_hh_l0, name).grad for layer in (ours, theirs))
        assert_close(got, expected, GRADIENTS)


class Drop(nn.Module):
    """DropConnect on a weight (Merity et al. 2018): a mask drawn at each call, or one given."""

    def __init__(self, mask: Tensor | None = None) -> None:
        super().__init__()
        self.mask = mask

    def forward(self, weight: Tensor) -> Tensor:
        return nn.functional.dropout(weight, 0.5, self.training) if self.mask is None else weight * self.mask


def test_weight_drop_as_with_torch() -> None:
    theirs, ours = pair("lstm")
    mask = torch.bernoulli(torch.full_like(theirs.weight_hh_l0, 0.5))
    for layer in (theirs, ours):
        nn.utils.parametrize.register_parametrization(layer, "weight_hh_l0", Drop(mask))
    x = torch.randn(STEPS, BATCH, INPUT)
    assert_close(ours(x)[0], theirs(x)[0], ROUNDING)
    for layer in (theirs, ours):
        layer(x)[0].square().sum().backward()
    got, expected = (layer.parametrizations.weight_hh_l0.original.grad for layer in (ours, theirs))
    assert_close(got, expected, GRADIENTS)


def test_weight_drop_draws_anew_at_each_call() -> None:
    ours = gw.LSTM(INPUT, HIDDEN)
    nn.utils.parametrize.register_parametrization(ours, "weight_hh_l0", Drop())
    x = torch.randn(STEPS, BATCH, INPUT)
    assert not torch.equal(ours(x)[0], ours(x)[0])
    ours.eval()
    assert torch.equal(ours(x)[0], ours(x)[0])


def test_tied_weights_stay_tied() -> None:
    ours = gw.LSTM(HIDDEN, HIDDEN, num_layers=2)
    ours.weight_hh_l1 = ours.weight_hh_l0
    assert len(list(ours.parameters())) == 7
    x = torch.randn(STEPS, BATCH, HIDDEN)
    theirs = nn.LSTM(HIDDEN, HIDDEN, num_layers=2)
    theirs.load_state_dict(ours.state_dict())
    theirs.weight_hh_l1 = theirs.weight_hh_l0
    for layer in (theirs, ours):
        layer(x)[0].square().sum().backward()
    assert_close(ours.weight_hh_l0.grad, theirs.weight_hh_l0.grad, GRADIENTS)
    twin = copy.deepcopy(ours)
    assert twin.weight_hh_l1 is twin.weight_hh_l0


@pytest.mark.filterwarnings("ignore:TF32 acceleration on top of oneDNN")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("backend", ["auto", "eager"])
def test_autocast(kind: str, backend: str) -> None:
    theirs, ours = pair(kind)
    x = torch.randn(STEPS, BATCH, INPUT)
    with torch.autocast("cpu", torch.bfloat16):
        with gw.backend(backend):
            got = ours(x)[0]
        # torch.nn.LSTM itself raises under autocast where oneDNN has no bfloat16 LSTM: it is asked without oneDNN.
        with torch.backends.mkldnn.flags(enabled=False):
            expected = theirs(x)[0]
    assert_close(got.float(), expected.float(), dtype=torch.bfloat16)
    got.float().square().sum().backward()
    assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in ours.parameters())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("options", [{}, {"bidirectional": True, "num_layers": 2}, {"proj_size": 2}])
def test_an_lstm_runs_under_autocast_on_every_processor(dtype: torch.dtype, options: dict[str, Any]) -> None:
    layer, x = gw.LSTM(INPUT, HIDDEN, **options), torch.randn(STEPS, BATCH, INPUT)
    expected = layer(x)[0]
    with torch.autocast("cpu", dtype):
        output = layer(x)[0]
        choice = gw.explain(layer, x)
        one_step = layer(x[:1])[0]
    assert_close(output.float(), expected, dtype=dtype)
    assert one_step.shape == expected[:1].shape
    output.float().sum().backward()
    assert all(p.grad is not None for p in layer.parameters())
    fails = torch_fused.lstm_fails_in(dtype, torch.backends.mkldnn.enabled)
    if fails and "proj_size" not in options:
        assert choice.name == "eager"
        assert fails in choice.reason
        with (
            torch.autocast("cpu", dtype),
            gw.backend("torch"),
            pytest.raises(gw.BackendError, match="processor"),
        ):
            layer(x)
    else:
        assert choice.name == "torch"


@pytest.mark.parametrize("kind", ["lstm", "gru", "rnn_tanh"])
def test_export(kind: str) -> None:
    class Model(nn.Module):
        def __init__(self, layer: nn.Module) -> None:
            super().__init__()
            self.layer = layer

        def forward(self, x: Tensor) -> Tensor:
            return self.layer(x)[0]

    model = Model(pair(kind, num_layers=2).ours).eval()
    x = torch.randn(STEPS, BATCH, INPUT)
    program = torch.export.export(model, (x,))
    assert_close(program.module()(x), model(x), ROUNDING)


WRONG = [
    (lambda layer: layer(torch.randn(STEPS, BATCH, INPUT + 1)), "input"),
    (lambda layer: layer(torch.randn(INPUT)), "input"),
    (lambda layer: layer(torch.randn(1, STEPS, BATCH, INPUT)), "input"),
    (lambda layer: layer(torch.randn(STEPS, BATCH, INPUT), torch.zeros(1, BATCH, HIDDEN + 1)), "state|hx"),
    (lambda layer: layer(torch.randn(STEPS, BATCH, INPUT), torch.zeros(1, BATCH + 1, HIDDEN)), "state|hx"),
    (lambda layer: layer(torch.randn(STEPS, BATCH, INPUT), torch.zeros(2, BATCH, HIDDEN)), "state|hx"),
    (lambda layer: layer(torch.randn(STEPS, BATCH, INPUT), lengths=torch.tensor([1, 2])), "lengths"),
    (lambda layer: layer(torch.randn(STEPS, 2, INPUT), lengths=torch.tensor([STEPS + 1, 2])), "lengths"),
    (lambda layer: layer(torch.randn(STEPS, 2, INPUT), lengths=torch.tensor([-1, 2])), "lengths"),
    (lambda layer: layer(torch.randn(STEPS, 2, INPUT), lengths=torch.tensor([1.5, 2])), "lengths"),
]


@pytest.mark.parametrize("number", range(len(WRONG)))
def test_wrong_calls_are_refused(number: int) -> None:
    call, word = WRONG[number]
    with pytest.raises((ValueError, TypeError), match=word):
        call(gw.GRU(INPUT, HIDDEN))


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"hidden_size": 0}, "hidden_size"),
        ({"num_layers": 0}, "num_layers"),
        ({"dropout": 1.5}, "dropout"),
        ({"dropout": -0.1}, "dropout"),
        ({"proj_size": -1}, "proj_size"),
        ({"proj_size": HIDDEN}, "proj_size"),
        ({"init": "lecun"}, "init"),
        ({"recurrent_dropout": 2.0}, "recurrent_dropout"),
        ({"zoneout": -1.0}, "zoneout"),
    ],
)
def test_wrong_arguments_are_refused(options: dict[str, Any], word: str) -> None:
    with pytest.raises((ValueError, TypeError), match=word):
        gw.LSTM(**{"input_size": INPUT, "hidden_size": HIDDEN, **options})


def test_only_an_lstm_is_projected() -> None:
    with pytest.raises((ValueError, TypeError), match="proj_size"):
        gw.GRU(INPUT, HIDDEN, proj_size=2)


def test_a_misspelt_option_is_refused() -> None:
    with pytest.raises(TypeError):
        gw.LSTM(INPUT, HIDDEN, bidirektional=True)


def test_dropout_between_layers_acts_in_training_alone() -> None:
    theirs, ours = pair("gru", num_layers=2, dropout=0.5)
    x = torch.randn(STEPS, BATCH, INPUT)
    assert not torch.equal(ours(x)[0], ours(x)[0])
    for layer in (theirs, ours):
        layer.eval()
    assert_close(ours(x)[0], theirs(x)[0], ROUNDING)
    assert torch.equal(ours(x)[0], ours(x)[0])


@pytest.mark.parametrize("order", list(itertools.permutations(range(3)))[1:4])
def test_lengths_of_any_kind_and_order(order: tuple[int, ...]) -> None:
    ours = pair("lstm", bidirectional=True).ours
    x, lengths = torch.randn(STEPS, 3, INPUT), torch.tensor([5, 0, 2])
    output, (h, c) = ours(x, lengths=lengths)
    index = list(order)
    for given in (lengths[index], lengths[index].int(), lengths[index].tolist()):
        moved = ours(x[:, index], lengths=given)
        assert_close(moved[0], output[:, index], ROUNDING)
        assert_close(moved[1], (h[:, index], c[:, index]), ROUNDING)
