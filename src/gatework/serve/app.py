"""The service as an ASGI application: the routes, and what they call."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

from gatework import __version__
from gatework.serve.batching import Batcher
from gatework.serve.guard import Guard, refusal_body
from gatework.serve.looking import add_inspection
from gatework.serve.measured import Measured
from gatework.serve.metrics import Metrics
from gatework.serve.openapi import described
from gatework.serve.options import ServiceOptions
from gatework.serve.pages import add_pages
from gatework.serve.presence import while_present
from gatework.serve.protocol import add_protocol
from gatework.serve.refusals import Refusal, Stopping
from gatework.serve.requests import Asked, read_request
from gatework.serve.runs import ServedRun, ServedRuns
from gatework.serve.schemas import record_model, settings_model
from gatework.serve.sessions import Streams
from gatework.serve.sockets import add_streams
from gatework.serve.stepping import Stepper

__all__ = ["Service"]

_log = logging.getLogger(__name__)
_SMALL = 1 << 16  # bytes of a body that is read in the event loop


class Service:
    """Runs behind HTTP. `asgi` is the application, for any ASGI server.

    Attributes:
        runs: what is served.
        options: its limits.
        metrics: its measures.
        stopping: whether nothing new is begun.
    """

    def __init__(
        self, runs: ServedRuns, options: ServiceOptions | None = None, *, host: str = "127.0.0.1"
    ) -> None:
        """
        Args:
            runs: see `ServedRuns.load`.
            options: limits; None: the defaults.
            host: the name or address at which the service listens, which requests name in their Host header.
        """
        self.runs, self.options, self.metrics = runs, options or ServiceOptions(), Metrics()
        self.stopping = False
        workers = max(1, min(len(runs), os.cpu_count() or 1))
        self._executor = ThreadPoolExecutor(workers, thread_name_prefix="gatework-predict")
        self._step_executor = ThreadPoolExecutor(workers, thread_name_prefix="gatework-step")
        self.streams = Streams(self.options, self.metrics)
        self._steppers = {
            run.name: Stepper(run.name, self.streams, self._step_executor, self.metrics) for run in runs
        }
        self._batchers = {run.name: Batcher(run, self.options, self._executor, self.metrics) for run in runs}
        self._workers: list[Batcher | Stepper] = [*self._batchers.values(), *self._steppers.values()]
        self.asgi = self._guarded(self._application(), host)

    async def answer(self, run: ServedRun, asked: list[Asked]) -> list[dict[str, Any]]:
        """The records of inputs, answered together with those of other requests.

        Raises:
            Refusal: why not.
        """
        if self.stopping:
            raise Stopping("the service is being stopped. Ask again in a moment.")
        return await self._batchers[run.name].answer(asked)

    def wake(self, name: str) -> None:
        """There is something to do in a run's streams."""
        self._steppers[name].wake()

    async def finish(self) -> None:
        """Begin nothing more, and say to their ends what the streams have begun to say."""
        self.stopping = True
        await self.streams.drain(self.options.grace)

    async def read(self, body: bytes, reader: Callable[..., Any], *arguments: Any) -> Any:
        """What a body says; a large one is read in a thread, so that others are not kept waiting."""
        if len(body) <= _SMALL:
            return reader(body, *arguments)
        return await asyncio.to_thread(reader, body, *arguments)

    def _guarded(self, app: FastAPI, host: str) -> ASGIApp:
        return Measured(Guard(app, self.options, host, self.metrics), self.metrics)

    def _application(self) -> FastAPI:
        app = FastAPI(
            title="Gatework",
            version=__version__,
            description="Trained runs, one path each.",
            docs_url=None,
            redoc_url=None,
            lifespan=self._lifespan,
        )
        if self.options.origins:
            app.add_middleware(
                CORSMiddleware,
                allow_origins=list(self.options.origins),
                allow_methods=["GET", "POST"],
                allow_headers=["authorization", "content-type"],
            )
        app.add_exception_handler(Refusal, _refused)
        app.add_exception_handler(HTTPException, _no_route)
        app.add_exception_handler(Exception, _failed)
        add_pages(app)
        self._add_runs(app)
        add_streams(app, self)
        add_inspection(app, self)
        add_protocol(app, self)
        described(app, self.runs)
        return app

    def _add_runs(self, app: FastAPI) -> None:
        @app.get("/metrics", tags=["service"], response_class=Response)
        async def metrics() -> Response:
            """The service's measures, in Prometheus' text format."""
            for run in self.runs:
                self.metrics.run_ready.labels(run.name).set(run.is_there)
            return Response(self.metrics.text(), media_type=self.metrics.content_type)

        @app.get("/v1/runs", tags=["runs"])
        async def runs() -> dict[str, list[dict[str, Any]]]:
            """The runs that are served."""
            return {"runs": [_description(run) for run in self.runs]}

        @app.get("/v1/runs/{name}", tags=["runs"])
        async def run(name: str) -> dict[str, Any]:
            """One run: its task, what it takes and what it answers."""
            found = self.runs[name]
            _ = found.task  # or it is gone
            return _description(found)

        @app.post("/v1/runs/{name}/predict", tags=["runs"])
        async def predict(name: str, request: Request) -> Response:
            """Answers to inputs; those of several requests that come together are computed together."""
            found = self.runs[name]
            body = await request.body()
            asked = await self.read(body, read_request, found.task, self.options)
            records = await while_present(request, self.answer(found, asked))
            return json_response({"records": records, "version": found.version})

    @contextlib.asynccontextmanager
    async def _lifespan(self, _: FastAPI) -> AsyncIterator[None]:
        for worker in self._workers:
            worker.start()
        for run in self.runs:
            self.metrics.run_loads.labels(run.name).inc()
        watch = asyncio.create_task(self._watch(), name="gatework-runs")
        try:
            yield
        finally:
            self.stopping = True
            watch.cancel()
            await asyncio.gather(watch, return_exceptions=True)
            for worker in self._workers:
                await worker.stop()
            self._executor.shutdown(wait=False, cancel_futures=True)
            self._step_executor.shutdown(wait=False, cancel_futures=True)

    async def _watch(self) -> None:
        """Look at the runs' folders, one after another, for as long as the service is there."""
        while True:
            await asyncio.sleep(self.options.look)
            for run in self.runs:
                before = run.problem
                try:
                    loaded = await asyncio.to_thread(run.refresh)
                except Exception:
                    _log.exception("run %s: its folder cannot be looked at", run.name)
                    continue
                if loaded:
                    self.metrics.run_loads.labels(run.name).inc()
                    _log.warning("run %s: loaded anew from %s", run.name, run.path)
                elif run.problem != before and run.problem:
                    _log.warning("run %s: %s", run.name, run.problem)


def _description(run: ServedRun) -> dict[str, Any]:
    if not run.is_there:
        return {"name": run.name, "ready": False, "problem": run.problem}
    kind = type(run.task)
    return {
        "name": run.name,
        "ready": True,
        "problem": run.problem,
        "task": kind.name,
        "version": run.version,
        "streams": run.task.streams,
        "input": (kind.SentInput or kind.Input).model_json_schema(),
        "settings": settings_model(kind).model_json_schema(),
        "output": record_model(kind).model_json_schema(),
    }


def json_response(value: Any, status: int = 200) -> Response:
    """A value as JSON, without NaN or Infinity, which JSON has not."""
    return Response(json.dumps(value, allow_nan=False), status, media_type="application/json")


async def _refused(_: Request, refusal: Any) -> Response:
    return Response(
        refusal_body(refusal), refusal.status, dict(refusal.headers), media_type="application/json"
    )


async def _no_route(request: Request, error: Any) -> Response:
    sentences = {
        404: f"there is nothing at {request.url.path!r:.100}. GET /docs says what there is.",
        405: f"{request.method:.20} is not what {request.url.path!r:.100} is for. GET /docs says what is.",
    }
    what = sentences.get(error.status_code, str(error.detail))
    body = json.dumps({"error": what}, ensure_ascii=False).encode("utf-8", "replace")
    return Response(body, error.status_code, error.headers, media_type="application/json")


async def _failed(_: Request, error: Exception) -> Response:
    """A fault of the service: the server logs it, and the client is told no more than that."""
    return json_response({"error": "the service failed. Its log says why."}, 500)
