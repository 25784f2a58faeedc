"""What is counted by version: shares, response times, and the answers that nobody heard."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram


class LogCounters(NamedTuple):
    """The rows that one log has written, and those that it had to drop."""

    logged: Counter
    dropped: Counter


class TrafficMetrics:
    """Counters by version.

    Parameters
    ----------
    registry
        Where they are shown.
    seconds
        Bounds of the response times.
    """

    def __init__(self, registry: CollectorRegistry, seconds: tuple[float, ...]) -> None:
        self.share = Gauge(
            "evermodel_traffic_share",
            "Share of the requests that a version answers.",
            ["model", "version"],
            registry=registry,
            multiprocess_mode="livemostrecent",
        )
        self.seconds = Histogram(
            "evermodel_version_seconds",
            "Time in which a version answered, from the last byte of the request on.",
            ["model", "version"],
            buckets=seconds,
            registry=registry,
        )
        self.shadows = Counter(
            "evermodel_shadow_rows",
            "Rows answered unheard: agreeing with the answer that was heard, differing, failed or dropped.",
            ["model", "version", "outcome"],
            registry=registry,
        )
        self.shadow_log = LogCounters(
            Counter("evermodel_shadows_logged", "Unheard answers written.", ["model"], registry=registry),
            Counter(
                "evermodel_shadows_dropped",
                "Unheard answers that did not reach their log.",
                ["model", "reason"],
                registry=registry,
            ),
        )
        self._shown: dict[str, set[str]] = {}

    def shared(self, model: str, shares: Mapping[str, float]) -> None:
        """Show the shares of now; a version that had one and has none any more shows 0."""
        shown = self._shown.setdefault(model, set())
        shown.update(shares)
        for version in shown:
            self.share.labels(model, version).set(shares.get(version, 0.0))
