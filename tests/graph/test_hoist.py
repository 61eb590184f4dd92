"""What leaves the loop, the backward loop, and the stages, as they are printed for the LSTM."""

from __future__ import annotations

import pytest

import gatework as gw
from gatework.graph import lower, verify
from gatework.graph.backward import backward
from gatework.graph.hoist import hoist
from gatework.graph.schedule import schedule

HOISTED = """\
for all steps:
    hoisted_0 = W_ih[input] x + b_ih[input]
    hoisted_1 = W_ih[forget] x + b_ih[forget]
    hoisted_2 = W_ih[candidate] x + b_ih[candidate]
    hoisted_3 = W_ih[output] x + b_ih[output]
for each step:
    input = sigmoid(hoisted_0 + W_hh[input] h + b_hh[input])
    forget = sigmoid(hoisted_1 + W_hh[forget] h + b_hh[forget])
    candidate = tanh(hoisted_2 + W_hh[candidate] h + b_hh[candidate])
    output = sigmoid(hoisted_3 + W_hh[output] h + b_hh[output])
    c' = forget * c + input * candidate
    h' = output * tanh(c')"""


def test_products_of_inputs_leave_the_loop() -> None:
    assert gw.show(gw.lstm, "hoist") == HOISTED


def test_the_backward_loop_saves_the_gates_and_computes_the_rest_again() -> None:
    parts = backward(hoist(lower(gw.lstm.graph, "expand")).loop)
    given = [index for key, index in parts.forward.outputs if key.kind == "saved"]
    saved = {parts.forward.nodes[index].op for index in given}
    assert len(given) == 4
    assert saved == {"sigmoid", "tanh"}
    assert "tanh(new_c)" in gw.show(gw.lstm, "backward")


@pytest.mark.parametrize("name", gw.cells.names())
def test_every_cell_falls_into_legal_graphs_with_stages(name: str) -> None:
    parts = hoist(lower(gw.cells.get(name).graph, "expand"))
    assert (parts.hoisted is None) == (
        name == "mogrifier_lstm"
    )  # whose state gates the input before any product
    training = backward(parts.loop)
    for graph in (parts.loop, training.forward, training.loop):
        verify(graph)
    for graph in filter(None, (parts.hoisted, parts.loop, training.forward, training.loop)):
        stages = schedule(graph)
        computed = [node for stage in stages.stages for kernel in stage.kernels for node in kernel.stores]
        computed += [node for stage in stages.stages for node in stage.attended]
        assert len(computed) == len(set(computed))


@pytest.mark.parametrize(
    ("cell", "stages"), [(gw.lstm, 1), (gw.gru, 1), (gw.gru_original, 2), (gw.minimal_gated_unit, 2)]
)
def test_a_product_of_what_the_step_computes_is_a_stage_of_its_own(cell: gw.Cell, stages: int) -> None:
    assert len(schedule(hoist(lower(cell.graph, "expand")).loop).stages) == stages
