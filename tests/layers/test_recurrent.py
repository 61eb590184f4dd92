"""`gw.Recurrent` beyond torch.nn: emitted values, memories, further inputs, masks, initialisation, layouts."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

import gatework as gw
from gatework.layers import detach_state, reorder_state
from tests.tolerances import GRADIENTS, assert_close, of_draws

T, B, INPUT, H = 6, 4, 3, 5
LENGTHS = torch.tensor([4, 0, 6, 1])
NAN = float("nan")


def past(lengths: Tensor, steps: int) -> Tensor:
    """(T, B, 1), true past a row's length."""
    return (torch.arange(steps)[:, None] >= lengths)[..., None]


@gw.cell
def emitting(x: Any, h: Any) -> Any:
    """Emits its gate."""
    z = gw.sigmoid(gw.linear("update", x, h))
    gw.emit("update", z)
    return (1 - z) * h + z * gw.tanh(gw.linear("candidate", x, h))


@gw.cell
def conditioned(x: Any, h: Any, gap: gw.Input, speaker: gw.Static) -> Any:
    """Reads a second stream and a static vector."""
    h = gw.exp(-gw.softplus(gw.linear("decay", gap=gap))) * h
    return gw.tanh(gw.linear("candidate", x, h, speaker=speaker))


def attending(score: str) -> gw.Cell:
    def attending(x: Any, s: Any, memory: gw.Memory) -> Any:
        context = gw.attend("source", s, memory, score=score)
        return gw.tanh(gw.linear("candidate", x, s, context=context))

    return gw.cell(attending)


class TestEmitting:
    @pytest.mark.parametrize("lengths", [None, LENGTHS, torch.zeros(B, dtype=torch.int64)])
    def test_the_output_is_a_dict_of_the_top_layers_values(self, lengths: Tensor | None) -> None:
        layer = gw.Recurrent(emitting, INPUT, H, num_layers=2, bidirectional=True)
        output, _ = layer(torch.randn(T, B, INPUT), lengths=lengths)
        assert {name: value.shape for name, value in output.items()} == {
            "output": (T, B, 2 * H),
            "update": (T, B, 2 * H),
        }
        if lengths is not None:
            for value in output.values():
                assert not value.masked_select(past(lengths, T)).any()

    def test_an_emitted_value_is_the_gate_on_the_tape(self) -> None:
        layer = gw.Recurrent(emitting, INPUT, H, batch_first=True)
        with gw.record(layer) as tape:
            output, _ = layer(torch.randn(B, T, INPUT), lengths=LENGTHS)
        assert torch.equal(output["update"], tape["update"].transpose(0, 1))

    def test_packed(self) -> None:
        layer = gw.Recurrent(emitting, INPUT, H)
        x, lengths = torch.randn(T, B, INPUT), torch.tensor([4, 2, 6, 1])
        packed, _ = layer(pack_padded_sequence(x, lengths, enforce_sorted=False))
        padded, _ = layer(x, lengths=lengths)
        for name, value in packed.items():
            assert isinstance(value, PackedSequence)
            torch.testing.assert_close(pad_packed_sequence(value)[0], padded[name])


class TestFurtherInputs:
    def layer(self, **options: Any) -> gw.Recurrent:
        return gw.Recurrent(conditioned, INPUT, H, sizes={"gap_size": 2, "speaker_size": 7}, **options)

    @pytest.mark.parametrize("options", [{}, {"bidirectional": True, "num_layers": 2}])
    def test_rows_are_what_they_are_alone(self, options: dict[str, Any]) -> None:
        layer = self.layer(dtype=torch.float64, **options)
        x, gap = torch.randn(T, B, INPUT).double(), torch.randn(T, B, 2).double()
        speaker = torch.randn(B, 7).double()
        spoiled = gap.masked_fill(past(LENGTHS, T), NAN)
        output, _ = layer(
            x.masked_fill(past(LENGTHS, T), NAN), inputs={"gap": spoiled, "speaker": speaker}, lengths=LENGTHS
        )
        for row, length in enumerate(LENGTHS.tolist()):
            if length:
                own = {"gap": gap[:length, row : row + 1], "speaker": speaker[row : row + 1]}
                alone, _ = layer(x[:length, row : row + 1], inputs=own)
                torch.testing.assert_close(output[:length, row : row + 1], alone)

    def test_batch_first_unbatched_and_streams_agree(self) -> None:
        layer, turned = self.layer(), self.layer(batch_first=True)
        turned.load_state_dict(layer.state_dict())
        x, gap, speaker = torch.randn(T, B, INPUT), torch.randn(T, B, 2), torch.randn(B, 7)
        output, _ = layer(x, inputs={"gap": gap, "speaker": speaker})
        given = {"gap": gap.transpose(0, 1), "speaker": speaker}
        torch.testing.assert_close(turned(x.transpose(0, 1), inputs=given)[0], output.transpose(0, 1))
        one, _ = layer(x[:, 0], inputs={"gap": gap[:, 0], "speaker": speaker[0]})
        torch.testing.assert_close(one, output[:, 0])
        stream = layer.stream(B)
        steps = [stream.step(x[t], {"gap": gap[t], "speaker": speaker}).clone() for t in range(T)]
        torch.testing.assert_close(torch.stack(steps), output)

    @pytest.mark.parametrize(
        ("inputs", "message"),
        [
            ({}, "gap"),
            ({"gap": torch.zeros(T, B, 2)}, "speaker"),
            ({"gap": torch.zeros(T, B, 3), "speaker": torch.zeros(B, 7)}, "gap has shape"),
            (
                {"gap": torch.zeros(T, B, 2), "speaker": torch.zeros(B, 7), "gp": torch.zeros(1)},
                "Did you mean 'gap'",
            ),
        ],
    )
    def test_wrong_inputs_are_refused(self, inputs: dict[str, Tensor], message: str) -> None:
        with pytest.raises(ValueError, match=message):
            self.layer()(torch.zeros(T, B, INPUT), inputs=inputs)

    def test_a_size_that_nobody_gave(self) -> None:
        with pytest.raises(ValueError, match="speaker_size"):
            gw.Recurrent(conditioned, INPUT, H, sizes={"gap_size": 2})
        with pytest.raises(ValueError, match="Did you mean 'gap_size'"):
            gw.Recurrent(conditioned, INPUT, H, sizes={"gap_size": 2, "speaker_size": 7, "gap_sise": 2})


def scores_by_hand(layer: gw.Recurrent, score: str, s: Tensor, memory: Tensor, previous: Tensor) -> Tensor:
    """(S,) of one row, from the papers' equations."""
    p = {name.removesuffix("_l0").removeprefix("source_"): value for name, value in layer.named_parameters()}
    match score:
        case "dot":
            return memory @ s
        case "general":
            return torch.stack([s @ p["memory"] @ m for m in memory])
        case _:
            features = torch.zeros(len(memory), p["energy"].shape[0], dtype=s.dtype)
            if score == "location":
                filters = p["location_filter"]  # (F, K)
                width = filters.shape[1] // 2
                wide = torch.cat([torch.zeros(width), previous, torch.zeros(width)]).to(s)
                f = torch.stack([filters @ wide[i : i + filters.shape[1]] for i in range(len(memory))])
                features = f @ p["location"].T
            return torch.stack(
                [
                    p["energy"] @ torch.tanh(p["query"] @ s + p["memory"] @ m + u)
                    for m, u in zip(memory, features, strict=True)
                ]
            )


MEMORY_SIZE = {"additive": 7, "dot": H, "general": 7, "location": 7}
MEMORY_LENGTHS = torch.tensor([3, 8, 1, 0])


class TestAttention:
    def layer(self, score: str, **options: Any) -> gw.Recurrent:
        torch.manual_seed(1)
        cell = attending(score)
        sizes = {"memory_size": MEMORY_SIZE[score]}
        if score == "dot":  # the query must be as wide as the memory
            cell = gw.cell(dot_attending)
            sizes = {}
        layer = gw.Recurrent(cell, INPUT, H, sizes=sizes, dtype=torch.float64, **options)
        with torch.no_grad():
            for parameter in layer.parameters():
                parameter.copy_(0.6 * torch.randn_like(parameter))
        return layer

    @pytest.mark.parametrize("score", MEMORY_SIZE)
    def test_alignments_are_the_papers(self, score: str) -> None:
        layer = self.layer(score)
        memory = torch.randn(8, B, MEMORY_SIZE[score], dtype=torch.float64)
        x = torch.randn(T, B, INPUT, dtype=torch.float64)
        with gw.record(layer) as tape, torch.no_grad():
            layer(x, memory=memory, memory_lengths=MEMORY_LENGTHS)
        alignment, states = tape["source"], tape["s"]
        assert alignment.shape == (T, B, 8)
        for row, length in enumerate(MEMORY_LENGTHS.tolist()):
            assert not alignment[:, row, length:].any()
            before, previous = torch.zeros(H, dtype=torch.float64), torch.zeros(length, dtype=torch.float64)
            for t in range(T if length else 0):
                scores = scores_by_hand(layer, score, before, memory[:length, row], previous)
                torch.testing.assert_close(alignment[t, row, :length], torch.softmax(scores, 0).detach())
                before, previous = states[t, row], alignment[t, row, :length]

    @pytest.mark.parametrize("score", MEMORY_SIZE)
    def test_gradients_and_nan_in_the_memorys_padding(self, score: str) -> None:
        layer = self.layer(score)
        memory = torch.randn(8, B, MEMORY_SIZE[score], dtype=torch.float64)
        memory = memory.masked_fill(past(MEMORY_LENGTHS, 8), NAN).requires_grad_()
        x = torch.randn(3, B, INPUT, dtype=torch.float64, requires_grad=True)
        output, _ = layer(x, memory=memory, memory_lengths=MEMORY_LENGTHS)
        assert output.isfinite().all()
        output.square().sum().backward()
        assert memory.grad is not None
        assert not memory.grad.masked_select(past(MEMORY_LENGTHS, 8)).any()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in layer.parameters())

        clean = torch.randn(4, 2, MEMORY_SIZE[score], dtype=torch.float64, requires_grad=True)
        step = torch.randn(2, 2, INPUT, dtype=torch.float64, requires_grad=True)
        assert torch.autograd.gradcheck(
            lambda x, m: layer(x, memory=m, memory_lengths=torch.tensor([4, 2]))[0],
            (step, clean),
            fast_mode=True,
        )

    @pytest.mark.parametrize("score", MEMORY_SIZE)
    def test_stream_split_and_ragged_agree(self, score: str) -> None:
        layer = self.layer(score, num_layers=2)
        memory = torch.randn(8, B, MEMORY_SIZE[score], dtype=torch.float64)
        given: dict[str, Any] = {"memory": memory, "memory_lengths": MEMORY_LENGTHS}
        x = torch.randn(T, B, INPUT, dtype=torch.float64)
        with torch.no_grad():
            output, state = layer(x, **given)
            first, middle = layer(x[:2], **given)
            second, end = layer(x[2:], middle, **given)
            ragged, _ = layer(x, lengths=LENGTHS, **given)
        torch.testing.assert_close(torch.cat([first, second]), output)
        torch.testing.assert_close(end, state)
        torch.testing.assert_close(ragged, output.masked_fill(past(LENGTHS, T), 0.0))
        stream = layer.stream(B, **given)
        torch.testing.assert_close(torch.stack([stream.step(step).clone() for step in x]), output)

    def test_wrong_memories_are_refused(self) -> None:
        layer = self.layer("additive")
        x = torch.zeros(T, B, INPUT, dtype=torch.float64)
        for memory in (None, torch.zeros(8, B, 6), torch.zeros(8, B + 1, 7), {"mem": torch.zeros(8, B, 7)}):
            with pytest.raises(ValueError, match="memory"):
                layer(x, memory=memory)
        with pytest.raises(ValueError, match="lengths"):
            layer(x, memory=torch.zeros(8, B, 7).double(), memory_lengths=torch.tensor([9, 1, 1, 1]))
        with pytest.raises(ValueError, match="memory"):
            gw.LSTM(INPUT, H)(torch.zeros(T, B, INPUT), memory=torch.zeros(8, B, 7))


def dot_attending(x: Any, s: Any, memory: gw.Memory(size="hidden_size")) -> Any:  # type: ignore[valid-type]
    return gw.tanh(gw.linear("candidate", x, s, context=gw.attend("source", s, memory, score="dot")))


class TestMasks:
    def test_recurrent_dropout_is_one_mask_a_sequence(self) -> None:
        """With the identity as recurrence, what is dropped once stays dropped."""

        @gw.cell
        def echo(x: Any, h: Any) -> Any:
            return gw.linear("candidate", x, h)

        layer = gw.Recurrent(echo, H, H, bias=False, recurrent_dropout=0.5)
        with torch.no_grad():
            layer.weight_hh_l0.copy_(torch.eye(H))
            layer.weight_ih_l0.copy_(torch.eye(H))
        x = torch.ones(3, 200, H)
        output, _ = layer(x)
        # h1 = 1, h2 = 1 + m h1, h3 = 1 + m h2, with m either 0 or 2
        kept = output[1] > 1.5
        assert torch.equal(output[1], torch.where(kept, 3.0, 1.0))
        assert torch.equal(output[2], torch.where(kept, 7.0, 1.0))
        assert 0.4 < kept.float().mean() < 0.6
        layer.eval()
        assert torch.equal(layer(x)[0][:, 0, 0], torch.tensor([1.0, 2.0, 3.0]))

    def test_zoneout_keeps_states_at_its_rates(self) -> None:
        layer = gw.LSTM(INPUT, H, zoneout={"c": 0.25, "h": 0.5})
        x, start = (
            torch.randn(1, 4000, INPUT),
            (torch.full((1, 4000, H), 0.123), torch.full((1, 4000, H), 0.456)),
        )
        _, (h, c) = layer(x, start)
        assert abs((h == 0.123).float().mean() - 0.5) < 0.02
        assert abs((c == 0.456).float().mean() - 0.25) < 0.02
        plain = gw.LSTM(INPUT, H)
        plain.load_state_dict(layer.state_dict())
        layer.eval()
        _, (h, c) = layer(x, start)
        _, (new_h, new_c) = plain(x, start)
        torch.testing.assert_close(h, 0.5 * 0.123 + 0.5 * new_h)
        torch.testing.assert_close(c, 0.25 * 0.456 + 0.75 * new_c)

    @pytest.mark.parametrize(
        "options", [{"dropout": 0.5}, {"recurrent_dropout": 0.5}, {"zoneout": 0.5}, {"zoneout": {"c": 0.3}}]
    )
    def test_a_seed_repeats_a_call(self, options: dict[str, Any]) -> None:
        layer = gw.LSTM(INPUT, H, num_layers=2, bidirectional=True, **options)
        x = torch.randn(T, B, INPUT)
        results = []
        for seed in (3, 3, 4):
            torch.manual_seed(seed)
            results.append(layer(x, lengths=LENGTHS)[0])
        assert torch.equal(results[0], results[1])
        assert not torch.equal(results[0], results[2])

    def test_a_rate_of_one_drops_everything(self) -> None:
        layer = gw.GRU(INPUT, H, recurrent_dropout=1.0)
        x, start = torch.randn(1, B, INPUT), torch.randn(1, B, H)
        assert layer(x, start)[0].isfinite().all()

    def test_zoneout_of_an_unknown_state(self) -> None:
        with pytest.raises(ValueError, match="'cc'"):
            gw.LSTM(INPUT, H, zoneout={"cc": 0.1})


def test_residual_connections_add_a_layers_input() -> None:
    layer = gw.GRU(INPUT, H, num_layers=3, residual=True)
    inputs = torch.randn(T, B, INPUT)
    x = inputs
    for number in range(3):
        single = gw.GRU(x.shape[-1], H)
        names = [name for name in layer.state_dict() if name.endswith(f"l{number}")]
        single.load_state_dict({name[:-1] + "0": layer.state_dict()[name] for name in names})
        y, _ = single(x)
        x = y + x if number else y
    torch.testing.assert_close(layer(inputs)[0], x)


class TestInitialisation:
    def test_keras(self) -> None:
        layer = gw.LSTM(64, 128, num_layers=2, init="keras")
        for number, wide in ((0, 64), (1, 128)):
            weight = getattr(layer, f"weight_ih_l{number}")
            bound = (6 / (wide + 4 * 128)) ** 0.5
            assert bound * 0.98 < weight.abs().max() <= bound
            recurrent = getattr(layer, f"weight_hh_l{number}")
            assert_close(recurrent.T @ recurrent, torch.eye(128), GRADIENTS)
            bias = getattr(layer, f"bias_ih_l{number}") + getattr(layer, f"bias_hh_l{number}")
            assert torch.equal(bias, torch.cat([torch.zeros(128), torch.ones(128), torch.zeros(256)]))

    def test_forget_bias_is_the_sum_of_both_biases(self) -> None:
        layer = gw.LSTM(3, 4, forget_bias=2.5)
        assert torch.equal((layer.bias_ih_l0 + layer.bias_hh_l0)[4:8], torch.full((4,), 2.5))
        with pytest.raises(ValueError, match="forget"):
            gw.GRU(3, 4, forget_bias=1.0)

    def test_declared_starts_hold(self) -> None:
        layer = gw.Recurrent("layer_norm_lstm", 3, 4)
        assert torch.equal(layer.norm_gain_cell_l0, torch.ones(4))
        assert torch.equal(layer.norm_bias_cell_l0, torch.zeros(4))
        for scheme in ("torch", "keras"):
            drawn = gw.Recurrent("rg_lru", 1, 2000, init=scheme).decay_l0  # declared to lie between 4.3 and 9
            assert bool(((drawn >= 4.3) & (drawn <= 9.0)).all())
            for quarter in (4.3 + 4.7 / 4, 9.0 - 4.7 / 4):
                share = float((drawn < quarter).float().mean())
                assert abs(share - (quarter - 4.3) / 4.7) < of_draws(2000)
        assert torch.equal(gw.Recurrent("slstm", 3, 4).initial_state(2)[3], torch.full((1, 2, 4), -1e30))


def test_weights_load_by_gate_name() -> None:
    """Reordering the lines of an equation permutes nothing: what is stored says which rows are which gate's."""

    def one(x: Any, h: Any) -> Any:
        z = gw.sigmoid(gw.linear("update", x, h))
        r = gw.sigmoid(gw.linear("reset", x, h))
        n = gw.tanh(gw.linear("candidate", x, r * h))
        return (1 - z) * n + z * h

    def other(x: Any, h: Any) -> Any:
        r = gw.sigmoid(gw.linear("reset", x, h))
        n = gw.tanh(gw.linear("candidate", x, r * h))
        z = gw.sigmoid(gw.linear("update", x, h))
        return (1 - z) * n + z * h

    first = gw.Recurrent(gw.cell(one), INPUT, H, num_layers=2, bidirectional=True)
    second = gw.Recurrent(gw.cell(other), INPUT, H, num_layers=2, bidirectional=True)
    stored = first.state_dict()
    before = {name: value.clone() for name, value in stored.items()}
    second.load_state_dict(stored)
    assert all(torch.equal(stored[name], value) for name, value in before.items()), (
        "loading changed what it read"
    )
    x = torch.randn(T, B, INPUT)
    torch.testing.assert_close(second(x)[0], first(x)[0])
    model = torch.nn.Sequential(second)
    model.load_state_dict({f"0.{name}": value for name, value in second.state_dict().items()})
    wrapped = torch.nn.ModuleDict({"inner": first}).state_dict()
    target = torch.nn.ModuleDict(
        {"inner": gw.Recurrent(gw.cell(other), INPUT, H, num_layers=2, bidirectional=True)}
    )
    target.load_state_dict(wrapped)
    torch.testing.assert_close(target["inner"](x)[0], first(x)[0])
    with pytest.raises((ValueError, RuntimeError)):
        gw.Recurrent("minimal_gated_unit", INPUT, H).load_state_dict(
            gw.Recurrent("coupled_lstm", INPUT, H).state_dict()
        )


@pytest.mark.parametrize("cell", ["lstm", "gru", "elman", "slstm", "gru_original"])
def test_no_rows_and_no_steps(cell: str) -> None:
    layer = gw.Recurrent(cell, INPUT, H, num_layers=2, bidirectional=True)
    assert layer(torch.zeros(T, 0, INPUT))[0].shape == (T, 0, 2 * H)
    output, state = layer(torch.zeros(0, B, INPUT))
    assert output.shape == (0, B, 2 * H)
    torch.testing.assert_close(state, layer.initial_state(B))
    output, state = layer(torch.zeros(T, B, INPUT), lengths=torch.zeros(B, dtype=torch.int64))
    assert not output.any()
    torch.testing.assert_close(state, layer.initial_state(B))


def test_a_batch_without_rows_has_an_empty_list_of_lengths() -> None:
    for layer in (gw.LSTM(INPUT, H), gw.GRU(INPUT, H, bidirectional=True)):
        assert layer(torch.zeros(T, 0, INPUT), lengths=[])[0].shape[:2] == (T, 0)
        with pytest.raises(ValueError, match="whole numbers"):
            layer(torch.zeros(T, 0, INPUT), lengths=torch.zeros(0))
        with pytest.raises(ValueError, match="rows"):
            layer(torch.zeros(T, 2, INPUT), lengths=[])


def test_inputs_of_another_dtype_are_named() -> None:
    for layer in (gw.LSTM(INPUT, H), gw.LSTMCell(INPUT, H), gw.Recurrent("slstm", INPUT, H)):
        x = torch.randn(T, B, INPUT) if isinstance(layer, gw.Recurrent) else torch.randn(B, INPUT)
        with pytest.raises(ValueError, match=r"torch.bfloat16.*torch.float32"):
            layer(x.bfloat16())
        with pytest.raises(ValueError, match=r"torch.int64.*Embedding"):
            layer(x.long())


def test_states_can_be_detached_and_reordered() -> None:
    layer = gw.LSTM(INPUT, H, num_layers=2)
    _, state = layer(torch.randn(T, B, INPUT))
    assert all(not s.requires_grad for s in detach_state(state))
    index = torch.tensor([2, 2, 0])
    for picked, whole in zip(reorder_state(state, index), state, strict=True):
        assert torch.equal(picked, whole[:, index])


@gw.cell
def query_of_the_input(x: Any, h: Any, memory: gw.Memory(size=5)) -> Any:  # type: ignore[valid-type]
    """What is asked of the memory depends on the input alone."""
    context = gw.attend("source", gw.linear("query", x), memory)
    return gw.tanh(gw.linear("candidate", x, h, context=context))


@pytest.mark.parametrize("score", ["additive", "dot", "general", "location"])
def test_a_query_of_parameters_alone_on_the_reference(score: str) -> None:
    @gw.cell
    def asks_the_same(x: Any, h: Any, memory: gw.Memory(size="hidden_size")) -> Any:  # type: ignore[valid-type]
        context = gw.attend("source", gw.tanh(gw.vector("query")), memory, score=score)
        return gw.tanh(gw.linear("candidate", x, h, context=context))

    layer = gw.Recurrent(asks_the_same, INPUT, H)
    memory = torch.randn(4, B, H)
    with gw.backend("eager"):
        output, _ = layer(torch.randn(T, B, INPUT), memory=memory)
        alone, _ = layer(torch.randn(T, B, INPUT)[:, :1], memory=memory[:, :1])
    assert output.shape == (T, B, H)
    assert alone.shape == (T, 1, H)


def test_a_normalisation_over_an_input_a_static_and_a_vector_together() -> None:
    @gw.cell
    def normed(x: Any, h: Any, d: gw.Static) -> Any:
        a, b, c = gw.layer_norm("all", gw.linear("a", x), gw.linear("b", d=d), gw.vector("c"))
        return gw.tanh(gw.linear("candidate", x, h) + a * b - c)

    layer = gw.Recurrent(normed, INPUT, H, sizes={"d_size": 2}, dtype=torch.float64)
    x, d = torch.randn(T, B, INPUT).double(), torch.randn(B, 2).double()
    found = []
    for backend in ("eager", "llvm"):
        with gw.backend(backend):
            output, _ = layer(x, inputs={"d": d})
            found.append((output, torch.autograd.grad(output.square().sum(), list(layer.parameters()))))
    torch.testing.assert_close(found[0], found[1])


def test_second_derivative_where_the_query_depends_on_the_input_alone() -> None:
    layer = gw.Recurrent(query_of_the_input, INPUT, H, dtype=torch.float64)
    x = torch.randn(T, B, INPUT, dtype=torch.float64, requires_grad=True)
    memory = torch.randn(4, B, 5, dtype=torch.float64, requires_grad=True)
    found = {}
    for backend in ("eager", "llvm"):
        with gw.backend(backend):
            output, _ = layer(x, memory=memory)
            (first,) = torch.autograd.grad(output.square().sum(), x, create_graph=True)
            found[backend] = torch.autograd.grad(first.square().sum(), (x, memory, layer.weight_hh_l0))
    torch.testing.assert_close(found["llvm"], found["eager"])


@pytest.mark.parametrize("backend", ["auto", "eager", "llvm"])
@pytest.mark.parametrize("kind", [gw.LSTM, gw.GRU])
def test_second_derivatives_on_every_path(kind: type[gw.Recurrent], backend: str) -> None:
    """torch's cuDNN layers have none (pytorch#5261); ours are those of finite differences, whatever runs the layer."""
    layer = kind(2, 3, dtype=torch.float64)
    x = torch.randn(4, 2, 2, dtype=torch.float64, requires_grad=True)
    weight = layer.weight_hh_l0

    def run(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        parameters = {"weight_hh_l0": weight}
        return torch.func.functional_call(layer, parameters, x)[0].sin()

    with gw.backend(backend):
        assert torch.autograd.gradgradcheck(run, (x, weight))
