"""What the serving app counts, in a Prometheus registry of its own, or in one that a group of workers shares."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from evermodel.serving.traffic_metrics import TrafficMetrics

# prometheus_client looks at this variable when it is imported: the counters then lie in files of that folder.
GROUP = "PROMETHEUS_MULTIPROC_DIR"
BORN = "born"  # a file in it, as old as the group
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)


class Metrics:
    """Counters of one app; two apps in one process do not share them.

    The workers of one group (`evermodel serve --workers`) count into a folder that they share, and each of them tells
    what all have counted, also those that are gone.
    """

    content_type = CONTENT_TYPE_LATEST

    def __init__(self) -> None:
        self._group = Path(os.environ[GROUP]) if os.environ.get(GROUP) else None
        self._models: list[str] = []
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
            "The version that answers now; with several workers in how many of them.",
            ["model", "version"],
            registry=self.registry,
            multiprocess_mode="livesum",
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
        self.fallbacks = Counter(
            "evermodel_fallback_answers",
            "Requests that a fallback answered in a model's place.",
            ["model", "kind", "reason"],
            registry=self.registry,
        )
        self.breaker = Gauge(
            "evermodel_breaker_open",
            "1 while a version that failed again and again is left alone; with several workers in how many of them.",
            ["model", "version"],
            registry=self.registry,
            multiprocess_mode="livesum",
        )
        self.traffic = TrafficMetrics(self.registry, _SECONDS)

    def expect(self, model: str) -> None:
        """Show a model's counters from the start, at zero."""
        self._models.append(model)
        for counter in (self.swaps, self.load_failures, self.logged):
            counter.labels(model)
        for reason in ("queue_full", "write_failed"):
            self.dropped.labels(model, reason)

    def swapped(self, model: str, before: str | None, now: str) -> None:
        """Record that another version answers."""
        self.swaps.labels(model).inc()
        if before is not None and before != now:
            self._forget(model, before)
        self.info.labels(model, now).set(1)

    def _forget(self, model: str, version: str) -> None:
        if self._group is None:
            self.info.remove(model, version)
        else:  # a file of the group cannot forget
            self.info.labels(model, version).set(0)

    def text(self) -> bytes:
        """Return everything in Prometheus' text format."""
        if self._group is None:
            return bytes(generate_latest(self.registry))
        _bury_the_dead(self._group)
        whole = CollectorRegistry()
        MultiProcessCollector(whole, str(self._group))  # type: ignore[no-untyped-call]
        whole.register(_Birth(self._group, self._models))
        return bytes(generate_latest(whole))


class _Birth:
    """Tells since when a group counts, as the counters of one process do: a restart is then told from a decrease."""

    def __init__(self, group: Path, models: Iterable[str]) -> None:
        self._group = group
        self._models = models

    def collect(self) -> Iterable[Metric]:
        family = GaugeMetricFamily(
            "evermodel_request_seconds_created", "When the workers began to count.", labels=["model"]
        )
        with suppress(OSError):
            born = (self._group / BORN).stat().st_mtime
            for model in self._models:
                family.add_metric([model], born)
        yield family


def _bury_the_dead(group: Path) -> None:
    """Take what a process has in memory out of the sums once it is gone; what it counted stays."""
    for file in group.glob("gauge_live*.db"):
        pid = int(file.stem.rpartition("_")[2])
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            with suppress(FileNotFoundError):
                mark_process_dead(pid, str(group))  # type: ignore[no-untyped-call]
        except PermissionError:
            continue
