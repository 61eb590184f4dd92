"""A small run of every task behind one real server: over HTTP, and on the live page in a real browser."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from gatework import tasks
from gatework.serve.app import Service
from gatework.serve.options import ServiceOptions
from gatework.serve.runs import ServedRuns
from gatework.serve.schemas import answer_model, request_model
from tests.contracts.task_contract import assert_close
from tests.contracts.task_examples import EXAMPLES
from tests.serve.running import running


@pytest.fixture(scope="module")
def served(run_of: Callable[[str], Path]) -> Iterator[httpx.Client]:
    """Every task's run."""
    with running(Service(ServedRuns.load([run_of(name) for name in EXAMPLES]), ServiceOptions())) as client:
        yield client


def sent(item: Any) -> Any:
    """An input as somebody elsewhere sends it: of a sound's file its content."""
    if isinstance(item, str) and item.endswith(".wav"):
        return {"bytes": base64.b64encode(Path(item).read_bytes()).decode()}
    return item


@pytest.mark.parametrize("name", EXAMPLES)
def test_answers_are_those_of_predict(name: str, served: httpx.Client, run_of: Callable[[str], Path]) -> None:
    example, task = EXAMPLES[name], tasks.load(run_of(name))
    given = {"inputs": [sent(each) for each in example.inputs], "settings": example.settings}
    answer = served.post(f"/v1/runs/{name}/predict", json=given)
    assert answer.status_code == 200, answer.text
    inputs = [task.read_sent(each) for each in given["inputs"]]
    records = task.predict_sent(inputs, **example.settings)
    expected = [{key: value for key, value in record.items() if key != "input"} for record in records]
    assert_close(answer.json()["records"], expected)
    request_model(type(task)).model_validate_json(json.dumps(given), strict=True)
    answer_model(type(task)).model_validate_json(answer.content, strict=True)
    described = served.get(f"/v1/runs/{name}").json()
    assert (described["name"], described["task"], described["ready"]) == (name, name, True)
    assert described["settings"]["properties"].keys() <= task.Settings.model_fields.keys()
    assert "input" not in described["output"]["properties"]


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_look_has_the_record_of_predict(name: str, served: httpx.Client) -> None:
    example = EXAMPLES[name]
    item, settings = sent(example.inputs[0]), example.settings
    asked = served.post(f"/v1/runs/{name}/predict", json={"inputs": [item], "settings": settings}).json()
    body = {"input": item, "settings": settings, "reasons": False}
    looked = served.post(f"/v1/runs/{name}/inspect", json=body)
    assert looked.status_code == 200, looked.text
    assert_close(looked.json()["record"], asked["records"][0])
