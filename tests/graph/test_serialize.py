"""Graphs as JSON: equal when they come back, refused when they are not what they say, and never code."""

from __future__ import annotations

import copy
import json
import math
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import gatework as gw
from gatework.graph import GraphError

Plain = dict[str, Any]


@pytest.mark.parametrize("name", gw.cells.names())
def test_a_graph_survives_json(name: str) -> None:
    cell = gw.cells.get(name)
    again = gw.Cell.from_json(cell.to_json())
    assert again.graph == cell.graph
    assert hash(again.graph) == hash(cell.graph)
    assert again.to_json() == cell.to_json()
    assert (again.name, again.doc) == (cell.name, cell.doc)
    json.loads(cell.to_json(), parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))


def test_a_file_of_the_first_version_is_read_and_written_as_it_was() -> None:
    """Operations have other names there: `product`, `align`, `read`."""
    text = (Path(__file__).parent / "first_version" / "bahdanau_gru.json").read_text("utf-8")
    assert all(f'["{name}", [' in text for name in ("product", "align", "read"))
    cell = gw.Cell.from_json(text)
    assert cell.graph == gw.bahdanau_gru.graph
    assert cell.to_json() == text


def test_attention_options_and_streams_survive_json() -> None:
    @gw.cell
    def everything(
        x: Any,
        h: gw.State(init=0.5),  # type: ignore[valid-type]
        d: gw.Input,
        s: gw.Static(size=3),  # type: ignore[valid-type]
        memory: gw.Memory,
        *,
        activation: Any = gw.tanh,
    ) -> Any:
        context = gw.attend("source", h, memory, score="location")
        gw.emit("context", context)
        return activation(gw.linear("a", x, h, gap=d, speaker=s, context=context))

    cell = everything.with_options(activation=gw.softsign)
    assert gw.Cell.from_json(cell.to_json()).graph == cell.graph


def test_a_cell_with_nan_in_it_equals_its_copies() -> None:
    """NaN equals no NaN, and what is kept by graph (plans, programs, code) is looked up by equality."""

    @gw.cell
    def gap(x: Any, h: Any) -> Any:
        return gw.where(gw.linear("gap", x) > 0, float("nan"), gw.where(h > 1, float("nan"), h))

    graph = gap.graph
    assert sum(node.op == "constant" and math.isnan(node.number("value")) for node in graph) == 1
    for same in (
        gw.Cell.from_json(gap.to_json()).graph,
        pickle.loads(pickle.dumps(graph)),
        copy.deepcopy(graph),
    ):
        assert same == graph
        assert hash(same) == hash(graph)


def test_the_options_of_a_read_cell_are_fixed() -> None:
    read = gw.Cell.from_json(gw.cells.get("elman").to_json())
    with pytest.raises(TypeError, match="fixed when it was traced"):
        read.with_options(activation=gw.relu)


def _set(key: str, value: Any) -> Callable[[Plain], None]:
    def change(plain: Plain) -> None:
        plain[key] = value

    return change


def _set_in(key: str, row: int, column: int, value: Any) -> Callable[[Plain], None]:
    def change(plain: Plain) -> None:
        plain[key][row][column] = value

    return change


MALFORMED: dict[str, Callable[[Plain], None]] = {
    "no version": lambda plain: plain.pop("format_version"),
    "newer version": _set("format_version", 99),
    "version as text": _set("format_version", "1"),
    "no nodes": lambda plain: plain.pop("nodes"),
    "nodes a number": _set("nodes", 3),
    "nodes a text": _set("nodes", "abcd"),
    "no outputs": _set("outputs", []),
    "outputs of a backward graph": _set("outputs", [["gradient:h", 0]]),
    "an output that is no name": _set("outputs", [[["state:h"], 0]]),
    "name a list": _set("name", ["lstm"]),
    "name with a path": _set("name", "../../etc/passwd"),
    "name with a dunder": _set("name", "__import__"),
    "unknown operation": _set_in("nodes", 2, 0, "os.system"),
    "operation a list": _set_in("nodes", 2, 0, ["tanh"]),
    "an argument ahead": _set_in("nodes", 2, 1, [500]),
    "an argument below zero": _set_in("nodes", 2, 1, [-1]),
    "an argument as text": _set_in("nodes", 2, 1, ["0"]),
    "attributes a list": _set_in("nodes", 2, 2, [["slot", "ih"]]),
    "attributes nested": _set_in("nodes", 2, 2, {"slot": {"a": 1}, "gate": []}),
    "width a list": _set_in("nodes", 2, 3, [1]),
    "width below zero": _set_in("nodes", 2, 3, -4),
    "inputs a text": _set("inputs", "xyz"),
    "kind of input": _set_in("inputs", 0, 1, "pipe"),
    "states too long": _set("states", [["h", "hidden_size", 0.0, "more"]]),
    "a state's start": _set_in("states", 0, 2, "0"),
    "a block's bias": _set_in("blocks", 0, 4, "yes"),
    "a parameter name with a dot": _set_in("blocks", 0, 0, "ih.weight"),
    "gates a number": _set("gates", 7),
    "options a list": _set("options", ["a"]),
    "a gradient in a forward graph": lambda plain: plain["nodes"].append(
        ["bias_gradient", [0], {"gate": "input", "slot": "ih"}, 1]
    ),
    "a cotangent in a forward graph": lambda plain: plain["nodes"].append(
        ["cotangent", [], {"kind": "state", "name": "h"}, "hidden_size"]
    ),
}


@pytest.mark.parametrize("fault", MALFORMED)
def test_malformed_json_is_refused(fault: str) -> None:
    plain = json.loads(gw.cells.get("lstm").to_json())
    MALFORMED[fault](plain)
    with pytest.raises(GraphError):
        gw.Cell.from_json(json.dumps(plain))


@pytest.mark.parametrize(
    "text", ["", "null", "[]", "3", "{}", "{", '{"format_version": 1}', "[" * 100_000, "\x00", "NaN"]
)
def test_what_is_no_graph_is_refused(text: str) -> None:
    with pytest.raises(GraphError):
        gw.Cell.from_json(text)


def test_a_huge_text_is_refused_at_once() -> None:
    with pytest.raises(GraphError, match="characters"):
        gw.Cell.from_json(" " * 5_000_000)


@pytest.mark.timeout(20)
def test_a_text_of_many_names_does_not_hang() -> None:
    plain = json.loads(gw.cells.get("lstm").to_json())
    plain["vectors"] = [[f"v{i}", 1, 0.0, None] for i in range(60_000)]
    plain["gates"] = [[f"g{i}", 0] for i in range(60_000)]
    gw.Cell.from_json(json.dumps(plain))


def test_a_strangers_names_are_data() -> None:
    """Text in a graph is shown, never run: names that could be code are refused or stay text."""
    plain = json.loads(gw.cells.get("elman").to_json())
    plain["doc"] = "{0.__class__} %s __import__('os')"
    plain["options"] = {"activation": "__import__('os').system('false')"}
    cell = gw.Cell.from_json(json.dumps(plain))
    assert plain["doc"] in cell.describe()
    layer = gw.Recurrent(cell, 2, 3)
    assert layer(torch.zeros(4, 1, 2))[0].shape == (4, 1, 3)


def test_a_vector_that_is_drawn_between_two_numbers_survives_json() -> None:
    (read,) = gw.Cell.from_json(gw.rg_lru.to_json()).graph.vectors
    assert read.init == (4.3, 9.0)
    for wrong in ([9.0, 4.3], [4.3], [4.3, "9"], [4.3, math.inf], []):
        plain = json.loads(gw.rg_lru.to_json())
        plain["vectors"][0][2] = wrong
        with pytest.raises(GraphError, match="start"):
            gw.Cell.from_json(json.dumps(plain))
