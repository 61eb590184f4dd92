"""The service on a socket: started, and stopped without leaving anything half done."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from types import FrameType
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from gatework.errors import InputError
from gatework.serve.app import Service
from gatework.serve.options import MIB, ServiceOptions
from gatework.serve.runs import ServedRuns

__all__ = ["Server", "serve"]

_log = logging.getLogger("gatework.serve")
_HEADER_BYTES = 1 << 15
_WAITING = 2048  # connections that the system keeps until they are accepted: what uvicorn asks for too
_HEADER_SECONDS = 15.0
_LINES = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(name)s: %(message)s"}},
    "filters": {"refused": {"()": "gatework.serve.server.Refused"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line", "filters": ["refused"]}},
    "loggers": {
        name: {"handlers": ["stderr"], "level": "WARNING", "propagate": False}
        for name in ("uvicorn", "gatework.serve")
    },
}


class Refused(logging.Filter):
    """Leaves out what uvicorn says of each WebSocket that was refused: it is counted, and nobody is to blame here."""

    def filter(self, record: logging.LogRecord) -> bool:
        return "without completing handshake" not in record.msg


class Connection(H11Protocol):
    """A connection that is closed where a request's head is not there in time: nobody holds one with half of it."""

    _overdue: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._overdue = self.loop.call_later(_HEADER_SECONDS, self._close)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        waits = self.cycle is None or self.cycle.response_complete
        if not waits and self._overdue is not None:
            self._overdue.cancel()
            self._overdue = None
        elif waits and self._overdue is None:
            self._overdue = self.loop.call_later(_HEADER_SECONDS, self._close)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._overdue is not None:
            self._overdue.cancel()
        super().connection_lost(exc)

    def _close(self) -> None:
        self._overdue = None
        if not self.transport.is_closing() and self.transport.get_protocol() is self:
            self.transport.close()


class Server(uvicorn.Server):
    """uvicorn's server for a service, which ends itself on SIGTERM and Ctrl-C: what has begun is finished first."""

    def __init__(self, service: Service) -> None:
        options = service.options
        config = uvicorn.Config(
            service.asgi,
            http=Connection,
            ws=WebSocketsSansIOProtocol,
            loop="asyncio",
            lifespan="on",
            log_config=_LINES,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            ws_max_size=int(options.message * MIB),
            ws_per_message_deflate=False,
            limit_concurrency=options.connections,
            h11_max_incomplete_event_size=_HEADER_BYTES,
            timeout_keep_alive=30,
            timeout_graceful_shutdown=round(options.grace),
        )
        super().__init__(config)
        self.service = service

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """While inside, signals stop the server; they are not raised again once it has stopped."""
        in_main = threading.current_thread() is threading.main_thread()  # the only one that signals reach
        known = (signal.SIGINT, signal.SIGTERM) if in_main else ()
        before = {number: signal.signal(number, self.handle_exit) for number in known}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take no more connections, finish what has begun, and end."""
        for server in self.servers:
            server.close()
        await self.service.finish()
        await super().shutdown(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self.force_exit = self.should_exit  # the second time: at once
        self.should_exit = self.service.stopping = True


def serve(
    runs: Sequence[str | os.PathLike[str]],
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    device: str = "cpu",
    options: ServiceOptions | None = None,
    note: Callable[[str], None] = lambda line: print(line, file=sys.stderr, flush=True),
) -> None:
    """Serve runs over HTTP until SIGTERM or Ctrl-C, and finish what has begun.

    Args:
        runs: folders of trained runs, or NAME=FOLDER.
        host, port: where to listen; port 0 is any free one.
        device: where the runs predict: cpu, cuda, cuda:N, mps or auto.
        options: limits; None: the defaults.
        note: is told where it listens, once it does.

    Raises:
        InputError: two runs of one name, or an address at which nobody can listen.
        RunError: a folder is no finished run.
    """
    options = options or ServiceOptions()
    listener = _listener(host, port)
    try:
        service = Service(ServedRuns.load(runs, device), options, host=host)
        _allow_sockets(options.connections)
        where = _address(listener)
        for line in _greeting(service, where, host, options):
            note(line)
        Server(service).run(sockets=[listener])
    finally:
        listener.close()


def _listener(host: str, port: int) -> socket.socket:
    """A socket that listens: before runs are loaded, which takes seconds, it is known whether it can.

    Who connects from now on waits to be served, and is not refused: the address may be said before uvicorn runs.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        # By name: asyncio sends at once (TCP_NODELAY) where it knows the protocol. An answer's head and body would
        # otherwise be apart by the 40 ms that a client waits before it acknowledges the head.
        listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
            listener.listen(_WAITING)
        except BaseException:
            listener.close()
            raise
    except (OSError, OverflowError) as error:
        what = f"nobody can listen there ({error})"
        raise InputError(f"{host}:{port}", what, "Give another --port, or 0 for any that is free.") from error
    return listener


def _allow_sockets(connections: int) -> None:
    """As many open files as connections need, where the system lets us."""
    if sys.platform == "win32":
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + 256
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted, hard), hard))


def _address(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _greeting(service: Service, where: str, host: str, options: ServiceOptions) -> Iterator[str]:
    for run in service.runs:
        yield f"{run.name}: a {run.task.name} from {run.path}"
    if options.token is None and host not in ("127.0.0.1", "localhost", "::1"):
        yield f"note: {host} can be reached from other machines, and no token is asked for."
    yield f"{where} (routes: {where}/docs; Ctrl-C ends it)"
