"""The backward loop: what the forward pass saves for it."""

from __future__ import annotations

import pytest

import gatework as gw
from gatework.backends.compiled.programs import programs_of, training_programs_of
from gatework.graph import Graph


def follows_from_a_step(graph: Graph) -> list[bool]:
    """For each node, whether its value is computed from an input, a state or an array over time."""
    known: list[bool] = []
    for node in graph.nodes:
        known.append(node.op in ("input", "state", "array") or any(known[argument] for argument in node.args))
    return known


@pytest.mark.parametrize("name", ["lru", "rg_lru", "hgrn"])
def test_a_value_of_learned_vectors_alone_is_not_saved_at_every_step(name: str) -> None:
    programs = training_programs_of(gw.cells.get(name).graph, frozenset({"x"}))
    saved = 0
    for part in (programs.loop, programs.hoisted):
        if part is None:
            continue
        of_steps = follows_from_a_step(part.forward)
        for key, index in part.forward.outputs:
            if key.kind == "saved":
                saved += 1
                assert of_steps[index], f"{key} is the same at every step"
    assert saved, "the cells here save something"


@pytest.mark.parametrize("name", ["min_gru", "min_lstm", "rg_lru", "hgrn", "gru"])
def test_nothing_is_made_before_the_loop_that_no_step_reads(name: str) -> None:
    """A gate of the inputs alone has a name, and its value may be needed by nobody."""
    graph = gw.cells.get(name).graph
    inference, training = programs_of(graph), training_programs_of(graph, frozenset({"x"}))
    assert inference.hoisted is not None
    assert training.hoisted is not None
    for hoisted, loops in (
        (inference.hoisted, [inference.loop]),
        (training.hoisted.forward, [training.loop.forward, training.loop.loop]),
    ):
        made = {key for key, _ in hoisted.outputs if key.kind == "hoisted"}
        read = {loop.nodes[arg] for loop in loops for node in loop.nodes for arg in node.args}
        assert made
        assert made <= {node.key for node in read if node.op == "array"}
