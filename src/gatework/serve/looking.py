"""What a run's layers do with an input: the data that the page draws."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, Protocol

from fastapi import FastAPI, Request, Response

from gatework.errors import InputError
from gatework.serve.options import ServiceOptions
from gatework.serve.presence import while_present
from gatework.serve.refusals import BadRequest, Overdue, Refusal, TooMany
from gatework.serve.requests import Asked, read_inputs, read_json, read_settings
from gatework.serve.runs import ServedRun, ServedRuns
from gatework.serve.worker import failure
from gatework.tasks.base import Task

__all__ = ["Looked", "add_inspection", "read_look"]

_FIELDS = {"input", "settings", "scale", "reasons"}
_MOST_GATES = 64
_WAITING = 16  # requests that wait to be looked at, at most


class Looked(NamedTuple):
    """One input, what gates are multiplied by, and whether it is said what carried the answer."""

    asked: Asked
    scale: Mapping[str, float]
    reasons: bool


class Looking(Protocol):
    """What the route calls: `gatework.serve.app.Service`."""

    runs: ServedRuns
    options: ServiceOptions

    async def read(self, body: bytes, reader: Callable[..., Any], *arguments: Any) -> Any: ...


def read_look(body: bytes, task: Task, options: ServiceOptions) -> Looked:
    """What `{"input": …, "settings": {…}, "scale": {"forget": 0.5}, "reasons": false}` asks.

    Raises:
        BadRequest: it is something else, or a part of it is wrong.
        TooLarge: more than the service allows.
    """
    given = read_json(body)
    if not isinstance(given, dict) or "input" not in given or not given.keys() <= _FIELDS:
        raise BadRequest('the body is not an object like {"input": …, "settings": {…}, "scale": {…}}')
    settings, scale, reasons = (
        given.get("settings") or {},
        given.get("scale") or {},
        given.get("reasons", True),
    )
    if not isinstance(settings, dict):
        raise BadRequest("settings: this is no object, name by name")
    numbers = isinstance(scale, dict) and all(
        isinstance(factor, int | float) and not isinstance(factor, bool) and math.isfinite(factor)
        for factor in scale.values()
    )
    if not numbers or len(scale) > _MOST_GATES:
        raise BadRequest('scale: this is no object of gates and numbers, {"forget": 0.5}')
    if not isinstance(reasons, bool):
        raise BadRequest("reasons: this is neither true nor false")
    (asked,) = read_inputs([given["input"]], read_settings(settings, task, options), task, options)
    return Looked(asked, scale, reasons)


def add_inspection(app: FastAPI, service: Looking) -> None:
    """The route `/v1/runs/{name}/inspect`: one input at a time, beside the predictions."""
    executor = ThreadPoolExecutor(1, thread_name_prefix="gatework-inspect")
    waiting: set[asyncio.Future[Any]] = set()

    @app.post("/v1/runs/{name}/inspect", tags=["runs"])
    async def inspect(name: str, request: Request) -> Response:
        """What the layers of a run do with an input: gates and states step by step, what they tell, and what carried
        the answer; with gates multiplied, if asked for."""
        run = service.runs[name]
        looked = await service.read(await request.body(), read_look, run.task, service.options)
        if len(waiting) >= _WAITING:
            raise TooMany(f"run {name!r}: {len(waiting)} inputs wait to be looked at. Ask again in a moment.")
        own = asyncio.get_running_loop().run_in_executor(executor, _report, run, looked)
        waiting.add(own)
        own.add_done_callback(waiting.discard)
        try:
            async with asyncio.timeout(service.options.timeout):
                text = await while_present(request, _text(own))
        except TimeoutError:
            what = f"run {name!r}: it was not looked at within {service.options.timeout:g} s"
            raise Overdue(f"{what}. Give less, or reasons=false.") from None
        return Response(text, media_type="application/json")


async def _text(looked: asyncio.Future[str]) -> str:
    return await looked


def _report(run: ServedRun, looked: Looked) -> str:
    """The report's JSON."""
    try:
        found = run.task.inspect_sent(
            looked.asked.input, scale=looked.scale, reasons=looked.reasons, **looked.asked.settings
        )
        return found.json()
    except InputError as error:
        raise BadRequest(str(error)) from None
    except Refusal:
        raise
    except Exception as error:
        raise failure(run.name, "be looked into", error) from None
