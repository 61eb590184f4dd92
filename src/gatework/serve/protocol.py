"""The Open Inference Protocol (version 2, HTTP), with the extension for binary tensors.

KServe's and Triton's clients speak it: https://github.com/kserve/open-inference-protocol, and Triton's
`extension_binary_data`. A model is a run, and a version counts how often it was loaded.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from fastapi import FastAPI, Request, Response

from gatework import __version__
from gatework.serve.options import ServiceOptions
from gatework.serve.presence import while_present
from gatework.serve.refusals import BadRequest, NotFound
from gatework.serve.requests import Asked, read_inputs, read_json, read_settings
from gatework.serve.runs import ServedRun, ServedRuns
from gatework.serve.tensors import Form, Tensor, forms_of, output_tensors, packed_bytes, read_tensor
from gatework.tasks.base import Task

__all__ = ["add_protocol"]

_HEADER_LENGTH = "inference-header-content-length"
_BINARY = "binary_tensor_data"
_PROTOCOL_PARAMETERS = (
    "binary_data_output",
)  # beside these, parameters of a request are a prediction's settings


class Answers(Protocol):
    """What the protocol's routes call: `gatework.serve.app.Service`."""

    runs: ServedRuns
    options: ServiceOptions
    stopping: bool

    async def answer(self, run: ServedRun, asked: list[Asked]) -> list[dict[str, Any]]: ...

    async def read(self, body: bytes, reader: Callable[..., Any], *arguments: Any) -> Any: ...


class Inference(NamedTuple):
    """A request to infer, read.

    Attributes:
        id: the request's own, given back.
        asked: an input for each element of the tensors' first dimension.
        outputs: the names of the tensors that are asked for, and whether each is to be binary.
    """

    id: str | None
    asked: list[Asked]
    outputs: dict[str, bool]


def add_protocol(app: FastAPI, service: Answers) -> None:
    """The routes below `/v2`."""

    def run_of(name: str, version: str | None = None) -> ServedRun:
        run = service.runs[name]
        if version is not None and version != str(run.version):
            raise NotFound(f"run {name!r} has version {run.version} now, not {version!r:.60}")
        return run

    def ready() -> bool:
        return not service.stopping and all(run.is_there for run in service.runs)

    @app.get("/v2", tags=["open inference protocol"])
    async def server() -> dict[str, Any]:
        """What this server is."""
        return {"name": "gatework", "version": __version__, "extensions": [_BINARY]}

    @app.get("/v2/health/live", tags=["open inference protocol"])
    async def live() -> dict[str, bool]:
        """Whether the server runs."""
        return {"live": True}

    @app.get("/v2/health/ready", tags=["open inference protocol"])
    async def server_ready() -> Response:
        """Whether every run can answer."""
        return _json({"ready": ready()}, 200 if ready() else 503)

    @app.get("/v2/models/{name}", tags=["open inference protocol"])
    @app.get("/v2/models/{name}/versions/{version}", include_in_schema=False)
    async def model(name: str, version: str | None = None) -> dict[str, Any]:
        """A run as tensors: those of one request are all of one form."""
        run = run_of(name, version)
        kind = type(run.task)
        return {
            "name": name,
            "versions": [str(run.version)],
            "platform": f"gatework_{kind.name.replace('-', '_')}",
            "inputs": [_shown(*each) for form in forms_of(kind) for each in form.tensors],
            "outputs": [_shown(*_output_of(kind)), _shown("record", "BYTES", (-1,))],
        }

    @app.get("/v2/models/{name}/ready", tags=["open inference protocol"])
    @app.get("/v2/models/{name}/versions/{version}/ready", include_in_schema=False)
    async def model_ready(name: str, version: str | None = None) -> Response:
        """Whether a run can answer."""
        run = run_of(name, version)
        return _json({"name": name, "ready": run.is_there}, 200 if run.is_there else 503)

    @app.post("/v2/models/{name}/infer", tags=["open inference protocol"])
    @app.post("/v2/models/{name}/versions/{version}/infer", include_in_schema=False)
    async def infer(name: str, request: Request, version: str | None = None) -> Response:
        """Answers to the inputs in a request's tensors."""
        run = run_of(name, version)
        body = await request.body()
        length = request.headers.get(_HEADER_LENGTH)
        asked = await service.read(body, read_inference, length, run.task, service.options)
        records = await while_present(request, service.answer(run, asked.asked))
        return _answer(run, asked, output_tensors(records))


def read_inference(body: bytes, length: str | None, task: Task, options: ServiceOptions) -> Inference:
    """A request's tensors as inputs.

    Args:
        length: of the JSON at the body's beginning, behind which binary tensors stand; None: it is all of it.

    Raises:
        BadRequest: it is no request of the protocol, or not one of this task.
        TooLarge: more than the service allows.
    """
    binary = b""
    if length is not None:
        if not length.isascii() or not length.isdigit() or len(length) > 12 or int(length) > len(body):
            raise BadRequest(f"{_HEADER_LENGTH}: {length!r:.40} is no length of the JSON in this body")
        body, binary = body[: int(length)], body[int(length) :]
    given = read_json(body)
    if not isinstance(given, dict) or not isinstance(given.get("inputs"), list) or not given["inputs"]:
        raise BadRequest("the body is not a request to infer: it has no inputs")
    if not isinstance(given.get("id"), (str, type(None))):
        raise BadRequest("id: it is no text")
    parameters = given.get("parameters") or {}
    if not isinstance(parameters, dict):
        raise BadRequest("parameters: they are no object")
    tensors: list[Tensor] = []
    for each in given["inputs"]:
        tensor, binary = read_tensor(each, binary, options)
        tensors.append(tensor)
    if binary:
        raise BadRequest(f"{len(binary)} bytes behind the JSON belong to no tensor")
    settings = {name: value for name, value in parameters.items() if name not in _PROTOCOL_PARAMETERS}
    items = _inputs_of(tensors, forms_of(type(task)))
    asked = read_inputs(items, read_settings(settings, task, options), task, options)
    return Inference(given.get("id"), asked, _outputs(given.get("outputs"), parameters))


def _inputs_of(tensors: Sequence[Tensor], forms: Sequence[Form]) -> list[Any]:
    by_name = {tensor.name: tensor for tensor in tensors}
    form = next((form for form in forms if form.names == by_name.keys()), None)
    if form is None or len(by_name) != len(tensors):
        known = " or ".join(", ".join(name for name, _, _ in form.tensors) for form in forms)
        raise BadRequest(f"inputs: the tensors {', '.join(by_name)!r:.100} are not {known}")
    for name, datatype, _ in form.tensors:
        if (datatype == "BYTES") != (by_name[name].datatype == "BYTES"):
            raise BadRequest(f"tensor {name!r}: it is {by_name[name].datatype}, not {datatype}")
    sizes = {tensor.shape[0] for tensor in tensors}
    if len(sizes) != 1:
        raise BadRequest("inputs: the tensors' first dimensions differ; each has an element an input")
    columns = [by_name[name].data for name, _, _ in form.tensors]
    if any(isinstance(column, list) and len(column) != max(sizes) for column in columns):
        raise BadRequest("inputs: a tensor of BYTES has one dimension here, with an element an input")
    return [form.input(*values) for values in zip(*columns, strict=True)]


def _outputs(given: Any, parameters: dict[str, Any]) -> dict[str, bool]:
    every = parameters.get("binary_data_output") is True
    if given is None or given == []:
        return {"output": every, "record": every}
    if not isinstance(given, list) or not all(isinstance(each, dict) for each in given):
        raise BadRequest("outputs: they are no list of tensors by name")
    wanted: dict[str, bool] = {}
    for each in given:
        name, own = each.get("name"), each.get("parameters") or {}
        if name not in ("output", "record"):
            raise BadRequest(f"outputs: there is no tensor {name!r:.60}, but output and record")
        wanted[name] = (own.get("binary_data", every) if isinstance(own, dict) else every) is True
    return wanted


def _answer(run: ServedRun, asked: Inference, tensors: dict[str, Tensor]) -> Response:
    outputs: list[dict[str, Any]] = []
    binary: list[bytes] = []
    for name, is_binary in asked.outputs.items():
        tensor = tensors[name]
        shown: dict[str, Any] = {
            "name": name,
            "datatype": tensor.datatype,
            "shape": list(tensor.shape),
        }
        if is_binary:
            content = packed_bytes(tensor.data) if tensor.datatype == "BYTES" else tensor.data.tobytes()
            binary.append(content)
            shown["parameters"] = {"binary_data_size": len(content)}
        else:
            shown["data"] = (
                tensor.data.ravel().tolist() if isinstance(tensor.data, np.ndarray) else tensor.data
            )
        outputs.append(shown)
    answer: dict[str, Any] = {"model_name": run.name, "model_version": str(run.version), "outputs": outputs}
    if asked.id is not None:
        answer["id"] = asked.id
    if not binary:
        return _json(answer)
    head = json.dumps(answer, allow_nan=False).encode()
    headers = {_HEADER_LENGTH: str(len(head))}
    return Response(b"".join([head, *binary]), headers=headers, media_type="application/octet-stream")


def _shown(name: str, datatype: str, shape: Sequence[int]) -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": list(shape)}


def _output_of(kind: type[Task]) -> tuple[str, str, tuple[int, ...]]:
    field = kind.Output.model_json_schema()["properties"]["output"]
    numbers = any(
        part.get("type") == "array" and _is_of_numbers(part) for part in field.get("anyOf", [field])
    )
    return ("output", "FP64", (-1, -1)) if numbers else ("output", "BYTES", (-1,))


def _is_of_numbers(part: dict[str, Any]) -> bool:
    return part.get("items", {}).get("type") == "number"


def _json(value: Any, status: int = 200) -> Response:
    return Response(json.dumps(value, allow_nan=False), status, media_type="application/json")
