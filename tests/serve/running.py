"""A service on a real socket, in a thread of the test."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import Iterator

import httpx

from gatework.serve.app import Service
from gatework.serve.server import Server

__all__ = ["PATIENCE", "masked", "raw", "running", "serving", "socket_of"]

PATIENCE = 30.0  # seconds that a start or a stop may take on a machine that does other things


@contextlib.contextmanager
def running(service: Service) -> Iterator[httpx.Client]:
    """A client of the service, which listens while inside, and has ended after it."""
    with serving(service) as (client, _):
        yield client


@contextlib.contextmanager
def serving(service: Service) -> Iterator[tuple[httpx.Client, Server]]:
    """As `running`; and the server."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        server = Server(service)
        thread = threading.Thread(target=lambda: asyncio.run(server.serve([listener])), daemon=True)
        thread.start()
        deadline = time.monotonic() + PATIENCE
        while not server.started and thread.is_alive() and time.monotonic() < deadline:
            time.sleep(0.01)
        assert server.started
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE) as client:
                yield client, server
        finally:
            server.should_exit = service.stopping = True
            thread.join(PATIENCE)
            assert not thread.is_alive(), "the server did not end"


def raw(client: httpx.Client, request: bytes, *, more: bytes = b"", patience: float = PATIENCE) -> bytes:
    """What the server sends back to these bytes, until it closes or says no more."""
    url = client.base_url
    with socket.create_connection((url.host, url.port), timeout=patience) as connection:
        connection.sendall(request)
        with contextlib.suppress(OSError):
            if more:
                connection.sendall(more)
        parts = []
        with contextlib.suppress(OSError):
            while part := connection.recv(65536):
                parts.append(part)
        return b"".join(parts)


def socket_of(client: httpx.Client, run: str) -> socket.socket:
    """A socket on which a WebSocket was opened by hand, and from which nobody reads."""
    url = client.base_url
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    connection.settimeout(PATIENCE)
    connection.connect((url.host, url.port))
    head = f"GET /v1/runs/{run}/stream HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    connection.sendall(f"{head}Sec-WebSocket-Key: {'A' * 22}==\r\nSec-WebSocket-Version: 13\r\n\r\n".encode())
    answer = b""
    while not answer.endswith(b"\r\n\r\n"):
        answer += connection.recv(1)
    assert answer.startswith(b"HTTP/1.1 101"), answer
    return connection


def masked(payload: bytes, opcode: int = 1, *, size: int | None = None, first: int | None = None) -> bytes:
    """A frame of a client (RFC 6455, section 5.2), masked with zeros.

    Args:
        size: what its head says of the payload's bytes; None: the truth.
        first: its first byte; None: the last frame of a message, of `opcode`.
    """
    size = len(payload) if size is None else size
    head = bytes([0x80 | opcode if first is None else first])
    if size < 126:
        head += bytes([0x80 | size])
    elif size < 65536:
        head += bytes([0xFE]) + size.to_bytes(2, "big")
    else:
        head += bytes([0xFF]) + size.to_bytes(8, "big")
    return head + bytes(4) + payload
