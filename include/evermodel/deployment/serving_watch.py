"""The watch on a new champion's errors and response times: what is new since the last look, and the evidence so far."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import delete, insert, select

from evermodel.core.database.schema import open_database
from evermodel.core.database.tables import serving_watches
from evermodel.core.errors import NewerFormatError
from evermodel.core.formats import loads, stamped
from evermodel.registry.registry_entry import Promotion
from evermodel.registry.serving_heartbeats import ServingReport, VersionCounts
from evermodel.spec.rollout import RollbackSpec
from evermodel.stats.histogram import slower_than
from evermodel.stats.sequential import RateDetector

if TYPE_CHECKING:
    from evermodel.registry.serving_reports import ServingReports

RUN_LENGTH = (
    3650.0  # days that a champion at its limits is watched, on average, until it is rolled back wrongly
)
_CHECKS = 2
_TAIL = 0.01  # the part of the requests above a p99
_SKEW = timedelta(minutes=1)  # clocks of two machines
_SHORTEST = timedelta(seconds=1)
_FEWEST_HITS, _UNUSUAL = 3, 3.0  # errors elsewhere, and times their usual rate, that make an outage
_LONGEST_OUTAGE = 1.0  # days
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Counts:
    """Requests, those that failed, and those slower than the model's limit."""

    requests: int = 0
    errors: int = 0
    slow: int = 0

    @classmethod
    def of(cls, counted: VersionCounts, p99_ms: float | None) -> Counts:
        """Reduce the counts of a process."""
        slow = 0 if p99_ms is None else slower_than(counted.buckets, p99_ms / 1000)[0]
        return cls(counted.requests, counted.errors, slow)

    def __add__(self, other: Counts) -> Counts:
        return Counts(self.requests + other.requests, self.errors + other.errors, self.slow + other.slow)

    def since(self, before: Counts) -> Counts:
        """Return what is new; nothing where a process has begun anew."""
        if self.requests < before.requests:
            return Counts()
        new = (self.errors - before.errors, self.slow - before.slow)
        return Counts(self.requests - before.requests, *(max(0, count) for count in new))


@dataclass(frozen=True)
class Elsewhere:
    """Another model, or another version of the watched one.

    Parameters
    ----------
    total
        What its processes have counted.
    usual
        What they counted at usual times.
    days
        How long it has been unusual; after a day that is usual.
    """

    total: Counts = field(default_factory=Counts)
    usual: Counts = field(default_factory=Counts)
    days: float = 0.0

    def look(self, total: Counts, limits: Mapping[str, float], days: float) -> Elsewhere:
        """Return the state after a look."""
        fresh = total.since(self.total)
        if not any(self.unusual(fresh, name, limit) for name, limit in limits.items()):
            return Elsewhere(total, self.usual + fresh)
        if self.days + days > _LONGEST_OUTAGE:
            return Elsewhere(total, fresh)
        return Elsewhere(total, self.usual, self.days + days)

    def unusual(self, fresh: Counts, name: str, limit: float) -> bool:
        """Tell whether new counts have unusually many errors, or slow requests."""
        hits, usual = getattr(fresh, name), getattr(self.usual, name) / max(self.usual.requests, 1)
        return bool(hits >= _FEWEST_HITS and hits > max(limit, _UNUSUAL * usual) * fresh.requests)


@dataclass(frozen=True)
class ServingWatch:
    """The state of a watch at one look.

    Parameters
    ----------
    promotion
        Run key of the promotion.
    at
        When it last looked, ISO 8601.
    own
        The champion's counts by serving process.
    elsewhere
        Other models, and other versions of this one, by name.
    errors, slow
        The evidence that the champion exceeds a limit now.
    errors_since, slow_since
        When this evidence began.
    """

    promotion: str
    at: str
    own: dict[str, Counts] = field(default_factory=dict)
    elsewhere: dict[str, Elsewhere] = field(default_factory=dict)
    errors: RateDetector = field(default_factory=RateDetector)
    slow: RateDetector = field(default_factory=RateDetector)
    errors_since: str = ""
    slow_since: str = ""

    def fault(self, spec: RollbackSpec) -> str | None:
        """Return the limit that the champion exceeds; None if none is proved to be exceeded."""
        if sum(counts.requests for counts in self.own.values()) < spec.min_requests:
            return None
        found, limit = self.errors, spec.error_rate
        if limit is not None and _proved(found, limit):
            return _said(found, f"failed, limit {limit:.2%}", self.errors_since)
        if spec.p99_ms is not None and _proved(self.slow, _TAIL):
            return _said(self.slow, f"took more than {spec.p99_ms:g} ms, limit {_TAIL:.0%}", self.slow_since)
        return None

    def look(
        self,
        spec: RollbackSpec,
        reports: Iterable[ServingReport],
        model: str,
        promotion: Promotion,
        now: datetime,
    ) -> ServingWatch:
        """Return the state after a look at the reports of all models' processes.

        Parameters
        ----------
        model
            Name of the watched model.
        """
        own, hosts, totals = _counted(spec, list(reports), model, promotion)
        by_host: dict[str, Counts] = {}
        for name, counts in own.items():
            fresh = counts.since(self.own.get(name, Counts()))
            by_host[hosts[name]] = by_host.get(hosts[name], Counts()) + fresh
        days = max(now - datetime.fromisoformat(self.at), _SHORTEST) / timedelta(days=1)
        limits = _limits(spec)
        changed: dict[str, Any] = {}
        for name, limit in limits.items():
            if self._outage(totals, name, limit):
                continue
            hits, tries = _without_worst(by_host, name)
            after = getattr(self, name).after(hits, tries, limit, days)
            changed |= {name: after}
            if after.tries <= tries:
                changed |= {f"{name}_since": self.at}
        elsewhere = {
            # At the first look everything is usual.
            name: self.elsewhere.get(name, Elsewhere(total, total)).look(total, limits, days)
            for name, total in totals.items()
        }
        return replace(self, at=now.isoformat(), own=own, elsewhere=elsewhere, **changed)

    def _outage(self, totals: Mapping[str, Counts], name: str, limit: float) -> bool:
        """Tell whether another model, or another version, has unusually many errors at the same time."""
        known = ((self.elsewhere[other], total) for other, total in totals.items() if other in self.elsewhere)
        return any(before.unusual(total.since(before.total), name, limit) for before, total in known)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ServingWatch:
        """Read back what `asdict` made; fields of newer releases are ignored."""
        found = {one.name: data[one.name] for one in fields(cls) if one.name in data}
        found["own"] = {key: Counts(**counts) for key, counts in found["own"].items()}
        found["elsewhere"] = {
            key: Elsewhere(Counts(**other["total"]), Counts(**other["usual"]), other["days"])
            for key, other in found["elsewhere"].items()
        }
        for name in ("errors", "slow"):
            detector = found[name]
            found[name] = RateDetector(tuple(detector["evidence"]), detector["hits"], detector["tries"])
        return cls(**found)


def look(
    spec: RollbackSpec, reports: ServingReports, model: str, promotion: Promotion, now: datetime
) -> ServingWatch:
    """Look at the reports of the serving processes, and store what was seen."""
    everywhere = reports.everywhere(model)
    with open_database(reports.address).writing() as connection:
        text = connection.scalar(select(serving_watches.c.content).where(serving_watches.c.model == model))
        before = None if text is None else _stored(text, model)
        if before is None or before.promotion != promotion.run_key:
            before = ServingWatch(promotion.run_key, promotion.at)
        after = before.look(spec, everywhere, model, promotion, now)
        connection.execute(delete(serving_watches).where(serving_watches.c.model == model))
        row = {"model": model, "content": json.dumps(stamped(asdict(after)))}
        connection.execute(insert(serving_watches).values(row))
    return after


def _stored(text: str, model: str) -> ServingWatch | None:
    """Read a stored watch; None if it is damaged, and then the watch begins anew."""
    try:
        return ServingWatch.from_json(loads(text, f"the watch on {model}"))
    except NewerFormatError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError):
        _log.error("the watch on model %s cannot be read, and begins anew: %.500s", model, text)
        return None


def _counted(
    spec: RollbackSpec, reports: list[ServingReport], model: str, promotion: Promotion
) -> tuple[dict[str, Counts], dict[str, str], dict[str, Counts]]:
    """Return the champion's counts since its promotion by process, the processes' hosts, and the counts elsewhere."""
    began = datetime.fromisoformat(promotion.at) - _SKEW
    own, hosts, elsewhere = {}, {}, dict[str, Counts]()
    for report in reports:
        for version, counted in report.counts.items():
            counts = Counts.of(counted, spec.p99_ms)
            if report.model == model and version == promotion.version:
                if report.version == version and datetime.fromisoformat(report.since) >= began:
                    own[report.instance], hosts[report.instance] = counts, report.host
                continue
            name = f"version {version}" if report.model == model else report.model
            elsewhere[name] = elsewhere.get(name, Counts()) + counts
    return own, hosts, elsewhere


def _without_worst(by_host: Mapping[str, Counts], name: str) -> tuple[int, int]:
    """Return hits and requests; with several hosts without the one with the most hits, which may be the host's fault."""
    found = [(getattr(counts, name), counts.requests) for counts in by_host.values() if counts.requests]
    if len(found) > 1:
        found.remove(max(found))
    return sum(hits for hits, _ in found), sum(tries for _, tries in found)


def _limits(spec: RollbackSpec) -> dict[str, float]:
    """Return the limits that are declared, by the name of what is counted."""
    found = {} if spec.error_rate is None else {"errors": spec.error_rate}
    return found if spec.p99_ms is None else {**found, "slow": _TAIL}


def _proved(found: RateDetector, limit: float) -> bool:
    if limit <= 0:
        return found.hits > 0
    return limit < 1 and found.run_length >= RUN_LENGTH * _CHECKS


def _said(found: RateDetector, what: str, since: str) -> str:
    verb, _, limit = what.partition(",")
    return f"{found.hits:,} of {found.tries:,} requests {verb} ({found.hits / found.tries:.2%}),{limit}, since {since[:16]}"
