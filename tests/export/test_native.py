"""Exported machine code beside the layers that it was made of, on this machine."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import gatework as gw
from gatework.errors import InputError
from gatework.export.network import network
from gatework.export.reference import expected
from gatework.graph.node import resolve
from tests.contracts.test_cells import users_own
from tests.export.loaded import Loaded
from tests.tensors import flat
from tests.tolerances import EXPORTED, assert_close


def layer_of(cell: Any, input_size: int = 5, hidden_size: int = 11, **options: Any) -> gw.Recurrent:
    """A layer whose every weight differs."""
    graph = (gw.cells.get(cell) if isinstance(cell, str) else cell).graph
    own = {name: 7 for name in graph.sizes() if name not in ("input_size", "hidden_size")}
    own = {name: size for name, size in own.items() if not graph.counts_steps(name)}
    layer = gw.Recurrent(cell, input_size, hidden_size, sizes=own, **options)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(0.4 * torch.randn_like(parameter) + 0.05)
    return layer.eval()


def check(layer: gw.Recurrent, steps: int = 6, weights: str = "float32", **options: Any) -> Loaded:
    """The exported sequence function gives the layer's outputs, states and emitted values."""
    graph, sizes = layer.cell.graph, layer.stack.layer_sizes(0)
    widths = {spec.name: resolve(spec.size, sizes) for spec in graph.inputs}
    kinds = {spec.name: spec.kind for spec in graph.inputs}
    made = {
        name: torch.randn(
            *([9] if kinds[name] == "memory" else [] if kinds[name] == "static" else [steps]), 1, size
        )
        for name, size in widths.items()
    }
    x = made.pop(graph.inputs[0].name)
    memories = {name: value for name, value in made.items() if kinds[name] == "memory"}
    further = {name: value for name, value in made.items() if name not in memories}
    loaded = Loaded(network(layer, "own"), int8=weights == "int8", **options)
    output, states, emits = loaded.sequence(
        x[:, 0].numpy(),
        {name: value.select(-2, 0).numpy() for name, value in further.items()},
        {name: value[:, 0].numpy() for name, value in memories.items()},
    )
    with torch.no_grad(), gw.backend("eager"):
        expected, final = layer(x, inputs=further or None, memory=memories or None)
    emitted = expected if isinstance(expected, dict) else {"output": expected}
    assert_close(torch.from_numpy(output), emitted.pop("output")[:, 0], EXPORTED)
    for name, value in emitted.items():
        assert_close(torch.from_numpy(emits[name]), value[:, 0], EXPORTED)
    names = [state.name for state in graph.states]
    for name, state in zip(names, final if len(names) > 1 else (final,), strict=True):
        for cell, value in enumerate(flat(state)[0] if not layer.stack.by_layer else flat(state)):
            assert_close(torch.from_numpy(states[f"{cell}.{name}"]), value.flatten(), EXPORTED)
    return loaded


@pytest.mark.parametrize("name", gw.cells.names())
def test_every_cell_of_the_catalogue(name: str) -> None:
    check(layer_of(name))


def test_a_users_cell_in_a_stack_of_two_directions() -> None:
    check(layer_of(users_own, num_layers=2, bidirectional=True))


def test_gates_of_two_directions() -> None:
    layer, x = layer_of("gru", num_layers=2, bidirectional=True), torch.randn(6, 1, 5)
    _, _, emits = Loaded(network(layer, "own", emit=["update", "h"])).sequence(x[:, 0].numpy())
    with torch.no_grad(), gw.backend("eager"):
        expected, _ = layer(x, emit=["update", "h"])
    for name in ("update", "h"):
        assert_close(torch.from_numpy(emits[name]), expected[name][:, 0], EXPORTED)


@pytest.mark.parametrize(
    "options",
    [
        {"num_layers": 2},
        {"num_layers": 3, "input_size": 11, "residual": True},
        {"bias": False},
        {"zoneout": 0.3},
    ],
    ids=str,
)
def test_stacks(options: dict[str, Any]) -> None:
    check(layer_of("lstm", **options))


def test_layers_of_their_own_sizes() -> None:
    check(layer_of("gru", hidden_size=[9, 4]))


@pytest.mark.parametrize(("input_size", "hidden_size"), [(1, 1), (3, 8), (17, 33)])
def test_sizes(input_size: int, hidden_size: int) -> None:
    check(layer_of("layer_norm_gru", input_size, hidden_size))


def test_a_location_sensitive_decoder() -> None:
    @gw.cell
    def located(x: Any, h: Any, memory: gw.Memory) -> Any:
        return gw.tanh(gw.linear("h", x, h, context=gw.attend("source", h, memory, score="location")))

    check(layer_of(located))


def test_states_that_change_places() -> None:
    @gw.cell
    def turning(x: Any, a: Any, b: Any) -> Any:
        return b, 0.5 * a + gw.linear("x", x)

    check(layer_of(turning))


def test_weights_of_eight_bits() -> None:
    layer = layer_of("lstm", hidden_size=64, num_layers=2)  # narrower rows are mostly what fills up a vector
    loaded = Loaded(network(layer, "own"), int8=True)
    x = torch.randn(7, 1, 5)
    with gw.backend("eager"):
        stream = layer.stream(weights="int8")
        expected = torch.stack([stream.step(value)[0].clone() for value in x])
    assert_close(torch.from_numpy(loaded.sequence(x[:, 0].numpy())[0]), expected, EXPORTED)
    assert loaded.code.data_bytes < Loaded(network(layer, "own")).code.data_bytes / 3


@pytest.mark.parametrize("int8", [False, True])
def test_a_table_before_and_a_linear_map_after(int8: bool) -> None:
    layer, table, head = layer_of("gru"), torch.nn.Embedding(13, 5), torch.nn.Linear(11, 37)
    if int8:  # of numbers that 8 bits hold
        with torch.no_grad():
            for parameter in (*layer.parameters(), *table.parameters(), *head.parameters()):
                parameter.copy_((parameter * 60).round().clamp(-127, 127) / 127)
                parameter.view(-1, parameter.shape[-1])[:, 0] = 1.0
    loaded = Loaded(network(layer, "own", table=table, head=head), int8=int8)
    tokens = torch.tensor([0, 12, 3, 3, 7])
    with torch.no_grad():
        expected = head(layer(table(tokens).unsqueeze(1))[0][:, 0])
    assert_close(torch.from_numpy(loaded.sequence(tokens.numpy())[0]), expected, EXPORTED)


@pytest.mark.parametrize("factor", [1.0, 4.0, 0.3])
@pytest.mark.parametrize("int8", [False, True])
def test_a_table_that_is_the_heads_weight_too_is_kept_once(int8: bool, factor: float) -> None:
    layer, head = layer_of("gru", 11, 11), torch.nn.Linear(11, 37, bias=False)
    table = head.weight.detach() * factor
    loaded = Loaded(network(layer, "own", table=table, head=head), int8=int8)
    tokens = torch.tensor([0, 36, 8, 3, 17])
    wanted, _ = expected(
        loaded.network,
        tokens[:, None],
        lengths=torch.tensor([5]),
        states=(layer.initial_state(1),),
        inputs={},
        memories={},
        memory_lengths={},
        int8=int8,
    )
    assert_close(torch.from_numpy(loaded.sequence(tokens.numpy())[0]), wanted["output"][:, 0], EXPORTED)
    apart = Loaded(network(layer, "own", table=table + 1e-3, head=head), int8=int8)
    of_table = table.numel() * (1 if int8 else 4)
    assert apart.functions.module.data - loaded.functions.module.data >= of_table


def test_a_weight_that_is_wrong_is_seen() -> None:
    layer = layer_of("lstm")
    loaded = Loaded(network(layer, "own"))
    with torch.no_grad():
        layer.weight_hh_l0[0, 0] += 0.01
    x = torch.randn(6, 1, 5)
    with pytest.raises(AssertionError):
        assert_close(
            torch.from_numpy(loaded.sequence(x[:, 0].numpy())[0]), layer(x)[0][:, 0].detach(), EXPORTED
        )


def test_several_states_in_turn_give_what_each_gives_alone() -> None:
    layer = layer_of("lstm")
    loaded = Loaded(network(layer, "own"))
    takes, scratch = loaded.takes, loaded.numbers(loaded.functions.scratch, {})
    x = np.random.default_rng(0).standard_normal((2, 5, 5)).astype(np.float32)
    states = [loaded.numbers(takes.state, {}) for _ in range(2)]
    outputs = np.zeros((2, 5, 11), np.float32)
    for state in states:
        loaded.call("start", state)
    for t in range(5):
        for row in range(2):
            loaded.call("step", x[row, t], states[row], outputs[row, t], scratch)
    for row in range(2):
        np.testing.assert_array_equal(outputs[row], loaded.sequence(x[row])[0])


def test_an_operation_of_the_c_library_is_refused_by_name() -> None:
    layer = gw.Recurrent(gw.cells.get("elman").with_options(activation=gw.sin), 3, 4)
    with pytest.raises(InputError, match=r"cell elman: native has no code for the operation sin"):
        Loaded(network(layer, "own"))


def test_weights_of_another_dtype_are_refused() -> None:
    with pytest.raises(
        InputError, match=r"float64; what is exported computes in float32\. Give layer\.float"
    ):
        network(gw.LSTM(3, 4, dtype=torch.float64), "own")
