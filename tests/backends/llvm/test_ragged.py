"""Ragged batches: their commands are written once for any lengths."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import gatework as gw
from gatework.backends.compiled import forward_backward
from gatework.backends.compiled.spans import (
    ANY_CHUNK,
    ANY_EXTENT,
    Affine,
    Chunk,
    Form,
    chunks,
    extent,
    known_number,
    quantities,
)
from gatework.backends.llvm.encoder import Encoder
from tests.tensors import flat
from tests.tolerances import GRADIENTS, assert_close

WHOLE = st.integers(-9, 9)


def pieces_of(lengths: list[int]) -> tuple[tuple[int, int, int], ...]:
    """(first step, one past the last, rows) of a batch's dense pieces."""
    ends = sorted({length for length in lengths if length})
    starts = [0, *ends[:-1]]
    return tuple((a, b, sum(length > a for length in lengths)) for a, b in zip(starts, ends, strict=True))


@pytest.mark.parametrize("cell", ["lstm", "bahdanau_gru", "layer_norm_gru"])
def test_new_lengths_write_no_command_in_python(cell: str, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    further = {"memory_size": 4} if cell == "bahdanau_gru" else {}
    layer, x = gw.Recurrent(cell, 5, 6, num_layers=2, bidirectional=True, sizes=further), torch.randn(9, 4, 5)
    memory = torch.randn(3, 4, 4) if further else None
    written: list[int] = []
    add = Encoder._add

    def counted(self: Any, kind: int, **fields: Any) -> None:
        written.append(kind)
        add(self, kind, **fields)

    monkeypatch.setattr(Encoder, "_add", counted)

    def train(lengths: list[int]) -> int:
        written.clear()
        with gw.backend("llvm"):
            output, _ = layer(x, lengths=torch.tensor(lengths), memory=memory)
        output = output["output"] if isinstance(output, dict) else output
        output.sum().backward()
        return len(written)

    forward_backward.forward_work.cache_clear()
    forward_backward.backward_work.cache_clear()
    assert train([9, 4, 0, 4]) > 0
    assert [train(lengths) for lengths in ([9, 8, 3, 1], [2, 2, 2, 1], [0, 0, 0, 9], [1, 5, 5, 7])] == [0] * 4


def test_a_ragged_batch_whose_rows_have_every_step_has_the_bits_of_the_dense_one() -> None:
    torch.manual_seed(0)
    layer = gw.Recurrent("lstm", 5, 37).double()
    x = torch.randn(70, 9, 5, dtype=torch.float64)
    found = []
    with gw.backend("llvm"):
        for lengths in (None, torch.tensor([70] * 8 + [69])):
            own = x.clone().requires_grad_()
            output, _ = layer(own, lengths=lengths)
            (gradient,) = torch.autograd.grad(output[:, :8].pow(2).sum(), own)
            found.append((output[:, :8].detach(), gradient[:, :8]))
    for dense, ragged in zip(*found, strict=True):
        assert torch.equal(dense, ragged)


@pytest.mark.parametrize("cell", ["lstm", "gru", "projected_lstm"])
@pytest.mark.parametrize("wanted", ["everything", "states", "second derivatives"])
def test_both_directions_at_once_are_the_references(cell: str, wanted: str) -> None:
    torch.manual_seed(0)
    sizes = {"proj_size": 3} if cell == "projected_lstm" else {}
    layer = gw.Recurrent(cell, 4, 7, 2, bidirectional=True, **sizes).double()
    x, lengths = torch.randn(6, 5, 4, dtype=torch.float64), torch.tensor([3, 0, 6, 1, 6])

    def numbers(backend: str) -> list[torch.Tensor]:
        own = x.clone().requires_grad_()
        with gw.backend(backend):
            results = flat(layer(own, lengths=lengths))
            read = results[1:] if wanted == "states" else results
            total = torch.stack([result.square().sum() for result in read]).sum()
            twice = wanted == "second derivatives"
            reached = [own, *layer.parameters()]
            gradients = torch.autograd.grad(total, reached, create_graph=twice)
            if twice:
                gradients += torch.autograd.grad(gradients[0].square().sum(), reached)
        return [*results, *gradients]

    assert_close(numbers("llvm"), numbers("eager"), GRADIENTS)


@given(WHOLE, WHOLE, WHOLE, WHOLE, st.lists(st.integers(0, 7), min_size=1, max_size=6).filter(any))
def test_affine_numbers_are_what_the_same_arithmetic_gives(
    a: int, b: int, c: int, d: int, lengths: list[int]
) -> None:
    def number(chunk: Chunk, whole: Any) -> Any:
        inner = a * (chunk.rows - chunk.before) + b - whole.total * c
        return [inner, 3 - inner * d, inner + -inner, chunk.moved + chunk.turned_rows - chunk.rows, a]

    pieces = pieces_of(lengths)
    form = Form(number(ANY_CHUNK, ANY_EXTENT))
    for backward in (False, True):
        known = list(chunks(pieces, 5, 2, backward=backward))
        zeros = np.zeros(len(known))
        found = form.of(quantities(extent(pieces), known, zeros, zeros))
        assert found.tolist() == [number(chunk, extent(pieces)) for chunk in known]
    total = known_number(ANY_EXTENT.total * a + b, extent(pieces))
    assert total == sum(lengths) * a + b
    assert known_number(7, extent(pieces)) == 7


@given(st.lists(st.integers(0, 9), min_size=1, max_size=6).filter(any), st.integers(1, 20))
def test_chunks_are_every_row_of_every_step_once(lengths: list[int], chunk_rows: int) -> None:
    pieces, rows = pieces_of(lengths), len(lengths)
    packed = 0
    steps: list[int] = []
    for chunk in chunks(pieces, chunk_rows, 0):
        for step in range(chunk.first, chunk.last):
            assert chunk.rows == sum(length > step for length in lengths)
            assert step * chunk.rows + chunk.shift == packed
            packed += chunk.rows
            steps.append(step)
        assert chunk.ended == chunk.rows - sum(length > chunk.last for length in lengths)
        assert chunk.last - chunk.first == 1 or chunk.all_rows <= chunk_rows
    assert packed == sum(lengths)
    assert steps == list(range(max(lengths)))
    assert rows - extent(pieces).begun == lengths.count(0)


@given(st.lists(st.integers(0, 9), min_size=1, max_size=6).filter(any), st.integers(1, 20))
def test_groups_of_chunks_are_all_packed_rows_once_and_as_large_as_they_may_be(
    lengths: list[int], chunk_rows: int
) -> None:
    for backward in (False, True):
        known = list(chunks(pieces_of(lengths), chunk_rows, 0, backward=backward))
        first_ones = [chunk for chunk in known if chunk.group_rows]
        packed = 0
        for group in first_ones:
            assert group.group == packed
            assert group.group_rows <= max(chunk_rows, group.all_rows)
            packed += group.group_rows
        assert packed == sum(lengths)
        for chunk, following in itertools.pairwise(first_ones):
            assert chunk.group_rows + following.all_rows > chunk_rows
        for chunk in known:
            assert chunk.group <= chunk.before + chunk.shift


def test_an_affine_number_is_true_and_has_no_order() -> None:
    assert Affine(0)
    with pytest.raises(TypeError):
        Affine(0) < 1  # type: ignore[operator]  # noqa: B015
