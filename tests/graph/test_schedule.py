"""The order of a step: what is stored between stages, and what is computed again."""

from __future__ import annotations

import gatework as gw
from gatework.graph.backward import backward
from gatework.graph.expand import expand
from gatework.graph.hoist import hoist
from gatework.graph.schedule import schedule
from gatework.graph.simplify import differentiated, simplify


def test_what_follows_cheaply_from_a_stored_value_is_computed_again() -> None:
    """A layer norm's centred products: one subtraction from the products, which stand in memory anyway."""
    graph = gw.cells.layer_norm_lstm.graph
    loop = differentiated(hoist(simplify(expand(simplify(graph)))).loop)
    plan = schedule(loop)
    assert plan.recomputed
    assert not plan.recomputed & plan.stored
    (second,) = plan.stages[1].kernels
    assert second.stores == ()
    assert len(second.sums) == 1


def test_a_layer_norms_backward_step_sums_over_the_units_once() -> None:
    """The mean that the variance is taken about has no gradient: both sums are ready together."""
    graph = gw.cells.layer_norm_lstm.graph
    loop = backward(hoist(simplify(expand(simplify(graph)))).loop).loop
    assert not any(node.op == "stop_gradient" for node in loop.nodes)
    assert len(schedule(loop).stages) == 4  # sums of the cell's norm, of the gates', gates, states


def test_products_that_are_added_are_summed_in_one_accumulator() -> None:
    """Those of a state wait for those of the context, which the same state attends to."""
    loop = hoist(expand(gw.bahdanau_gru.graph)).loop
    stages = schedule(loop).stages
    terms = [
        [len(sum_.terms) for kernel in stage.kernels for sum_ in kernel.accumulations] for stage in stages
    ]
    assert terms == [[1], [2, 2], [2]]  # the query; reset and update; the candidate
    assert [[loop.nodes[index].op for index in stage.attended] for stage in stages] == [
        [],
        ["additive_score", "masked_softmax", "attention_context"],
        [],
    ]
