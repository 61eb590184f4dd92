"""Runs as a service: HTTP and WebSocket, batched over requests, within limits that are stated."""

from gatework.serve.options import ServiceOptions

__all__ = ["ServiceOptions"]
