"""Simulated outages and faults of a served champion, as the looks at the reports of its processes see them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import numpy as np

from evermodel.deployment.serving_watch import ServingWatch
from evermodel.registry.registry_entry import Promotion
from evermodel.registry.serving_heartbeats import ServingReport, VersionCounts
from evermodel.spec.rollout import RollbackSpec

_AT = datetime(2026, 3, 2, tzinfo=UTC)
_PROMOTED = Promotion("7", "6", _AT.isoformat(), "ada", "weekly", "key 7")
HOUR = 3600.0  # seconds
_LOOK, _BEAT = 300.0, 5.0  # seconds
_CALM = 0.002  # share of requests that fail


@dataclass(frozen=True)
class Served:
    """Requests of a model on some hosts, and the share of them that fails while something is wrong.

    Parameters
    ----------
    daily
        Requests of each process a day.
    """

    model: str
    daily: float
    hosts: tuple[str, ...] = ("web-1", "web-2")
    failing: float = 0.0


@dataclass(frozen=True)
class Fault:
    """Something is wrong between two times, in seconds since the promotion; the share grows for `rise` seconds."""

    start: float
    end: float
    rise: float = 0.0

    def part(self, first: float, last: float) -> float:
        """Return the mean part of the fault that is in force between two times."""
        moments = np.linspace(first, last, 21)[1:]
        grown = np.ones(20) if self.rise <= 0 else np.clip((moments - self.start) / self.rise, 0, 1)
        return float((grown * ((moments > self.start) & (moments <= self.end))).mean())


@dataclass
class _Process:
    report: ServingReport
    requests: Served
    phase: float
    seen: float = 0.0
    counts: VersionCounts = field(default_factory=VersionCounts)


def rolled_back(
    models: list[Served], fault: Fault, rng: np.random.Generator, spec: RollbackSpec, hours: float
) -> float | None:
    """Return when the first model is rolled back, in seconds since the fault began; None if it is not.

    Reports are up to 5 seconds old, each process's by another part of it, and looks come every 5 minutes.
    """
    offset = rng.uniform(0, _LOOK)
    processes = [
        _Process(_report(found.model, host), found, rng.uniform(0, _BEAT))
        for found in models
        for host in found.hosts
    ]
    watch = ServingWatch(_PROMOTED.run_key, _PROMOTED.at)
    for number in range(int(hours * 3600 / _LOOK)):
        now = offset + number * _LOOK
        for process in processes:
            _pass(process, now - (now - process.phase) % _BEAT, fault, rng)
        reports = [
            replace(found.report, counts={str(found.report.version): found.counts}) for found in processes
        ]
        watch = watch.look(spec, reports, models[0].model, _PROMOTED, _AT + timedelta(seconds=now + 1))
        if watch.fault(spec) is not None:
            return now - fault.start
    return None


def _report(model: str, host: str) -> ServingReport:
    at = _AT.isoformat()
    return ServingReport(model, f"{host}-{model}", "prod", host, 7, at, at, "7")


def _pass(process: _Process, until: float, fault: Fault, rng: np.random.Generator) -> None:
    requests = int(rng.poisson(process.requests.daily * max(until - process.seen, 0) / 86400))
    share = _CALM + (process.requests.failing - _CALM) * fault.part(process.seen, until) * (
        process.requests.failing > 0
    )
    before, process.seen = process.counts, max(until, process.seen)
    errors = before.errors + int(rng.binomial(requests, share))
    process.counts = VersionCounts(before.requests + requests, errors)
