"""What the serving app counts, in a Prometheus registry of its own."""

from __future__ import annotations

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)

from evermodel.serving.traffic_metrics import TrafficMetrics

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)


class Metrics:
    """Counters of one app; two apps in one process do not share them."""

    content_type = CONTENT_TYPE_LATEST

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "evermodel_requests",
            "Prediction requests.",
            ["model", "version", "status"],
            registry=self.registry,
        )
        self.seconds = Histogram(
            "evermodel_request_seconds",
            "Time of one prediction request.",
            ["model"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.info = Gauge(
            "evermodel_model_info",
            "The version that answers now.",
            ["model", "version"],
            registry=self.registry,
        )
        self.swaps = Counter("evermodel_swaps", "Versions put to work.", ["model"], registry=self.registry)
        self.load_failures = Counter(
            "evermodel_load_failures",
            "Failed looks at the registry and failed loads.",
            ["model"],
            registry=self.registry,
        )
        self.logged = Counter(
            "evermodel_predictions_logged",
            "Predictions written to the log.",
            ["model"],
            registry=self.registry,
        )
        self.dropped = Counter(
            "evermodel_predictions_dropped",
            "Predictions that did not reach the log.",
            ["model", "reason"],
            registry=self.registry,
        )
        self.traffic = TrafficMetrics(self.registry, _SECONDS)

    def expect(self, model: str) -> None:
        """Show a model's counters from the start, at zero."""
        for counter in (self.swaps, self.load_failures, self.logged):
            counter.labels(model)
        for reason in ("queue_full", "write_failed"):
            self.dropped.labels(model, reason)

    def swapped(self, model: str, before: str | None, now: str) -> None:
        """Record that another version answers."""
        self.swaps.labels(model).inc()
        if before is not None and before != now:
            self.info.remove(model, before)
        self.info.labels(model, now).set(1)

    def text(self) -> bytes:
        """Return everything in Prometheus' text format."""
        return bytes(generate_latest(self.registry))
