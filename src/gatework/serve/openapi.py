"""The OpenAPI description: a path for each run, with the schemas of its task."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from pydantic.json_schema import models_json_schema

from gatework.serve.runs import ServedRuns
from gatework.serve.schemas import Problem, answer_model, request_model

__all__ = ["described"]

_ANY = "/v1/runs/{name}/predict"
_REFUSALS = {
    "400": "a request that is none",
    "401": "the token is missing or wrong",
    "403": "another origin or host",
    "404": "no such run",
    "413": "more than a limit",
    "422": "a wrong input or setting",
    "500": "the run failed",
    "503": "too much at once, or being stopped",
    "504": "the time is over",
}


def described(app: FastAPI, runs: ServedRuns) -> None:
    """Have an application describe its runs: in the place of the path of any run, one for each."""
    made = app.openapi
    kinds = {run.name: type(run.task) for run in runs}

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            schema = made()
            models: list[Any] = [(Problem, "validation")]
            for kind in dict.fromkeys(kinds.values()):
                models += [(request_model(kind), "validation"), (answer_model(kind), "validation")]
            names, definitions = models_json_schema(models, ref_template="#/components/schemas/{model}")
            schema.setdefault("components", {}).setdefault("schemas", {}).update(definitions["$defs"])
            problem = names[Problem, "validation"]
            paths = schema["paths"]
            general = paths.pop(_ANY)["post"]
            for name, kind in kinds.items():
                paths[_ANY.replace("{name}", name)] = {
                    "post": {
                        "tags": general["tags"],
                        "summary": f"Predict with {name}, a {kind.name}",
                        "description": general["description"],
                        "operationId": f"predict_{name}",
                        "requestBody": {
                            "required": True,
                            "content": _json(names[request_model(kind), "validation"]),
                        },
                        "responses": {
                            "200": {
                                "description": "records, in the order of the inputs",
                                "content": _json(names[answer_model(kind), "validation"]),
                            }
                        },
                    }
                }
            for path in paths.values():
                for operation in path.values():
                    operation["responses"].pop("422", None)
                    for status, what in _REFUSALS.items():
                        operation["responses"].setdefault(
                            status, {"description": what, "content": _json(problem)}
                        )
            app.openapi_schema = schema
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def _json(schema: Any) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}
