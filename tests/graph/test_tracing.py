"""Tracing: what becomes a graph, and what is refused with the wrong code and the right one."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch

import gatework as gw
from gatework import attend, clip, emit, gate, layer_norm, linear, project, relu, sigmoid, tanh, vector, where
from gatework.graph.builder import TraceError


def python_if(x, h):
    h = tanh(linear("candidate", x, h))
    if h > 0:
        h = -h
    return h


def python_and(x, h):
    h = tanh(linear("candidate", x, h))
    return where(h > 0 and h < 1, h, 0.0)


def too_few_states(x, h, c):
    return tanh(linear("candidate", x, h))


def too_many_states(x, h):
    h = tanh(linear("candidate", x, h))
    return h, h


def nothing_returned(x, h):
    tanh(linear("candidate", x, h))


def no_state(x):
    return ()


def gate_twice(x, h):
    return sigmoid(linear("a", x, h)) * tanh(linear("a", x, h * 2))


def gate_twice_unchanged(x, h):
    return sigmoid(linear("a", x, h)) * tanh(linear("a", x, h))


def widths_in_one_slot(x, h, c: gw.State(size="proj_size")):
    return tanh(linear("a", x, h) + linear("b", c)), c


def two_inputs(x, h, d: gw.Input):
    return tanh(linear("a", x, d, h))


def two_states(x, h, c):
    return tanh(linear("a", x, h, c)), c


def reserved_slot(x, h):
    return tanh(linear("a", x, hh=h))


def no_operand(x, h):
    return tanh(linear("a"))


def nameless_linear(x, h):
    return tanh(linear(x, h))


def unpacked(x, h):
    i, f = linear("gates", x, h)
    return i * f


def indexed(x, h):
    return tanh(linear("gates", x, h)[:3])


def mixed_widths(x, h):
    return x + h


def tensor_operand(x, h):
    return h * torch.ones(3)


def torch_function(x, h):
    return torch.tanh(linear("candidate", x, h))


def math_function(x, h):
    return math.tanh(linear("candidate", x, h))


def matrix_product(x, h):
    return h @ h


def array_exponent(x, h):
    return h**h


def negative_base(x, h):
    return (-2) ** h


def vector_twice(x, h):
    return vector("p") * h + vector("p")


def start_backwards(x, h):
    return vector("p", init=(1.0, -1.0)) * h


def name_twice(x, h):
    a = linear("a", x, h)
    return gate("g", sigmoid(a)) * gate("g", tanh(a))


def emit_twice(x, h):
    emit("e", h)
    emit("e", 2 * h)
    return tanh(linear("a", x, h))


def wrong_width_of_state(x, h):
    return linear("a", x, h, size=1)


def narrow_state(x, h):
    return project("p", tanh(linear("a", x, h)))


def star_states(x, *states):
    return states[0]


def defaulted(x, h, scale=2.0):
    return scale * h


def arithmetic_memory(x, h, memory: gw.Memory):
    return h + memory


def attend_to_state(x, h):
    return h + attend("a", h, h)


def unknown_score(x, h, memory: gw.Memory):
    return tanh(linear("a", x, h, c=attend("s", h, memory, score="cosine")))


def dot_of_widths(x, h, memory: gw.Memory):
    return tanh(linear("a", x, h, c=attend("s", h, memory, score="dot")))


def spaced_name(x, h):
    return tanh(linear("the gate", x, h))


def expression_bound(x, h):
    return clip(tanh(linear("a", x, h)), -h, h)


def string_operand(x, h):
    return h * "two"


def number_under_weight(x, h):
    return tanh(linear("a", x, 1.0))


def empty_norm(x, h):
    return layer_norm("n") + h


def cell_without_name(x, h):
    return gw.cells.get("gru")(x, h)


def cell_with_too_little(x, h, c):
    return gw.cells.get("lstm")("inner", x, h)


def cell_twice_under_one_name(x, h):
    gru = gw.cells.get("gru")
    return gru("inner", x, gru("inner", x, h))


def vector_of_a_weight(x, h):
    return vector("weight_hh") * tanh(linear("a", x, h))


def vector_of_a_bias(x, h):
    return vector("bias_ih") * tanh(linear("a", x, h))


def vector_of_a_further_weight(x, h):
    return vector("weight_context") * tanh(linear("a", x, h, context=h))


def vector_of_an_attention(x, h, memory: gw.Memory):
    return vector("source_energy") * tanh(linear("a", x, h, c=attend("source", h, memory)))


def vector_of_a_norm(x, h):
    return vector("norm_gain_n") * layer_norm("n", tanh(linear("a", x, h)))


def norm_twice(x, h):
    return layer_norm("n", h) * layer_norm("n", tanh(linear("a", x, h)))


def vector_of_an_inner_cell(x, h, c):
    h, c = gw.cells.get("peephole_lstm")("first", x, h, c)
    return h * vector("first_peephole_input"), c


def state_of_an_alignment(x, h, source_alignment, memory: gw.Memory):
    context = attend("source", h, memory, score="location")
    return tanh(linear("a", x, h, c=context)), source_alignment


def slot_of_an_inner_cell(x, h):
    return gw.cells.get("gru")("first", x, h) * tanh(linear("a", x, first_ih=x))


def gate_of_a_state(x, h):
    return 0.5 * gate("h", tanh(linear("a", x, h)))


def input_of_a_mask(x, h, dropout_mask_hidden_size: gw.Static("hidden_size")):
    return dropout_mask_hidden_size * tanh(linear("a", x, h))


def input_of_a_step_mask(x, h, zoneout_mask_h: gw.Input("hidden_size")):
    return zoneout_mask_h * tanh(linear("a", x, h))


REFUSED: dict[Callable[..., Any], str] = {
    python_if: "Python `if`",
    python_and: "Python `if`",
    too_few_states: r"states \(h, c\) and returns 1 value\b",
    too_many_states: r"states \(h\) and returns 2 values",
    nothing_returned: "returns nothing",
    gate_twice: "named twice",
    gate_twice_unchanged: "named twice",
    widths_in_one_slot: "widths",
    two_inputs: "inputs alone",
    two_states: "depend on states",
    reserved_slot: "torch.nn's layout",
    no_operand: "no operand",
    nameless_linear: "must be a name",
    unpacked: "unpacked or iterated",
    indexed: "indexed",
    mixed_widths: "different widths",
    tensor_operand: "torch function|tensor",
    torch_function: "torch function, tanh",
    math_function: "Python or numpy function",
    matrix_product: "`@`",
    array_exponent: "exponent",
    negative_base: "base",
    vector_twice: "declared twice",
    start_backwards: "two in ascending order",
    name_twice: "two values",
    emit_twice: "twice",
    wrong_width_of_state: "width 1",
    narrow_state: "width proj_size",
    star_states: "every state by name",
    defaulted: "keyword-only",
    arithmetic_memory: "only `attend` reads",
    attend_to_state: "no memory",
    unknown_score: "no such score",
    dot_of_widths: "width",
    spaced_name: "letters, digits and underscores",
    expression_bound: "bounds of clip",
    string_operand: "two",
    number_under_weight: "needs a value of the step",
    empty_norm: "no operand",
    cell_without_name: "needs a name",
    cell_with_too_little: r"takes \(x, h, c\)",
    cell_twice_under_one_name: "twice",
    vector_of_a_weight: "Taken in this cell: weight_ih, bias_ih, weight_hh, bias_hh",
    vector_of_a_bias: "slot 'ih'",
    vector_of_a_further_weight: "slot 'context'",
    slot_of_an_inner_cell: "torch.nn's layout",
    vector_of_an_attention: r'by `vector\("source_energy"\)` and by `attend\("source", …\)`',
    vector_of_a_norm: r'by `vector\("norm_gain_n"\)` and by `layer_norm\("n", …\)`',
    norm_twice: r'declared twice, by `layer_norm\("n", …\)`',
    vector_of_an_inner_cell: r'by `peephole_lstm\("first", …\)` and by `vector',
    state_of_an_alignment: "carries its alignment",
    gate_of_a_state: "also a state's",
    input_of_a_mask: "recurrent dropout",
    input_of_a_step_mask: "zoneout",
}


@pytest.mark.parametrize("function", REFUSED, ids=lambda function: function.__name__)
def test_what_is_no_equation_is_refused_with_wrong_and_right(function: Callable[..., Any]) -> None:
    with pytest.raises(TraceError, match=REFUSED[function]) as caught:
        _ = gw.cell(function).graph
    shown = str(caught.value)
    for code in (caught.value.wrong, caught.value.right):
        assert all(line.strip() in shown for line in code.splitlines())
    assert caught.value.wrong.strip()
    assert caught.value.right.strip()
    assert caught.value.wrong != caught.value.right
    assert shown.index("wrong:") < shown.index("right:")


def test_a_cell_without_a_state_is_refused() -> None:
    with pytest.raises((TraceError, gw.graph.GraphError), match="state"):
        _ = gw.cell(no_state).graph


def test_words_outside_a_cell_are_refused() -> None:
    for word in (lambda: linear("a"), lambda: vector("a"), lambda: gw.sigmoid(torch.ones(2))):
        with pytest.raises(TraceError):
            word()


def test_a_cell_called_on_tensors_names_the_layer() -> None:
    with pytest.raises(TraceError, match="Recurrent"):
        gw.cells.get("gru")(torch.ones(2, 3), torch.ones(2, 3))


def test_an_error_inside_the_function_is_the_users_own() -> None:
    def broken(x, h):
        raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match="mine"):
        _ = gw.cell(broken).graph


def test_tracing_leaves_no_trace_behind_after_an_error() -> None:
    with pytest.raises(TraceError):
        _ = gw.cell(gate_twice).graph
    with pytest.raises(TraceError, match="outside a cell"):
        vector("p")
    assert gw.cell(lambda_free).graph.states


def lambda_free(x, h):
    return tanh(linear("candidate", x, h))


def test_blocks_stand_in_the_order_of_first_use() -> None:
    @gw.cell
    def ordered(x, h):
        late = sigmoid(linear("second_used_first", x, h))
        return late * tanh(linear("another", x, late * h))

    slots = {slot: [block.gate for block in blocks] for slot, blocks in ordered.graph.slots().items()}
    assert slots == {
        "ih": ["second_used_first", "another"],
        "hh": ["second_used_first", "another"],
    }


def test_an_operand_of_inputs_alone_leaves_the_loop_whatever_is_done_to_it() -> None:
    @gw.cell
    def gated_input(x, h, d: gw.Input("input_size")):
        return tanh(linear("a", sigmoid(x) * d, h))

    blocks = gated_input.graph.slots()
    assert [block.columns for block in blocks["ih"]] == ["input_size"]
    assert [block.columns for block in blocks["hh"]] == ["hidden_size"]


def test_a_further_operand_has_a_slot_without_bias() -> None:
    @gw.cell
    def contextual(x, h, speaker: gw.Static):
        return tanh(linear("a", x, h, context=speaker))

    (block,) = contextual.graph.slots()["context"]
    assert (block.columns, block.bias) == ("speaker_size", False)


def test_an_activation_over_a_linear_is_the_gate_of_its_name() -> None:
    @gw.cell
    def gated(x, h):
        f = sigmoid(linear("forget", x, h))
        return gate("mixed", f * h) + tanh(linear("candidate", x, h))

    graph = gated.graph
    gates = dict(graph.gates)
    assert set(gates) == {"forget", "candidate", "mixed"}
    assert [graph.nodes[gates[name]].op for name in ("forget", "candidate", "mixed")] == [
        "sigmoid",
        "tanh",
        "mul",
    ]


def test_options_are_kept_with_the_cell() -> None:
    @gw.cell
    def optional(x, h, *, activation=tanh, scale=1.0):
        return activation(scale * linear("a", x, h))

    changed = optional.with_options(activation=relu, scale=0.5)
    assert dict(optional.graph.options) == {"activation": "tanh", "scale": "1.0"}
    assert dict(changed.graph.options) == {"activation": "relu", "scale": "0.5"}
    assert dict(changed.with_options(scale=2.0).graph.options) == {"activation": "relu", "scale": "2.0"}
    assert changed.graph != optional.graph
    leaky = optional.with_options(activation=partial(gw.leaky_relu, slope=0.2)).graph
    assert dict(leaky.options)["activation"] == "leaky_relu(slope=0.2)"
    with pytest.raises(TypeError, match="Did you mean 'scale'"):
        optional.with_options(scael=2.0)


def test_a_cell_inside_a_cell_prefixes_its_names() -> None:
    lstm = gw.cells.get("lstm")

    @gw.cell
    def deep(x, h2, h1, c1, c2):
        h1, c1 = lstm("first", x, h1, c1)
        h2, c2 = lstm("second", h1, h2, c2)
        return h2, h1, c1, c2

    graph = deep.graph
    assert {"first_forget", "second_forget"} <= set(dict(graph.gates))
    slots = graph.slots()
    assert [block.columns for block in slots["first_ih"]] == ["input_size"] * 4
    assert [block.columns for block in slots["second_ih"]] == ["hidden_size"] * 4


def test_equal_expressions_are_one_node() -> None:
    @gw.cell
    def repeated(x, h):
        a = linear("a", x, h)
        return sigmoid(a) * sigmoid(a)

    assert [node.op for node in repeated.graph.nodes].count("sigmoid") == 1
