"""The metrics of the serving app, in a Prometheus registry of its own or in one that a group of workers shares."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import cache, partial
from pathlib import Path
from typing import NamedTuple

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


class LogCounters(NamedTuple):
    """The rows that a log has written and dropped."""

    logged: Counter
    dropped: Counter


class TrafficMetrics:
    """Counters by version."""

    def __init__(self, registry: CollectorRegistry, seconds: tuple[float, ...]) -> None:
        self.share = Gauge(
            "evermodel_traffic_share",
            "Share of the requests sent to a version.",
            ["model", "version"],
            registry=registry,
            multiprocess_mode="livemostrecent",
        )
        self.seconds = Histogram(
            "evermodel_version_seconds",
            "Response time of a version, from the last byte of the request.",
            ["model", "version"],
            buckets=seconds,
            registry=registry,
        )
        counter = partial(Counter, registry=registry)
        self.shadows = counter(
            "evermodel_shadow_rows",
            "Rows sent to the shadow: agreeing with the answer that was returned, differing, failed or dropped.",
            ["model", "version", "outcome"],
        )
        self.shadow_log = LogCounters(
            counter("evermodel_shadows_logged", "Answers of the shadow written to its log.", ["model"]),
            counter(
                "evermodel_shadows_dropped",
                "Answers of the shadow that did not reach its log.",
                ["model", "reason"],
            ),
        )
        self._shown: dict[str, set[str]] = {}

    def shared(self, model: str, shares: Mapping[str, float]) -> None:
        """Show the current shares; a version that no longer has one shows 0."""
        shown = self._shown.setdefault(model, set())
        shown.update(shares)
        for version in shown:
            self.share.labels(model, version).set(shares.get(version, 0.0))


# prometheus_client reads this variable at import, and then keeps its counters in files of that folder.
GROUP = "PROMETHEUS_MULTIPROC_DIR"
BORN = "born"  # a file in it, as old as the group
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)


class Metrics:
    """The metrics of one app; two apps in one process do not share them.

    The workers of one group (`evermodel serve --workers`) share a folder of counters; each shows the sums over all
    workers, those that have ended included.
    """

    content_type = CONTENT_TYPE_LATEST

    def __init__(self) -> None:
        self._group = Path(os.environ[GROUP]) if os.environ.get(GROUP) else None
        self._models: list[str] = []
        self.registry = CollectorRegistry()
        counter = partial(Counter, registry=self.registry)
        by_worker = partial(Gauge, registry=self.registry, multiprocess_mode="livesum")
        model, version = "model", "version"
        self.requests = counter("evermodel_requests", "Prediction requests.", [model, version, "status"])
        self.seconds = Histogram(
            "evermodel_request_seconds",
            "Time of one prediction request, from the end of its head to the answer.",
            [model],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.info = by_worker(
            "evermodel_model_info",
            "1 for the champion that is loaded; with several workers, the number of workers.",
            [model, version],
        )
        self.swaps = counter("evermodel_swaps", "Changes of the loaded champion.", [model])
        self.load_failures = counter(
            "evermodel_load_failures", "Failed reads of the registry and failed loads of versions.", [model]
        )
        self.logged = counter("evermodel_predictions_logged", "Predictions written to the log.", [model])
        self.dropped = counter(
            "evermodel_predictions_dropped", "Predictions that did not reach the log.", [model, "reason"]
        )
        self.fallbacks = counter(
            "evermodel_fallback_answers", "Requests answered by a fallback.", [model, "kind", "reason"]
        )
        self.breaker = by_worker(
            "evermodel_breaker_open",
            "1 while a version gets no requests because it failed repeatedly; with several workers, their number.",
            [model, version],
        )
        self.lookups = counter(
            "evermodel_feature_lookups",
            "Requests whose features were looked up: current, stale, or away (the store, or values young enough).",
            [model, "outcome"],
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
        """Record a change of the champion."""
        self.swaps.labels(model).inc()
        if before is not None and before != now:
            self._forget(model, before)
        self.info.labels(model, now).set(1)

    def _forget(self, model: str, version: str) -> None:
        if self._group is None:
            self.info.remove(model, version)
        else:  # nothing can be removed from the files of a group
            self.info.labels(model, version).set(0)

    def text(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        if self._group is None:
            return bytes(generate_latest(self.registry))
        _remove_ended(self._group)
        group = CollectorRegistry()
        MultiProcessCollector(group, str(self._group))  # type: ignore[no-untyped-call]
        group.register(_GroupCreated(self._group, self._models))
        return bytes(generate_latest(group))


class RequestMetrics:
    """The metrics of a request; looking one up by its labels would cost more than the counting."""

    def __init__(self, metrics: Metrics) -> None:
        self.requests = cache(metrics.requests.labels)
        self.seconds = cache(metrics.seconds.labels)
        self.version_seconds = cache(metrics.traffic.seconds.labels)


class _GroupCreated:
    """Shows since when a group counts, as counters of one process do, so that a restart is no decrease."""

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


def _remove_ended(group: Path) -> None:
    """Remove the gauges of processes that have ended; their counters stay."""
    for file in group.glob("gauge_live*.db"):
        pid = int(file.stem.rpartition("_")[2])
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            with suppress(FileNotFoundError):
                mark_process_dead(pid, str(group))  # type: ignore[no-untyped-call]
        except PermissionError:
            continue
