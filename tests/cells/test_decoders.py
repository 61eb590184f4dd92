"""The decoder cells and the attention modules against independent float64 implementations of their papers."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import gatework as gw
from gatework.cells import CATALOGUE
from tests.cells.weights import Weights
from tests.contracts.cell_contract import ALONE
from tests.tolerances import GRADIENTS, assert_close

DECODERS = [name for name in CATALOGUE if name not in ALONE]
STEPS, ROWS, INPUT, HIDDEN, MEMORY = 5, 4, 3, 6, 4
MEMORY_LENGTHS = torch.tensor([7, 1, 0, 3])

Step = Callable[..., tuple[Tensor, ...]]


def bahdanau_gru(w: Weights, x: Tensor, s: Tensor, *, context: Callable[..., Tensor]) -> tuple[Tensor, ...]:
    c = context(s, "additive")
    r = torch.sigmoid(w("reset", ih=x, hh=s, context=c))
    z = torch.sigmoid(w("update", ih=x, hh=s, context=c))
    return ((1 - z) * s + z * torch.tanh(w("candidate", ih=x, hh=r * s, context=c)),)


def bahdanau_lstm(
    w: Weights, x: Tensor, h: Tensor, c: Tensor, *, context: Callable[..., Tensor]
) -> tuple[Tensor, ...]:
    v = context(h, "additive")
    i, f, o = (torch.sigmoid(w(gate, ih=x, hh=h, context=v)) for gate in ("input", "forget", "output"))
    c = f * c + i * torch.tanh(w("candidate", ih=x, hh=h, context=v))
    return o * torch.tanh(c), c


def luong_lstm(
    w: Weights, x: Tensor, a: Tensor, h: Tensor, c: Tensor, *, context: Callable[..., Tensor]
) -> tuple[Tensor, ...]:
    i, f, o = (torch.sigmoid(w(gate, ih=x, hh=h, feed=a)) for gate in ("input", "forget", "output"))
    c = f * c + i * torch.tanh(w("candidate", ih=x, hh=h, feed=a))
    h = o * torch.tanh(c)
    return torch.tanh(w("attentional", hh=h, context=context(h, "general"))), h, c


def cho_gru(w: Weights, x: Tensor, h: Tensor, *, context: Callable[..., Tensor]) -> tuple[Tensor, ...]:
    v = context(h, "fixed")
    r = torch.sigmoid(w("reset", ih=x, hh=h, context=v))
    z = torch.sigmoid(w("update", ih=x, hh=h, context=v))
    n = torch.tanh(w("candidate", ih=x) + r * w("candidate", hh=h, context=v))
    return (z * h + (1 - z) * n,)


PAPERS: dict[str, Step] = {f.__name__: f for f in (bahdanau_gru, bahdanau_lstm, luong_lstm, cho_gru)}


def decoder_layer(name: str) -> gw.Recurrent:
    """A float64 layer whose every weight is random."""
    torch.manual_seed(3)
    sizes = {"memory_size": MEMORY, "context_size": MEMORY}
    known = {k: v for k, v in sizes.items() if k in gw.cells.get(name).graph.sizes()}
    layer = gw.Recurrent(name, INPUT, HIDDEN, dtype=torch.float64, sizes=known)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(0.7 * torch.randn_like(parameter))
    return layer


def call_of(layer: gw.Recurrent) -> tuple[Tensor, Tensor, dict[str, object]]:
    """Input, memory (NaN past its lengths) and what else a call is given."""
    x = torch.randn(STEPS, ROWS, INPUT, dtype=torch.float64)
    memory = torch.randn(7, ROWS, MEMORY, dtype=torch.float64)
    for row, length in enumerate(MEMORY_LENGTHS.tolist()):
        memory[length:, row] = torch.nan
    if layer.cell.graph.inputs_of_kind("static"):
        return x, memory, {"inputs": {"context": memory[0].nan_to_num()}}
    return x, memory, {"memory": memory.requires_grad_(), "memory_lengths": MEMORY_LENGTHS}


def test_every_decoder_has_a_paper_here() -> None:
    assert set(PAPERS) == set(DECODERS)


@pytest.mark.parametrize("name", DECODERS)
def test_a_decoder_cell_is_its_paper(name: str) -> None:
    layer = decoder_layer(name)
    x, memory, given = call_of(layer)
    output, states = layer(x, **given)
    output = output["output"] if isinstance(output, dict) else output

    weights = Weights(layer)

    def context(query: Tensor, score: str) -> Tensor:
        if score == "fixed":
            return memory[0].nan_to_num()
        return weights.context(query, memory, MEMORY_LENGTHS, score)[0]

    expected_states = tuple(torch.zeros(ROWS, HIDDEN, dtype=torch.float64) for _ in layer.cell.graph.states)
    expected = []
    for step in x:
        expected_states = PAPERS[name](weights, step, *expected_states, context=context)
        expected.append(expected_states[0])
    assert_close(output, torch.stack(expected))
    for state, wanted in zip(
        states if isinstance(states, tuple) else (states,), expected_states, strict=True
    ):
        assert_close(state[0], wanted)
    wanted_of = [*layer.parameters(), *([memory] if memory.requires_grad else [])]
    scale = torch.linspace(0.5, 1.5, output.numel(), dtype=torch.float64).view_as(output)
    got = torch.autograd.grad((output * scale).sum(), wanted_of)
    want = torch.autograd.grad((torch.stack(expected) * scale).sum(), wanted_of)
    for mine, theirs in zip(got, want, strict=True):
        assert_close(mine, theirs, GRADIENTS)


@pytest.mark.parametrize("name", [name for name in DECODERS if name != "cho_gru"])
def test_alignments_are_on_the_tape_exactly_masked(name: str) -> None:
    layer = decoder_layer(name)
    x, _, given = call_of(layer)
    with gw.record(layer) as tape:
        layer(x, **given)
    weights = tape["source"]  # (T, B, S)
    assert weights.shape == (STEPS, ROWS, 7)
    for row, length in enumerate(MEMORY_LENGTHS.tolist()):
        assert torch.equal(weights[:, row, length:], torch.zeros(STEPS, 7 - length, dtype=torch.float64))
        if length:
            torch.testing.assert_close(weights[:, row].sum(-1), torch.ones(STEPS, dtype=torch.float64))
            assert (weights[:, row, :length] > 0).all()


@pytest.mark.parametrize("name", DECODERS)
def test_rows_ragged_targets_streams_and_projected_memories_agree(name: str) -> None:
    layer = decoder_layer(name)
    x, memory, given = call_of(layer)
    lengths = torch.tensor([5, 0, 2, 4])
    whole, _ = layer(x, lengths=lengths, **given)
    whole = whole["output"] if isinstance(whole, dict) else whole
    if "memory" in given:
        made = layer.attend_to(memory, MEMORY_LENGTHS)
        again, _ = layer(x, lengths=lengths, memory=made)
        assert torch.equal(again["output"], whole)
        alone, _ = layer(x[:, 2:3], memory=made.select(torch.tensor([2])))
        assert_close(alone["output"][:2, 0], whole[:2, 2])
        stream = layer.stream(ROWS, memory=memory.detach(), memory_lengths=MEMORY_LENGTHS)
        steps = torch.stack([stream.step(step)["output"].clone() for step in x])
        full, _ = layer(x, **given)
        assert_close(steps, full["output"])
    for row, length in enumerate(lengths.tolist()):
        assert torch.equal(whole[length:, row], torch.zeros_like(whole[length:, row]))


def test_a_deep_decoder_by_composition() -> None:
    """Two layers, of which the first attends, and the second reads it and the context."""

    @gw.cell
    def deep(x, h, g, memory: gw.Memory):  # type: ignore[no-untyped-def]
        h = gw.bahdanau_gru("low", x, h, memory)
        g = gw.gru("high", h, g)
        return g, h

    layer = gw.Recurrent(deep, INPUT, HIDDEN, sizes={"memory_size": MEMORY})
    x, memory, _ = call_of(layer)
    output, _ = layer(x.float(), memory=memory.float(), memory_lengths=MEMORY_LENGTHS)
    assert output["output"].shape == (STEPS, ROWS, HIDDEN)
    assert output["low_context"].shape == (STEPS, ROWS, MEMORY)
    assert not output["output"].isnan().any()


@pytest.mark.parametrize("score", ["additive", "dot", "general"])
def test_the_module_has_the_scores_of_the_cells(score: str) -> None:
    torch.manual_seed(0)

    @gw.cell
    def reader(x, q, memory: gw.Memory(size="hidden_size")):  # type: ignore[no-untyped-def,valid-type]
        gw.emit("context", gw.attend("source", q, memory, score=score))
        return q + 0 * gw.linear("unused", x)

    query, memory = torch.randn(ROWS, MEMORY), torch.randn(7, ROWS, MEMORY)
    module = gw.Attention(MEMORY, MEMORY, score, size=MEMORY)
    layer = gw.Recurrent(reader, 1, MEMORY)
    with torch.no_grad():
        for name, value in module.named_parameters():
            getattr(layer, f"source_{name.removeprefix('weight_')}_l0").copy_(value)
    context, weights = module(query, memory, MEMORY_LENGTHS)
    output, _ = layer(torch.zeros(1, ROWS, 1), query[None], memory=memory, memory_lengths=MEMORY_LENGTHS)
    torch.testing.assert_close(context, output["context"][0])
    torch.testing.assert_close(weights.sum(-1), (MEMORY_LENGTHS > 0).float())
    assert torch.equal(context[2], torch.zeros(MEMORY))


def test_pooling_weighs_the_steps() -> None:
    pooling = gw.AttentionPooling(MEMORY)
    memory = torch.randn(7, ROWS, MEMORY)
    vector, weights = pooling(memory, MEMORY_LENGTHS)
    assert vector.shape == (ROWS, MEMORY)
    torch.testing.assert_close(vector, torch.einsum("bs,sbm->bm", weights, memory))
    torch.testing.assert_close(vector[1], memory[0, 1])


def test_wrong_shapes_are_named() -> None:
    with pytest.raises(ValueError, match="general"):
        gw.Attention(3, 4, "dot")
    with pytest.raises(ValueError, match="cosine"):
        gw.Attention(3, 4, "cosine")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="query"):
        gw.Attention(3, 4)(torch.zeros(2, 4), torch.zeros(5, 2, 4))
    with pytest.raises(ValueError, match="memory"):
        gw.Attention(3, 4)(torch.zeros(2, 3), torch.zeros(5, 3, 4))
    with pytest.raises(ValueError, match="lengths"):
        gw.Attention(3, 4)(torch.zeros(2, 3), torch.zeros(5, 2, 4), torch.tensor([1]))
    layer = decoder_layer("bahdanau_gru")
    made = layer.attend_to(torch.zeros(7, 2, MEMORY, dtype=torch.float64))
    with pytest.raises(ValueError, match="rows"):
        layer(torch.zeros(1, 3, INPUT, dtype=torch.float64), memory=made)
