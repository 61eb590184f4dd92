"""What Prometheus reads of a service."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

__all__ = ["Metrics"]

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Metrics:
    """The measures of one service, in a registry of its own; `text` is what `/metrics` gives."""

    content_type = "text/plain; version=0.0.4; charset=utf-8"

    def __init__(self) -> None:
        self._registry = CollectorRegistry()

        def counter(name: str, what: str, *labels: str) -> Counter:
            return Counter(f"gatework_{name}", what, labels, registry=self._registry)

        def gauge(name: str, what: str, *labels: str) -> Gauge:
            return Gauge(f"gatework_{name}", what, labels, registry=self._registry)

        def histogram(name: str, what: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
            return Histogram(f"gatework_{name}", what, labels, buckets=buckets, registry=self._registry)

        self.requests = counter("requests", "requests answered", "route", "status")
        self.request_seconds = histogram("request_seconds", "from a request to its answer", _SECONDS, "route")
        self.bodies = gauge("bodies_bytes", "bodies that are being read and answered")
        self.inputs = counter("inputs", "inputs answered", "run")
        self.batch_inputs = histogram("batch_inputs", "inputs answered together", _SIZES, "run")
        self.batch_seconds = histogram("batch_seconds", "computing of a batch", _SECONDS, "run")
        self.waiting = gauge("waiting_inputs", "inputs that wait for their run", "run")
        self.run_loads = counter("run_loads", "times that a run was loaded", "run")
        self.run_ready = gauge("run_ready", "whether a run can answer", "run")
        self.sessions = gauge("sessions", "streams that are open")
        self.put_away = gauge("put_away_bytes", "streams that can be taken up again")
        self.step_streams = histogram("step_streams", "streams stepped together", _SIZES, "run")
        self.step_seconds = histogram("step_seconds", "computing of a step", _SECONDS, "run")
        self.failures = counter("failures", "inputs that a run failed to answer by a fault of its own", "run")

    def text(self) -> bytes:
        """All measures in Prometheus' text format."""
        return generate_latest(self._registry)
