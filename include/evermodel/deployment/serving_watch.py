"""The watch on a new champion's errors and response times: what is new since the last look, and the evidence so far."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from scipy.special import bdtr, bdtrc
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
_FEWEST_HITS, _UNUSUAL = 2, 3.0  # errors elsewhere, and times their usual rate, that make an outage
_DOUBT = 0.05  # chance of so many, or so few, errors elsewhere
_LONGEST_OUTAGE = 1.0  # days
_LONGEST_WAIT = timedelta(hours=1)  # for requests of others, which tell whether a rise is an outage
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
    waiting
        What is new since the last time that looks were settled.
    active
        Whether it had answered any request by then since the time before.
    """

    total: Counts = field(default_factory=Counts)
    usual: Counts = field(default_factory=Counts)
    days: float = 0.0
    waiting: Counts = field(default_factory=Counts)
    active: bool = False

    def look(self, total: Counts) -> Elsewhere:
        """Return the state after a look."""
        return replace(self, total=total, waiting=self.waiting + total.since(self.total))

    def settled(self, limits: Mapping[str, float], days: float) -> Elsewhere:
        """Return the state after the looks of some days are settled."""
        new, active = self.waiting, self.waiting.requests > 0
        if not any(self.unusual(name, limit) for name, limit in limits.items()):
            return Elsewhere(self.total, self.usual + new, active=active)
        if self.days + days > _LONGEST_OUTAGE:
            return Elsewhere(self.total, new, active=active)
        return Elsewhere(self.total, self.usual, self.days + days, active=active)

    def unusual(self, name: str, limit: float) -> bool:
        """Tell whether what is new has unusually many errors, or slow requests."""
        return _more(getattr(self.waiting, name), self.waiting.requests, self.allowed(name, limit))

    def allowed(self, name: str, limit: float) -> float:
        """Return the largest rate that is not unusual."""
        hits: int = getattr(self.usual, name)
        return max(limit, _UNUSUAL * hits / max(self.usual.requests, 1))


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
    without
        The same evidence without one of several hosts, by ``errors`` or ``slow`` and by host.
    waiting
        What is new by host, until it is settled whether it is an outage; `waiting_since` is when this began, and
        `waiting_looks` how many looks it has lasted.
    """

    promotion: str
    at: str
    own: dict[str, Counts] = field(default_factory=dict)
    elsewhere: dict[str, Elsewhere] = field(default_factory=dict)
    errors: RateDetector = field(default_factory=RateDetector)
    slow: RateDetector = field(default_factory=RateDetector)
    errors_since: str = ""
    slow_since: str = ""
    without: dict[str, dict[str, RateDetector]] = field(default_factory=dict)
    waiting: dict[str, Counts] = field(default_factory=dict)
    waiting_since: str = ""
    waiting_looks: int = 0

    def fault(self, spec: RollbackSpec) -> str | None:
        """Return the limit that the champion exceeds; None if none is proved to be exceeded."""
        if sum(counts.requests for counts in self.own.values()) < spec.min_requests:
            return None
        if spec.error_rate is not None and self._proved("errors", spec.error_rate):
            return _said(self.errors, f"failed, limit {spec.error_rate:.2%}", self.errors_since)
        if spec.p99_ms is not None and self._proved("slow", _TAIL):
            return _said(self.slow, f"took more than {spec.p99_ms:g} ms, limit {_TAIL:.0%}", self.slow_since)
        return None

    def _proved(self, name: str, limit: float) -> bool:
        """Tell whether a limit is exceeded on all hosts together, and without any one of several."""
        hosts = self.without.get(name, {})
        several = hosts.values() if len(hosts) > 1 else ()
        return all(_proved(found, limit) for found in [getattr(self, name), *several])

    def look(
        self,
        spec: RollbackSpec,
        reports: Iterable[ServingReport],
        model: str,
        promotion: Promotion,
        now: datetime,
    ) -> ServingWatch:
        """Return the state after a look at the reports of all models' processes.

        A rise waits until it is settled: the others had their requests in the same time and are well, or they are not,
        and then it is an outage and does not count.

        Parameters
        ----------
        model
            Name of the watched model.
        """
        own, hosts, totals = _counted(spec, list(reports), model, promotion)
        waiting, new = dict(self.waiting), Counts()
        for name, counts in own.items():
            fresh = counts.since(self.own.get(name, Counts()))
            waiting[hosts[name]] = waiting.get(hosts[name], Counts()) + fresh
            new += fresh
        elsewhere = {
            # At the first look everything is usual.
            name: self.elsewhere.get(name, Elsewhere(total, total)).look(total)
            for name, total in totals.items()
        }
        seen = replace(
            self,
            at=now.isoformat(),
            own=own,
            elsewhere=elsewhere,
            waiting=waiting,
            waiting_since=self.waiting_since or self.at,
            waiting_looks=self.waiting_looks + 1,
        )
        return seen._settled(_limits(spec), new)

    def _settled(self, limits: Mapping[str, float], new: Counts) -> ServingWatch:
        """Count what waited, or leave it out as an outage; nothing changes where that is not known yet.

        What cannot be known counts after an hour, unless the rise has passed by then.
        """
        lasted = datetime.fromisoformat(self.at) - datetime.fromisoformat(self.waiting_since)
        outages = {name for name, limit in limits.items() if self._outage(name, limit)}
        unknown = {name for name in limits.keys() - outages if not self._well(name, limits[name])}
        if unknown and lasted < _LONGEST_WAIT:
            return self
        outages |= {name for name in unknown if getattr(new, name) <= limits[name] * new.requests}
        days, changed = max(lasted, _SHORTEST) / timedelta(days=1), dict[str, Any]()
        total, without = self._fresh, dict(self.without)
        for name, limit in limits.items():
            if name in outages:
                continue
            before: RateDetector = getattr(self, name)
            changed[name] = after = before.after(getattr(total, name), total.requests, limit, days)
            if after.tries <= total.requests:
                changed[f"{name}_since"] = self.waiting_since
            known, without[name] = self.without.get(name, {}), {}
            for host, counts in self.waiting.items():
                rest, found = total.since(counts), known.get(host, before)
                without[name][host] = found.after(getattr(rest, name), rest.requests, limit, days)
        return replace(
            self,
            elsewhere={name: other.settled(limits, days) for name, other in self.elsewhere.items()},
            waiting=dict.fromkeys(self.waiting, Counts()),
            waiting_since="",
            waiting_looks=0,
            without=without,
            **changed,
        )

    @property
    def _fresh(self) -> Counts:
        return sum(self.waiting.values(), Counts())

    def _outage(self, name: str, limit: float) -> bool:
        """Tell whether another model, another version, or all of them together have unusually many errors."""
        others = self.elsewhere.values()
        hits, requests = self._others(name)
        allowed = sum(other.waiting.requests * other.allowed(name, limit) for other in others)
        together = _more(hits, requests, allowed / max(requests, 1))
        return together or any(other.unusual(name, limit) for other in others)

    def _well(self, name: str, limit: float) -> bool:
        """Tell whether there is no rise, nobody to compare it with, or proof that the others have not half of it."""
        rate = getattr(self._fresh, name) / max(self._fresh.requests, 1)
        hits, requests = self._others(name)
        if rate <= limit or not (requests or any(other.active for other in self.elsewhere.values())):
            return True
        return self.waiting_looks > 1 and float(bdtr(hits, requests, rate / 2)) < _DOUBT

    def _others(self, name: str) -> tuple[int, int]:
        found = [other.waiting for other in self.elsewhere.values()]
        return sum(getattr(counts, name) for counts in found), sum(counts.requests for counts in found)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ServingWatch:
        """Read back what `asdict` made; fields of newer releases are ignored."""
        found = {one.name: data[one.name] for one in fields(cls) if one.name in data}
        found["own"] = {key: Counts(**counts) for key, counts in found["own"].items()}
        found["elsewhere"] = {
            key: Elsewhere(
                Counts(**other["total"]),
                Counts(**other["usual"]),
                other["days"],
                Counts(**other.get("waiting", {})),
                other.get("active", False),
            )
            for key, other in found["elsewhere"].items()
        }
        found |= {name: _detector(found[name]) for name in ("errors", "slow")}
        found["without"] = {
            name: {host: _detector(one) for host, one in hosts.items()}
            for name, hosts in found.get("without", {}).items()
        }
        found["waiting"] = {host: Counts(**counts) for host, counts in found.get("waiting", {}).items()}
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


def _detector(data: Mapping[str, Any]) -> RateDetector:
    return RateDetector(tuple(data["evidence"]), data["hits"], data["tries"])


def _more(hits: int, tries: int, rate: float) -> bool:
    """Tell whether so many hits are more than chance gives at a rate."""
    return hits >= _FEWEST_HITS and rate < 1 and float(bdtrc(hits - 1, tries, rate)) < _DOUBT


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
