"""Heartbeats of serving processes: identity, loaded versions, and counters."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any


@dataclass(frozen=True)
class VersionCounts:
    """One process's counters of one version under one plan revision.

    Parameters
    ----------
    requests
        Requests to the version, including failed ones.
    errors
        Those that ended in a 5xx or were answered by a fallback because the version failed or was too slow.
    buckets
        Requests at most as long as so many seconds, cumulative, by bound (``+Inf`` last), as Prometheus counts; for a
        version in shadow the time of its call.
    shadows
        Rows that it scored in shadow, including failed ones.
    agreeing
        Rows with the same decision as the returned prediction.
    difference
        Sum of the absolute differences of the scores.
    """

    requests: int = 0
    errors: int = 0
    buckets: dict[str, int] = field(default_factory=dict)
    shadows: int = 0
    shadow_errors: int = 0
    agreeing: int = 0
    difference: float = 0.0


@dataclass(frozen=True)
class InMemory:
    """The changing part of a report: one process's loaded versions and counters of one model.

    Parameters
    ----------
    version
        The champion that answers; None without one.
    since
        Start of answering with ``version`` (ISO 8601, UTC); empty without one.
    engine
        Engine of its predictions, ``onnx`` or ``sklearn``.
    revision
        Revision of the traffic plan in force; 0 without one.
    rollout
        Run key of that plan's rollout; empty without one. Counters restart with each rollout and step.
    counts
        By version, since the start of the plan's step; without a plan since the version's first answer.
    """

    version: str | None
    since: str = ""
    engine: str = ""
    shares: dict[str, float] = field(default_factory=dict)
    revision: int = 0
    rollout: str = ""
    counts: dict[str, VersionCounts] = field(default_factory=dict)


@dataclass(frozen=True)
class ServingReport:
    """The report of one serving process about one model.

    Parameters
    ----------
    instance
        ``<host>-<pid>-<random>``: unique even if the pid is reused.
    environment
        ``EVERMODEL_ENVIRONMENT``, such as ``prod``.
    at
        Time of the report by the clock of its host.
    stopped
        The process shut down; this is its last report.
    number
        Grows with each report of the process: the one with the largest is the newest.

    The other fields are those of `InMemory`.
    """

    model: str
    instance: str
    environment: str
    host: str
    pid: int
    since: str
    at: str
    version: str | None
    shares: dict[str, float] = field(default_factory=dict)
    revision: int = 0
    rollout: str = ""
    counts: dict[str, VersionCounts] = field(default_factory=dict)
    engine: str = ""
    stopped: bool = False
    number: int = 0

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ServingReport:
        """Read back what `to_json` returned; fields of newer releases are ignored."""
        known = {found.name for found in fields(cls)}
        counts = {version: VersionCounts(**found) for version, found in data["counts"].items()}
        return cls(**{**{key: value for key, value in data.items() if key in known}, "counts": counts})


@dataclass(frozen=True)
class Reports:
    """The reports about one model.

    Parameters
    ----------
    live
        Reports of running processes, ordered by host and pid.
    gone
        Reports of ended processes, whose counters still count.
    """

    live: tuple[ServingReport, ...]
    gone: tuple[ServingReport, ...]

    def counts(self, *, rollout: str = "", revision: int | None = None) -> dict[str, VersionCounts]:
        """Add up the counters of all processes by version, including ended processes.

        Parameters
        ----------
        rollout
            Only counters of this rollout; empty: only counters without one.
        revision
            Only counters from this plan revision on; None: any.
        """
        total: dict[str, VersionCounts] = {}
        for report in (*self.live, *self.gone):
            if report.rollout == rollout and (revision is None or report.revision >= revision):
                for version, counted in report.counts.items():
                    total[version] = added(total.get(version, VersionCounts()), counted)
        return total


def added(one: VersionCounts, other: VersionCounts) -> VersionCounts:
    """Return the sum of two counts.

    >>> added(VersionCounts(2, 1, {"+Inf": 2}), VersionCounts(3, 0, {"+Inf": 3})).buckets
    {'+Inf': 5}
    """
    buckets = dict(one.buckets)
    for bound, count in other.buckets.items():
        buckets[bound] = buckets.get(bound, 0) + count
    summed = {
        name: getattr(one, name) + getattr(other, name)
        for name in ("requests", "errors", "shadows", "shadow_errors", "agreeing", "difference")
    }
    return VersionCounts(buckets=buckets, **summed)


def answering(report: ServingReport) -> set[str]:
    """Return the versions that a process has loaded as champion, or that answered requests in it."""
    heard = {
        version
        for version, counted in report.counts.items()
        if counted.requests > counted.errors or counted.shadows > counted.shadow_errors
    }
    return heard | versions_of([report])


def versions_of(reports: Iterable[ServingReport]) -> set[str]:
    """Return the versions that processes have as their champion."""
    return {report.version for report in reports if report.version is not None}
