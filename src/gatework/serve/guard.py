"""What is checked of every request before it is read: host, origin, token and size."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hmac
import ipaddress
import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gatework.serve.metrics import Metrics
from gatework.serve.options import MIB, ServiceOptions
from gatework.serve.refusals import BadRequest, Forbidden, Overdue, Refusal, TooLarge, TooMany, Unauthorized

__all__ = ["SUBPROTOCOL", "Guard", "refusal_body"]

SUBPROTOCOL = "gatework"
_TOKEN_PROTOCOL = "gatework.token."  # followed by the token in base64 of the URL alphabet, without its '='

_OPEN = ("/", "/docs")  # without a token: pages without data, and the health of the process
_OPEN_FOLDERS = ("/page/", "/v2/health/")
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_LINGER = 2.0  # seconds in which a body that is too large is thrown away, so that its sender reads the answer


class Guard:
    """An ASGI application around another one, which it hands only what may be answered, bodies read whole.

    - The Host header names this service: a page of a stranger's, whose name was made to resolve to this machine (DNS
      rebinding), names another.
    - The Origin header, where there is one, is the service's own or one of `options.origins`.
    - The token is right, where there is one.
    - The body is no larger than `options.body`, whatever its header says of it, and all bodies together than
      `options.bodies`; it is there within `options.timeout`.
    """

    def __init__(self, app: ASGIApp, options: ServiceOptions, host: str, metrics: Metrics) -> None:
        self._app, self._options, self._metrics = app, options, metrics
        self._hosts = _LOOPBACK | {host.lower()} | {name.lower() for name in options.hosts}
        self._read = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        headers = _headers(scope)
        try:
            self._check(scope, headers)
        except Refusal as refusal:
            if scope["type"] == "http":
                await self._throw_away(
                    receive
                )  # a connection that ends with its body unread is reset, answer and all
            await _refuse(scope, send, refusal)
            return
        if scope["type"] == "websocket":
            await self._app(scope, receive, send)
            return
        try:
            body = await self._read_body(headers, receive)
        except Refusal as refusal:
            await _refuse(scope, send, refusal)
            return
        try:
            await self._app(scope, _replayed(body, receive), send)
        finally:
            self._count(-len(body))

    def _check(self, scope: Scope, headers: Mapping[str, str]) -> None:
        if headers.get("content-encoding", "identity") != "identity":
            raise BadRequest("the body is compressed, which this service does not read. Send it as it is.")
        host = headers.get("host", "")
        if not self._is_own(host):
            what = f"the Host {host!r:.100} is not one of this service's names"
            raise Forbidden(f"{what}. Who runs it may add it: --set hosts=NAME.")
        origin = headers.get("origin")
        of_own = origin is None or origin.partition("://")[2].lower() == host.lower()
        if not of_own and origin not in self._options.origins:
            what = f"the page {origin!r:.100} is of another origin"
            raise Forbidden(f"{what}. Who runs the service may add it: --set origins={origin:.100}.")
        path = scope["path"]
        if self._options.token is None or path in _OPEN or path.startswith(_OPEN_FOLDERS):
            return
        given = _token_of(scope, headers)
        if given is None:
            raise Unauthorized("this service asks for a token: send Authorization: Bearer TOKEN")
        if not hmac.compare_digest(given, self._options.token.encode()):
            raise Unauthorized("the token is not this service's")

    def _is_own(self, host: str) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        if name in self._hosts:
            return True
        try:
            ipaddress.ip_address(name)  # nobody makes a number resolve to another machine
        except ValueError:
            return False
        return True

    async def _read_body(self, headers: Mapping[str, str], receive: Receive) -> bytes:
        parts: list[bytes] = []
        try:
            async with asyncio.timeout(self._options.timeout):
                await self._read_parts(parts, headers.get("content-length", ""), receive)
        except BaseException as error:
            self._count(-sum(map(len, parts)))
            if not isinstance(error, TimeoutError):
                raise
            what = f"the body was not there within {self._options.timeout:g} s"
            raise Overdue(f"{what}. Send it faster, or less of it.") from None
        return b"".join(parts)

    async def _read_parts(self, parts: list[bytes], length: str, receive: Receive) -> None:
        most = int(self._options.body * MIB)
        stated = int(length) if length.isascii() and length.isdigit() and len(length) < 20 else 0
        size, more = 0, True
        while more:
            if max(size, stated) > most:
                await self._throw_away(receive)
                raise TooLarge(f"the body is larger than this service takes, {self._options.body:g} MiB")
            message = await receive()
            if message["type"] == "http.disconnect":
                raise BadRequest("the body ended before its end")
            part, more = message.get("body", b""), message.get("more_body", False)
            size += len(part)
            if size <= most:
                parts.append(part)
                self._count(len(part))
            else:
                more = True

    def _count(self, size: int) -> None:
        """Note bytes that are held.

        Raises:
            TooMany: all bodies together are too large.
        """
        self._read += size
        self._metrics.bodies.set(self._read)
        if size > 0 and self._read > self._options.bodies * MIB:
            raise TooMany("too many requests are being read. Ask again in a moment.")

    async def _throw_away(self, receive: Receive) -> None:
        """Read on for a moment, and keep nothing."""
        try:
            async with asyncio.timeout(_LINGER):
                while (await receive()).get("more_body"):
                    pass
        except TimeoutError:
            return


def _headers(scope: Scope) -> dict[str, str]:
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}


def _token_of(scope: Scope, headers: Mapping[str, str]) -> bytes | None:
    """The token that came: a browser can send none with a WebSocket but as one of its protocols."""
    kind, _, token = headers.get("authorization", "").partition(" ")
    if kind.lower() == "bearer" and token:
        return token.strip().encode("latin-1")
    for protocol in scope.get("subprotocols", ()):
        if protocol.startswith(_TOKEN_PROTOCOL):
            coded = protocol.removeprefix(_TOKEN_PROTOCOL)
            try:
                return base64.urlsafe_b64decode(coded + "=" * (-len(coded) % 4))
            except (binascii.Error, ValueError):
                return b""
    return None


def _replayed(body: bytes, receive: Receive) -> Receive:
    """What gives a body that was read, and then what else comes."""
    given = False

    async def again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


def refusal_body(refusal: Refusal) -> bytes:
    """The JSON that says why."""
    return json.dumps({"error": str(refusal)}, ensure_ascii=False).encode("utf-8", "replace")


async def _refuse(scope: Scope, send: Send, refusal: Refusal) -> None:
    kind = "websocket.http.response" if scope["type"] == "websocket" else "http.response"
    body = refusal_body(refusal)
    headers: list[Any] = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),
        *((name.encode(), value.encode()) for name, value in refusal.headers if name != "connection"),
    ]
    await send({"type": f"{kind}.start", "status": refusal.status, "headers": headers})
    await send({"type": f"{kind}.body", "body": body})
