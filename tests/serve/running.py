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

__all__ = ["raw", "running"]

PATIENCE = 30.0  # seconds that a start or a stop may take on a machine that does other things


@contextlib.contextmanager
def running(service: Service) -> Iterator[httpx.Client]:
    """A client of the service, which listens while inside, and has ended after it."""
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
                yield client
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
