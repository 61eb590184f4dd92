"""WebSockets: what a client sends to its stream, and what is sent back, event by event."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from fastapi import FastAPI, Response, WebSocket
from starlette.websockets import WebSocketDisconnect

from gatework.errors import InputError
from gatework.serve.guard import SUBPROTOCOL, refusal_body
from gatework.serve.options import MIB, ServiceOptions
from gatework.serve.refusals import BadRequest, Idle, Overdue, Refusal, Stopping, TooLarge
from gatework.serve.requests import measure, read_json
from gatework.serve.runs import ServedRun, ServedRuns
from gatework.serve.sessions import AHEAD, Order, Stream, Streams

__all__ = ["add_streams"]

_FULL_SCALE = 32768.0


class Streaming(Protocol):
    """What the route calls: `gatework.serve.app.Service`."""

    runs: ServedRuns
    options: ServiceOptions
    streams: Streams
    stopping: bool

    def wake(self, name: str) -> None: ...


class Left(Exception):
    """The client has gone, or said that it does.

    Attributes:
        for_good: it will not take the stream up again.
    """

    def __init__(self, for_good: bool) -> None:
        super().__init__()
        self.for_good = for_good


def add_streams(app: FastAPI, service: Streaming) -> None:
    """The route of streams.

    A client sends JSON: first `{"open": {"settings": {…}, "token": "…", "rate": …, "watch": true}}`, of which it may
    leave out all; the rate is that of samples; whose stream is watched is told in `gates` events what the layers do at
    each step. Then `{"feed": ITEM}`, `{"finish": true}` where the input has ended, `{"stop": true}`
    to hear no more of the last item, `{"reset": true}` to begin another input, `{"close": true}` to end for good. A
    message of bytes feeds samples of 16 bits, little-endian. It is sent `{"kind": "open", "token": …}`, then the
    session's events, `{"kind": "ready"}` once all is said of an item, and `{"kind": "error", "error": …}` where a
    message was none.
    """

    @app.websocket("/v1/runs/{name}/stream")
    async def stream(websocket: WebSocket, name: str) -> None:
        try:
            if service.stopping:
                raise Stopping("the service is being stopped. Come again in a moment.")
            run = service.runs[name]
            if not run.task.streams:
                what = f"run {name!r}: this {run.task.name} answers whole inputs"
                raise BadRequest(f"{what}. POST them to /v1/runs/{name}/predict.")
            service.streams.admit()
        except Refusal as refusal:
            body = refusal_body(refusal)
            answer = Response(body, refusal.status, dict(refusal.headers), media_type="application/json")
            await websocket.send_denial_response(answer)
            return
        offered = SUBPROTOCOL in websocket.scope.get("subprotocols", ())
        await websocket.accept(SUBPROTOCOL if offered else None)
        try:
            await _served(websocket, run, service)
        except Refusal as refusal:
            await _close(websocket, refusal)
        except (WebSocketDisconnect, Left):
            return


async def _close(websocket: WebSocket, refusal: Refusal) -> None:
    """Say why, in as many bytes as a close frame has room for."""
    reason = str(refusal).encode()[:120].decode("utf-8", "ignore")
    try:
        async with asyncio.timeout(1.0):
            await websocket.send_text(_json({"kind": "error", "error": str(refusal)}))
            await websocket.close(refusal.close_code, reason)
    except (TimeoutError, RuntimeError, WebSocketDisconnect):
        return  # nobody is there to hear it


async def _served(websocket: WebSocket, run: ServedRun, service: Streaming) -> None:
    stream = await _opened(websocket, run, service)
    keep = True
    try:
        tasks = [
            asyncio.create_task(_read(websocket, stream, service)),
            asyncio.create_task(_write(websocket, stream, service)),
        ]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in tasks:
                each.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        for each in done:
            each.result()
    except Left as left:
        keep = not left.for_good
        raise
    except Refusal as refusal:
        keep = refusal.status != 500
        raise
    finally:
        await service.streams.close(stream, keep=keep)


async def _opened(websocket: WebSocket, run: ServedRun, service: Streaming) -> Stream:
    try:
        async with asyncio.timeout(service.options.timeout):
            message = await _message(websocket)
    except TimeoutError:
        raise Overdue("nothing was sent. Begin with an open message.") from None
    given = _object(message)
    opening = given.get("open")
    if given.keys() != {"open"} or not isinstance(opening, dict):
        raise BadRequest('the first message is not {"open": {}}')
    settings, token, rate = opening.get("settings") or {}, opening.get("token"), opening.get("rate")
    if not opening.keys() <= {"settings", "token", "rate", "watch"} or not isinstance(settings, dict):
        known = '{"settings": {…}, "token": "…", "rate": …, "watch": true}'
        raise BadRequest(f"open: it is not like {known}, each if need be")
    watch = opening.get("watch", False)
    if not isinstance(watch, bool):
        raise BadRequest("open: watch is neither true nor false")
    if rate is not None and type(rate) is not int:
        raise BadRequest("open: the rate is no number of samples a second")
    if token is not None and not isinstance(token, str):
        raise BadRequest("open: the token is no text")
    stream = await service.streams.open(run, settings, token, rate)
    stream.watched = watch
    opened = {"kind": "open", "token": stream.token, "run": run.name, "version": run.version}
    stream.events.appendleft(opened)
    if not stream.speaks:
        stream.say({"kind": "ready"})
    stream.said.set()
    service.wake(run.name)
    return stream


async def _read(websocket: WebSocket, stream: Stream, service: Streaming) -> None:
    """Take a client's orders, until it leaves or is idle for too long."""
    while True:
        while len(stream.events) >= AHEAD:  # it sends and does not read
            stream.room.clear()
            await stream.room.wait()
        try:
            async with asyncio.timeout(service.options.idle):
                message = await _message(websocket)
        except TimeoutError:
            if stream.is_idle:
                raise Idle("nothing was sent for long. The token takes the stream up again.") from None
            continue
        try:
            order = _order(message, stream, service.options)
        except Refusal as refusal:
            stream.say({"kind": "error", "error": str(refusal)})
            continue
        if order.what == "stop":
            stream.quiet = True
            stream.say({"kind": "ready"})
        elif order.what == "close":
            raise Left(for_good=True)
        else:
            await stream.orders.put(order)
            service.wake(stream.name)


async def _write(websocket: WebSocket, stream: Stream, service: Streaming) -> None:
    """Send what is said, and in the end why there is no more."""
    while True:
        await stream.said.wait()
        stream.said.clear()
        while stream.events:
            try:
                async with asyncio.timeout(service.options.timeout):
                    await websocket.send_text(_json(stream.events[0]))
            except TimeoutError:
                raise Overdue(
                    "what was said was not read in time. The token takes the stream up again."
                ) from None
            except (RuntimeError, WebSocketDisconnect):
                raise Left(for_good=False) from None
            stream.events.popleft()
            stream.room.set()
            if len(stream.events) == AHEAD - 1:
                service.wake(stream.name)
        service.wake(stream.name)
        if stream.problem is not None:
            raise stream.problem


async def _message(websocket: WebSocket) -> str | bytes:
    message = await websocket.receive()
    if message["type"] == "websocket.disconnect":
        raise Left(for_good=False)
    text = message.get("text")
    return message["bytes"] if text is None else text


def _object(message: str | bytes) -> dict[str, Any]:
    if isinstance(message, bytes):
        raise BadRequest("a message of bytes is none here: send JSON")
    given = read_json(message.encode("utf-8", "surrogatepass"))
    if not isinstance(given, dict):
        raise BadRequest('a message is an object, such as {"feed": …}')
    return given


def _order(message: str | bytes, stream: Stream, options: ServiceOptions) -> Order:
    """What a message asks.

    Raises:
        BadRequest: nothing, or something wrong.
        TooLarge: the input is too long.
    """
    stream.fed += len(message)
    if stream.fed > options.fed * MIB:
        raise TooLarge(f"more than {options.fed:g} MiB were sent for one input. Begin another one: reset.")
    if isinstance(message, bytes):
        return _feed(_samples(message), stream)
    given = _object(message)
    (what,) = given if len(given) == 1 else ("",)
    if what == "feed":
        measure(given["feed"], options, "feed")
        return _feed(given["feed"], stream)
    if what not in ("finish", "reset", "stop", "close") or given[what] is not True:
        raise BadRequest('a message is {"feed": …}, or one of finish, reset, stop, close with true')
    if what in ("reset", "finish"):
        stream.fed = 0
    return Order(what)


def _feed(item: Any, stream: Stream) -> Order:
    try:
        stream.session.check(item)
    except InputError as error:
        raise BadRequest(f"feed: {error}") from None
    return Order("feed", item)


def _samples(message: bytes) -> np.ndarray:
    if len(message) % 2:
        raise BadRequest("samples have two bytes each, and these are an odd number")
    return np.frombuffer(message, "<i2").astype(np.float32) / _FULL_SCALE


def _json(event: Mapping[str, Any]) -> str:
    return json.dumps(event, allow_nan=False)
