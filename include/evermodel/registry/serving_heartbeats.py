"""Heartbeats of serving processes: identity, loaded versions, and counters."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from evermodel.core.atomic import write_text
from evermodel.core.formats import loads, stamped
from evermodel.core.paths import inside

_LOG = logging.getLogger(__name__)
FRESH = timedelta(seconds=30)  # processes write every few seconds
_KEPT = timedelta(days=30)  # longer than any rollout
_KEPT_EMPTY = timedelta(hours=1)


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
        Time of the report; an old one means that the process has ended.
    stopped
        The process shut down; this is its last report.

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

    def alive(self, now: datetime) -> bool:
        """Return whether the process still writes; clocks of two hosts may differ by some seconds."""
        return not self.stopped and abs(now - datetime.fromisoformat(self.at)) < FRESH

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


def reports_folder(lake: Path, model: str) -> Path:
    """Return the folder of a model's reports."""
    return inside(lake / "serving" / "reports", model)


def write_report(lake: Path, report: ServingReport) -> None:
    """Replace the last report of a process, and record permanently which versions have answered."""
    write_text(
        inside(reports_folder(lake, report.model), f"{report.instance}.json"),
        json.dumps(stamped(report.to_json())),
    )
    for version in _answering(report):
        note = inside(served_folder(lake, report.model), version)
        if not note.exists():
            write_text(note, report.at)


def served_folder(lake: Path, model: str) -> Path:
    """Return the folder with a file for each version that ever answered a request."""
    return inside(lake / "serving" / "served", model)


def read_served(lake: Path, model: str) -> dict[str, datetime]:
    """Return the versions that ever answered a request, with the time of the first report.

    Versions from before these records existed are missing. Unreadable records are omitted.
    """
    found: dict[str, datetime] = {}
    for note in served_folder(lake, model).glob("[!.]*"):
        try:
            found[note.name] = datetime.fromisoformat(note.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            _LOG.warning("the record %s cannot be read: %s", note, error)
    return found


def _answering(report: ServingReport) -> set[str]:
    """Return the versions that a process has loaded as champion, or that answered requests in it."""
    heard = {
        version
        for version, counted in report.counts.items()
        if counted.requests > counted.errors or counted.shadows > counted.shadow_errors
    }
    return heard | versions_of([report])


def read_reports(lake: Path, model: str, now: datetime) -> Reports:
    """Read the reports of a model's serving processes; unreadable files are omitted.

    Parameters
    ----------
    now
        The current time; a running process wrote within the last 30 seconds.
    """
    folder = reports_folder(lake, model)
    found = sorted(
        (report for report in map(_read, folder.glob("*.json")) if report is not None),
        key=lambda report: (report.host, report.pid, report.instance),
    )
    return Reports(
        live=tuple(report for report in found if report.alive(now)),
        gone=tuple(report for report in found if not report.alive(now)),
    )


def clear_reports(lake: Path, model: str, now: datetime) -> int:
    """Delete reports 30 days after the process, an hour after it if it answered nothing; return their number."""
    folder = reports_folder(lake, model)
    old = [
        folder / f"{report.instance}.json"
        for report in read_reports(lake, model, now).gone
        if _old(report, now)
    ]
    left = [file for file in folder.glob(".*.tmp") if _age(file, now) > _KEPT_EMPTY]
    for file in (*old, *left):
        file.unlink(missing_ok=True)
    return len(old) + len(left)


def _old(report: ServingReport, now: datetime) -> bool:
    answered = any(counted.requests or counted.shadows for counted in report.counts.values())
    return now - datetime.fromisoformat(report.at) > (_KEPT if answered else _KEPT_EMPTY)


def _age(file: Path, now: datetime) -> timedelta:
    try:
        return now - datetime.fromtimestamp(file.stat().st_mtime, now.tzinfo)
    except FileNotFoundError:
        return timedelta(0)


def _read(file: Path) -> ServingReport | None:
    try:
        report = ServingReport.from_json(loads(file.read_text(encoding="utf-8"), file))
        if report.instance != file.stem:  # which names the file that is deleted when it expires
            raise ValueError(f"it is of {report.instance[:100]!r}")
        return report
    except FileNotFoundError:
        return None  # deleted meanwhile
    except (OSError, ValueError, KeyError, TypeError) as error:
        _LOG.warning("the report %s cannot be read: %s", file, error)
        return None


def versions_of(reports: Iterable[ServingReport]) -> set[str]:
    """Return the versions that processes have as their champion."""
    return {report.version for report in reports if report.version is not None}
