"""The Open Inference Protocol: what KServe's and Triton's clients send, and what they read."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from gatework import tasks
from gatework.serve.tensors import forms_of, packed_bytes
from tests.contracts.task_examples import EXAMPLES
from tests.tolerances import PREDICTIONS, close_to

INFER = "/v2/models/translator/infer"
TEXTS = ["one two", "three"]


def tensor(name: str, data: list[Any], datatype: str = "BYTES", **more: Any) -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": [len(data)], "data": data, **more}


def test_health_and_metadata(client: httpx.Client) -> None:
    assert client.get("/v2/health/live").json() == {"live": True}
    assert client.get("/v2/health/ready").json() == {"ready": True}
    assert client.get("/v2").json()["extensions"] == ["binary_tensor_data"]
    assert client.get("/v2/models/translator/ready").json() == {"name": "translator", "ready": True}
    assert client.get("/v2/models/translator/versions/1/ready").status_code == 200
    assert client.get("/v2/models/translator/versions/2/ready").status_code == 404
    assert client.get("/v2/models/nothing").status_code == 404
    model = client.get("/v2/models/forecaster").json()
    assert (model["name"], model["platform"], model["versions"]) == (
        "forecaster",
        "gatework_forecaster",
        ["1"],
    )
    assert {"name": "sequence", "datatype": "FP64", "shape": [-1, -1]} in model["inputs"]
    assert model["outputs"][0] == {"name": "output", "datatype": "FP64", "shape": [-1, -1]}


def test_texts_as_tensors(client: httpx.Client, run_of: Callable[[str], Path]) -> None:
    expected = tasks.load(run_of("translator")).predict(TEXTS, beam=2, length=5)
    given = {"id": "7", "inputs": [tensor("text", TEXTS)], "parameters": {"beam": 2, "length": 5}}
    answer = client.post(INFER, json=given).json()
    assert (answer["id"], answer["model_name"], answer["model_version"]) == ("7", "translator", "1")
    output, record = answer["outputs"]
    assert output == tensor("output", [each["output"] for each in expected])
    for shown, each in zip(map(json.loads, record["data"]), expected, strict=True):
        assert shown["output"] == each["output"]
        assert shown["score"] == close_to(each["score"], table=PREDICTIONS)
    as_json = [tensor("json", [json.dumps(text) for text in TEXTS])]
    assert client.post(INFER, json={**given, "inputs": as_json}).json() == answer
    only = client.post(INFER, json={**given, "outputs": [{"name": "output"}]}).json()
    assert [each["name"] for each in only["outputs"]] == ["output"]


def test_numbers_as_tensors(client: httpx.Client, run_of: Callable[[str], Path]) -> None:
    series = [[5.0, 6.0, 9.0, 5.0], [1.0, None, 3.0, 4.0]]
    expected = tasks.load(run_of("forecaster")).predict(series, horizon=2)
    shown = {"name": "sequence", "datatype": "FP64", "shape": [2, 4]}
    for data in (series, [value for row in series for value in row]):
        given = {"inputs": [{**shown, "data": data}], "parameters": {"horizon": 2}}
        (output, _) = client.post("/v2/models/forecaster/infer", json=given).json()["outputs"]
        assert (output["datatype"], output["shape"]) == ("FP64", [2, 2])
        assert output["data"] == close_to([n for each in expected for n in each["output"]], table=PREDICTIONS)


def binary(head: dict[str, Any], *parts: bytes) -> dict[str, Any]:
    coded = json.dumps(head).encode()
    return {
        "content": coded + b"".join(parts),
        "headers": {"Inference-Header-Content-Length": str(len(coded))},
    }


def test_binary_tensors_both_ways(client: httpx.Client) -> None:
    """As Triton's client sends them unless it is told otherwise."""
    packed = packed_bytes(TEXTS)
    shown = {
        "name": "text",
        "datatype": "BYTES",
        "shape": [2],
        "parameters": {"binary_data_size": len(packed)},
    }
    head = {"inputs": [shown], "parameters": {"binary_data_output": True, "beam": 2, "length": 5}}
    answer = client.post(INFER, **binary(head, packed))
    length = int(answer.headers["inference-header-content-length"])
    outputs = json.loads(answer.content[:length])["outputs"]
    sizes = [each["parameters"]["binary_data_size"] for each in outputs]
    assert sum(sizes) == len(answer.content) - length
    plain = {"inputs": [tensor("text", TEXTS)], "parameters": {"beam": 2, "length": 5}}
    expected = client.post(INFER, json=plain).json()["outputs"]
    assert answer.content[length:] == b"".join(packed_bytes(each["data"]) for each in expected)

    series = np.array([[5.0, 6.0, np.nan, 5.0]], np.float32)
    own = {"name": "sequence", "datatype": "FP32", "shape": [1, 4], "parameters": {"binary_data_size": 16}}
    head = {"inputs": [own], "outputs": [{"name": "output", "parameters": {"binary_data": True}}]}
    answer = client.post("/v2/models/forecaster/infer", **binary(head, series.tobytes()))
    length = int(answer.headers["inference-header-content-length"])
    (output,) = json.loads(answer.content[:length])["outputs"]
    assert np.isfinite(np.frombuffer(answer.content[length:]).reshape(output["shape"])).all()


BYTES = {"name": "text", "datatype": "BYTES", "shape": [1]}


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({}, "has no inputs"),
        ({"inputs": [3]}, "a tensor is an object"),
        ({"inputs": [{"name": 3}]}, "a tensor has no name"),
        ({"inputs": [tensor("text", ["x"], "TEXT")]}, "the datatype 'TEXT' is none of BYTES, BOOL"),
        ({"inputs": [{**BYTES, "datatype": ["BYTES"]}]}, r"the datatype ['BYTES'] is none of BYTES, BOOL"),
        ({"inputs": [tensor("text", ["x"]) | {"shape": [-1]}]}, "is no list of sizes"),
        ({"inputs": [tensor("text", ["x"]) | {"shape": [2]}]}, "1 elements are not those of the shape [2]"),
        ({"inputs": [tensor("text", ["x"]) | {"shape": [9000, 9000]}]}, "are more than this service takes"),
        ({"inputs": [tensor("text", [3])]}, "an element of BYTES is no text"),
        ({"inputs": [tensor("text", [0.5], "FP64")]}, "it is FP64, not BYTES"),
        ({"inputs": [BYTES | {"data": "x"}]}, "data is no list"),
        ({"inputs": [tensor("words", ["x"])]}, "the tensors 'words' are not text or json"),
        ({"inputs": [tensor("text", ["x"]), tensor("text", ["y"])]}, "are not text or json"),
        ({"inputs": [tensor("text", ["x", "y"]) | {"shape": [1, 2]}]}, "has one dimension here"),
        ({"inputs": [tensor("json", ["{"])]}, "is not JSON"),
        ({"inputs": [tensor("text", ["x"])], "parameters": {"beams": 3}}, "Did you mean 'beam'?"),
        ({"inputs": [tensor("text", ["x"])], "parameters": 3}, "parameters: they are no object"),
        ({"inputs": [tensor("text", ["x"])], "id": 3}, "id: it is no text"),
        ({"inputs": [tensor("text", ["x"])], "outputs": [{"name": "y"}]}, "there is no tensor 'y'"),
        ({"inputs": [tensor("text", ["x"])], "outputs": 3}, "outputs: they are no list"),
        (
            {"inputs": [BYTES | {"parameters": {"binary_data_size": 5}}]},
            "is not what was sent (0 bytes left)",
        ),
        ({"inputs": [BYTES | {"parameters": {"binary_data_size": True}}]}, "is not what was sent"),
    ],
)
def test_what_is_no_request_is_refused(given: dict[str, Any], sentence: str, client: httpx.Client) -> None:
    answer = client.post(INFER, json=given)
    assert answer.status_code in (413, 422)
    assert sentence in answer.json()["error"]


@pytest.mark.parametrize(
    ("size", "packed", "sentence"),
    [
        (5, b"\x01\0\0\0x", ""),
        (4, b"\x01\0\0\0", "are not 1 elements, each after its length"),
        (4, b"\xff\xff\xff\xff", "are not 1 elements, each after its length"),
        (10, b"\x01\0\0\0x\x01\0\0\0y", "are not 1 elements, each after its length"),
        (5, b"\x01\0\0\0\xff", "is not UTF-8"),
        (5, b"\x01\0\0\0x!", "1 bytes behind the JSON belong to no tensor"),
        (9, b"\x01\0\0\0x", "is not what was sent (5 bytes left)"),
    ],
)
def test_wrong_binary_tensors_are_refused(
    size: int, packed: bytes, sentence: str, client: httpx.Client
) -> None:
    head = {"inputs": [BYTES | {"parameters": {"binary_data_size": size}}], "parameters": {"length": 2}}
    answer = client.post(INFER, **binary(head, packed))
    assert answer.status_code == (422 if sentence else 200), answer.text
    assert sentence in answer.json().get("error", "")
    for length in ("-1", "99999", "x", "9" * 30, "²"):
        given = binary(head, packed)
        given["headers"] = {"Inference-Header-Content-Length": length.encode("latin-1")}
        assert "is no length of the JSON" in client.post(INFER, **given).json()["error"]


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_task_has_its_tensors(name: str) -> None:
    kind = tasks.get(name)
    forms = forms_of(kind)
    assert forms[-1].names == {"json"}
    assert len(forms) > 1
    assert len({form.names for form in forms}) == len(forms)
    for form in forms[:-1]:
        values = [
            "x" if datatype == "BYTES" else np.full(len(shape), 8000.0) for _, datatype, shape in form.tensors
        ]
        if form.names == {"audio", "sampling_rate"}:
            values[1] = np.int32(8000)
        kind.read_sent(form.input(*values))
