"""`/v1/runs/NAME/inspect`, of real runs and a real server."""

from __future__ import annotations

from typing import Any

import httpx
import pytest


def look(client: httpx.Client, run: str, **body: Any) -> httpx.Response:
    return client.post(f"/v1/runs/{run}/inspect", json=body, timeout=60)


def test_a_look_has_the_answer_of_predict_and_every_layer(client: httpx.Client) -> None:
    asked = client.post("/v1/runs/translator/predict", json={"inputs": ["one two"]}).json()
    found = look(client, "translator", input="one two", reasons=False).json()
    assert asked["records"][0] == found["record"]
    assert {"encoder.l0", "encoder.l0_reverse", "decoder.l0"} <= {part["name"] for part in found["parts"]}
    assert found["alignments"]
    assert not found["reasons"]
    assert found["flow"] is None
    assert look(client, "translator", input="one two").json()["reasons"]


def test_a_gate_is_turned_and_the_answer_is_that_of_the_changed_network(client: httpx.Client) -> None:
    given = {"input": "the one", "settings": {"length": 5, "temperature": 0}, "reasons": False}
    (plain, off) = (
        look(client, "language-model", **given, scale=scale).json() for scale in ({}, {"output": 0})
    )
    gates = [value for value in off["parts"][0]["values"] if value["name"] == "output"]
    assert gates[0]["mean"] == 0
    assert plain["record"]["log_probability"] != off["record"]["log_probability"]
    assert look(client, "language-model", **given).json()["record"] == plain["record"]


@pytest.mark.parametrize(
    ("body", "what"),
    [
        ({"inputs": ["one"]}, "is not an object like"),
        ({"input": 3}, "is not an input"),
        ({"input": "one", "scale": {"no_such_gate": 0}}, "no gate 'no_such_gate'"),
        ({"input": "one", "scale": {"update": "0"}}, "no object of gates and numbers"),
        ({"input": "one", "reasons": 1}, "neither true nor false"),
        ({"input": "one", "settings": {"no_such": 1}}, "no_such"),
        ({"input": "one " * 2000}, "characters"),
    ],
)
def test_what_is_no_question_is_refused_in_a_sentence(
    client: httpx.Client, body: dict[str, Any], what: str
) -> None:
    answer = look(client, "translator", **body)
    assert 400 <= answer.status_code < 500
    assert what in answer.json()["error"]
