"""Every backend against the float64 reference, for each cell that it does not refuse."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch

import gatework as gw
from gatework.backends import BACKENDS, SequenceInput, SequenceOutput, eager, selection, teams, threads
from gatework.backends.compiled import forward_backward, stack
from gatework.backends.llvm.machine import CpuMachine
from gatework.graph.expand import expand
from gatework.graph.ops import OPS
from tests.contracts.backend_contract import check_backend, check_resets, check_states_of_all_steps
from tests.contracts.cell_contract import fits
from tests.contracts.test_cells import users_own
from tests.tolerances import GRADIENTS, assert_close

OPTIONS: list[dict[str, Any]] = [{}, {"num_layers": 2, "bidirectional": True}, {"bias": False}]
CELLS = {name: gw.cells.get(name) for name in gw.cells.names()}
CELLS["elman_relu"] = gw.elman.with_options(activation=gw.relu)
CELLS["users_own"] = users_own

WideMemory, WideStatic = gw.Memory(size="hidden_size"), gw.Static(size="hidden_size")
WideInput = gw.Input(size="hidden_size")


@gw.cell
def two_readers(x: Any, h: Any, c: Any, text: gw.Memory, image: WideMemory, d: WideStatic) -> Any:
    """A deep decoder: what it reads in one memory is a query to the other, and the first again."""
    words = gw.attend("words", gw.tanh(h + c), text, size=3)
    where = gw.attend("where", h, image, score="dot")
    again = gw.attend("again", where, text, score="general")
    c = gw.bahdanau_gru("low", x, c, text)
    mixed = gw.linear("mixed", x, gw.layer_norm("read", c), words=words, again=again, place=where + d)
    gw.emit("words", words)
    return gw.tanh(mixed) + 0.5 * h, c


CELLS["two_readers"] = two_readers


@gw.cell
def names_of_its_own(x: Any, h: Any, source: WideMemory, source_keys: WideMemory) -> Any:
    """Names that the engine would give by itself, and a parameter that is called as a kind of input."""
    read = gw.attend("source", h, source) + gw.attend(
        "other", gw.vector("memory") * h, source_keys, score="dot"
    )
    return gw.tanh(gw.linear("c", x, h, source_query=read))


CELLS["names_of_its_own"] = names_of_its_own


@gw.cell
def names_of_the_engines_arrays(
    x: Any,
    h: Any,
    old_h: Any,
    saved_0: WideInput,
    hoisted_0: WideInput,
    new_h: WideInput,
    gradient_output: WideInput,
    gradient_h: WideStatic,
    scratch_0: WideInput,
) -> Any:
    """Names that passes and the engine once gave to arrays of their own."""
    gw.emit("gradient_x", gw.sigmoid(gw.linear("kept", x, hoisted=hoisted_0) * h))
    gw.emit("x", gw.tanh(new_h) * h)
    inner = gw.tanh(gw.linear("inner", x, h, saved=saved_0) + new_h * gradient_output) * scratch_0
    return gw.tanh(gw.linear("outer", x, inner, static=gradient_h)) + 0.5 * old_h, gw.sigmoid(
        inner + hoisted_0 * h
    )


CELLS["names_of_the_engines_arrays"] = names_of_the_engines_arrays


TAKES = {  # the others take every cell
    "torch": ["elman", "lstm", "projected_lstm", "gru", "elman_relu"],
    "llvm": [name for name, cell in CELLS.items() if all(OPS[n.op].code for n in expand(cell.graph).nodes)],
}


# Of these few also both directions of two layers, and float32.
WHOLE = ("lstm", "slstm", "bahdanau_gru")


def layer_of(name: str, hidden_size: int = 5, **options: Any) -> gw.Recurrent:
    cell = CELLS[name]
    if not fits(cell, 3, hidden_size, **options):
        options.pop("num_layers")
    sizes = {"memory_size": 7, "context_size": 4, "text_size": 3}
    if "proj_size" in cell.graph.sizes():
        options["proj_size"] = 2
    torch.manual_seed(2)
    known = {size: value for size, value in sizes.items() if size in cell.graph.sizes()}
    return gw.Recurrent(cell, 3, hidden_size, sizes=known, **options)


@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")  # torch's own
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("backend", [*BACKENDS, "auto"])
def test_a_backend_equals_the_reference(backend: str, name: str, dtype: torch.dtype) -> None:
    # How layers are put together is the same in both types: in float32 all of it is tried for a few cells.
    for options in OPTIONS if dtype is torch.float64 or name in WHOLE else OPTIONS[:1]:
        layer = layer_of(name, **options)
        if name not in TAKES.get(backend, CELLS):
            with gw.backend(backend), pytest.raises(gw.BackendError, match=backend):
                layer.explain()
            continue
        check_backend(backend, layer, dtype)


RUNS = [(backend, name) for backend in ("eager", "llvm") for name in TAKES.get(backend, CELLS)]


@pytest.mark.parametrize(("backend", "name"), RUNS)
def test_a_sequence_that_is_reset_equals_its_pieces(backend: str, name: str) -> None:
    check_resets(backend, layer_of(name), torch.float64)
    if name in WHOLE:
        check_resets(backend, layer_of(name, **OPTIONS[1]), torch.float64)
        check_resets(backend, layer_of(name), torch.float32)


@pytest.mark.parametrize(
    ("backend", "name"), [(backend, name) for backend, name in RUNS if backend == "eager" or name in WHOLE]
)
def test_the_states_of_all_steps_equal_a_tape(backend: str, name: str) -> None:
    check_states_of_all_steps(backend, layer_of(name), torch.float64)
    if name in WHOLE:
        check_states_of_all_steps(backend, layer_of(name, **OPTIONS[1]), torch.float64)
        check_states_of_all_steps(backend, layer_of(name), torch.float32)


@pytest.fixture(params=["rows", "units"])
def two_threads(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[list[tuple[int, bool]]]:
    """Two threads share every call of the engine, by rows or, where that is possible, by units.

    What is asked for is a list of the threads and of whether units are shared, a pair for each list of commands.
    """
    by_units = request.param == "units"
    monkeypatch.setattr(teams, "WORTH_A_TEAM", dict.fromkeys(teams.WORTH_A_TEAM, 0))
    monkeypatch.setattr(teams, "FORWARD_ROWS", 16 if by_units else 0)
    monkeypatch.setattr(teams, "BACKWARD_ROWS", 16 if by_units else 0)
    monkeypatch.setattr(teams, "BACKWARD_WEIGHTS", 0)
    shared: list[tuple[int, bool]] = []

    def spied(method: Any) -> Any:
        def prepare(self: Any, *lists: Any, **sharing: int) -> Any:
            if sharing:  # a list of a layer's
                shared.append((sharing["team"], sharing["parts"] > 1))
            return method(self, *lists, **sharing)

        return prepare

    for name in ("prepare", "prepare_ragged"):
        monkeypatch.setattr(CpuMachine, name, spied(getattr(CpuMachine, name)))
    caches = (stack._prepared, forward_backward.forward_work, forward_backward.backward_work)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    for cache in caches:
        cache.cache_clear()
    try:
        yield shared
    finally:
        torch.set_num_threads(before)
        for cache in caches:  # what was made for these bounds
            cache.cache_clear()


@pytest.mark.skipif(threads.openmp() is None, reason="torch's OpenMP library was not found: one thread only")
@pytest.mark.parametrize("name", CELLS)
def test_the_engine_equals_the_reference_on_two_threads(
    name: str, two_threads: list[tuple[int, bool]]
) -> None:
    stacked = name in ("lstm", "bahdanau_gru")  # both layers and directions go the same way in all cells
    for options in ({}, {"num_layers": 2, "bidirectional": True})[: 1 + stacked]:
        two_threads.clear()
        check_backend("llvm", layer_of(name, **options), torch.float64)
        assert {team for team, _ in two_threads} == {2}
    if name == "lstm":  # a cell whose steps make numbers of a whole row shares rows
        assert any(units for _, units in two_threads) == (teams.FORWARD_ROWS > 0)


@gw.cell
def fixed_query(x: Any, h: Any, memory: gw.Memory) -> Any:
    return gw.tanh(gw.linear("c", x, h, context=gw.attend("source", gw.vector("query"), memory)))


@gw.cell
def narrow_memory(x: Any, h: Any, memory: gw.Memory(size=1)) -> Any:  # type: ignore[valid-type]
    return gw.tanh(gw.linear("c", x, h, context=gw.attend("source", h, memory)))


@gw.cell
def fixed_operand(x: Any, h: Any) -> Any:
    return gw.tanh(gw.linear("c", x, h, other=gw.vector("query")))


@gw.cell
def operand_fixed_in_the_end(x: Any, h: Any) -> Any:
    """What stop_gradient is applied to stands for it in the programs that run."""
    return gw.tanh(gw.linear("c", x, h, other=gw.stop_gradient(1.0 * gw.vector("query"))))


@pytest.mark.parametrize(
    "cell", [fixed_query, narrow_memory, fixed_operand, operand_fixed_in_the_end], ids=lambda cell: cell.name
)
def test_what_the_engine_refuses_runs_on_the_reference(cell: gw.Cell) -> None:
    sizes = {"memory_size": 7} if "memory_size" in cell.graph.sizes() else {}
    layer = gw.Recurrent(cell, 3, 5, sizes=sizes)
    given = {"memory": torch.randn(4, 2, sizes.get("memory_size", 1))} if cell.graph.inputs[1:] else {}
    check_backend("auto", layer, torch.float32)
    with gw.backend("llvm"), pytest.raises(gw.BackendError, match="the engine has no"):
        layer(torch.zeros(2, 2, 3), **given)


@pytest.mark.parametrize("name", ["bahdanau_gru", "luong_lstm"])
@pytest.mark.parametrize("frozen", ["memory", "layer", "nothing"])
def test_a_memory_without_lengths_and_what_is_frozen(name: str, frozen: str) -> None:
    layer = layer_of(name).double()
    layer.requires_grad_(frozen != "layer")
    x = torch.randn(4, 3, 3, dtype=torch.float64, requires_grad=True)
    memory = torch.randn(6, 3, 7, dtype=torch.float64, requires_grad=frozen != "memory")
    found = []
    for backend in ("eager", "llvm"):
        for steps in (4, 1):  # a step alone too, with what is kept for a search
            with gw.backend(backend):
                output, _ = layer(x[:steps], memory=layer.attend_to(memory))
                wanted = [x, *(t for t in (memory, *layer.parameters()) if t.requires_grad)]
                gradients = torch.autograd.grad(output["output"].pow(2).sum(), wanted, materialize_grads=True)
            found.append([output["output"], output["context"], *gradients])
    for expected, got in zip(found[:2], found[2:], strict=True):
        for a, b in zip(expected, got, strict=True):
            assert_close(b, a, GRADIENTS)


@pytest.mark.parametrize("hidden_size", [1, 7, 63, 100])
def test_odd_sizes(hidden_size: int) -> None:
    for backend in BACKENDS:
        check_backend(backend, layer_of("lstm", hidden_size), torch.float32)


def test_a_fault_in_a_backend_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def faulty(graph: Any, parameters: Any, sequence: SequenceInput) -> SequenceOutput:
        swapped = dict(parameters, weight_hh=parameters["weight_hh"].roll(5, 0))
        return eager.run(graph, swapped, sequence)

    class Faulty:
        name = "faulty"
        run = staticmethod(faulty)
        refusal = staticmethod(eager.refusal)
        ragged = gathers = plain_tensors = False
        whole_stack = "none"
        ragged_stacks = ()

    monkeypatch.setitem(BACKENDS, "faulty", Faulty)  # type: ignore[arg-type]
    monkeypatch.setattr(selection, "NAMES", (*selection.NAMES, "faulty"))
    layer = gw.Recurrent(gw.minimal_gated_unit, 3, 5)
    with pytest.raises(AssertionError, match="differs by"):
        check_backend("faulty", layer, torch.float64)
