"""Names that a cell's author chooses never meet a name of the layer's own."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import gatework as gw


def cell_with_vector(name: str) -> gw.Cell:
    @gw.cell
    def scaled(x: Any, h: Any) -> Any:
        return gw.vector(name) * gw.tanh(gw.linear("candidate", x, h))

    return scaled


TAKEN = {name for name in dir(gw.GRUCell(1, 1)) if not name.startswith("_")}
TAKEN -= set(gw.cells.gru.graph.weight_names())  # those are refused in the equations themselves


def test_a_vector_named_as_an_attribute_is_refused_by_a_single_step_and_run_by_a_layer() -> None:
    assert {"bias", "cell", "training", "forward", "hidden_size"} <= TAKEN
    for name in sorted(TAKEN):
        cell = cell_with_vector(name)
        with pytest.raises(gw.TraceError, match=f"'{name}' of scaled has the name of an attribute"):
            gw.RecurrentCell(cell, 2, 3)
        layer = gw.Recurrent(cell, 2, 3)
        assert layer.get_parameter(f"{name}_l0").shape == (3,)
        with gw.backend("eager"):
            assert layer(torch.randn(4, 1, 2))[0].shape == (4, 1, 3)


def test_a_vector_named_as_a_suffix_is_its_own_parameter() -> None:
    layer = gw.Recurrent(cell_with_vector("weight_hh_l0"), 2, 3, num_layers=2, bidirectional=True)
    shapes = {name: tuple(parameter.shape) for name, parameter in layer.named_parameters()}
    assert shapes["weight_hh_l0"] == (3, 3)
    assert shapes["weight_hh_l0_l0"] == shapes["weight_hh_l0_l0_reverse"] == shapes["weight_hh_l0_l1"] == (3,)


def test_a_vector_named_as_the_weight_of_a_query_is_not_mistaken_for_it() -> None:
    @gw.cell
    def attending(x: Any, h: Any, memory: gw.Memory) -> Any:
        context = gw.attend("source", h, memory)
        own = gw.vector("weight_source_query", size=5)
        return gw.tanh(gw.linear("candidate", x, h, context=context, other=own))

    layer = gw.Recurrent(attending, 2, 3, sizes={"memory_size": 4}, dtype=torch.float64)
    x, memory = torch.randn(4, 2, 2).double(), torch.randn(5, 2, 4).double()
    results = []
    for backend in ("eager", "auto"):
        with gw.backend(backend):
            results.append(layer(x, memory=memory)[0])
    torch.testing.assert_close(results[0], results[1])


def test_a_gate_named_as_a_state_leaves_the_name_to_the_state() -> None:
    @gw.cell
    def renamed(x: Any, h: Any, c: Any) -> Any:
        candidate = gw.tanh(gw.linear("c", x, h))  # the gate of its name, and no new state
        c = 0.5 * c + candidate
        return gw.tanh(c), c

    layer = gw.Recurrent(renamed, 2, 3)
    with gw.record(layer) as tape:
        _, (_, c) = layer(torch.randn(4, 1, 2))
    assert tape["c"].shape == (4, 1, 3)
    torch.testing.assert_close(tape["c"][-1], c[0])
