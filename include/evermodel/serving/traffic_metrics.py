"""Metrics by version: shares, response times, and the answers of the shadow."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import NamedTuple

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram


class LogCounters(NamedTuple):
    """The rows that a log has written and dropped."""

    logged: Counter
    dropped: Counter


class TrafficMetrics:
    """Counters by version.

    Parameters
    ----------
    registry
        The registry that shows them.
    seconds
        Upper bounds of the buckets of response times.
    """

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
