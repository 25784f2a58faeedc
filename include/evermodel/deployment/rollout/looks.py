"""What came between two evaluations of a step: failures come in bursts, so a rise has to be seen in more than one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from scipy.special import bdtrc

from evermodel.registry.serving_heartbeats import VersionCounts

_FEWEST_HITS, _DOUBT = 2, 0.05  # errors of a version that are no chance at the limit
_BROKEN, _FEWEST = 0.5, 20  # share of the requests, and their number, that no burst of one caller brings


@dataclass(frozen=True)
class RolloutLook:
    """Requests, failures and slow answers of the challenger and of the champion since the look before."""

    requests: float = 0
    errors: float = 0
    slow: float = 0
    champion_requests: float = 0
    champion_errors: float = 0

    def outage(self, limit: float) -> bool:
        """Tell whether both versions fail more often than allowed: what both share is no fault of one."""
        return _more(self.errors, self.requests, limit) and _more(
            self.champion_errors, self.champion_requests, limit
        )


def looks_of(totals: Sequence[Mapping[str, float | None]], *, alone: bool = False) -> tuple[RolloutLook, ...]:
    """Return what came between successive evaluations of one step, by their figures.

    Parameters
    ----------
    alone
        Whether the challenger answers everything, so that there is no champion beside it.

    >>> looks = looks_of([{"challenger_requests": 90.0, "challenger_errors": 1.0}, {"challenger_requests": 200.0}])
    >>> [(look.requests, look.errors) for look in looks]
    [(90.0, 1.0), (110.0, 0.0)]
    """
    names = ("requests", "errors", "slow")
    keys = [f"challenger_{name}" for name in names]
    keys += [] if alone else [f"champion_{name}" for name in names[:2]]
    rows = [[one.get(key) or 0.0 for key in keys] for one in totals]
    before = [[0.0] * len(keys), *rows]
    # A process that has gone takes its counts along.
    return tuple(
        RolloutLook(*(max(0.0, new - old) for new, old in zip(row, last, strict=True)))
        for row, last in zip(rows, before, strict=False)
    )


def without_outages(
    looks: Sequence[RolloutLook], new: VersionCounts, old: VersionCounts, limit: float
) -> tuple[VersionCounts, VersionCounts]:
    """Return the requests and errors of both versions without the looks in which both failed."""
    for look in looks:
        if look.outage(limit):
            new = _less(new, look.requests, look.errors)
            old = _less(old, look.champion_requests, look.champion_errors)
    return new, old


def without_the_worst(looks: Sequence[RolloutLook], new: VersionCounts, limit: float) -> VersionCounts:
    """Return the requests and errors without the look that has most of the failures, which one burst may explain.

    Where half of the requests fail, one look is enough.
    """
    known = [look for look in looks if not look.outage(limit)]
    if not known:
        return new
    worst = max(known, key=lambda look: look.errors - limit * look.requests)
    if worst.requests >= _FEWEST and worst.errors >= _BROKEN * worst.requests:
        return new
    return _less(new, worst.requests, worst.errors)


def without_the_slowest(
    looks: Sequence[RolloutLook], slow: float, total: float, tail: float
) -> tuple[float, float]:
    """Return slow answers and all answers without the look that has most of the slow ones."""
    if not looks:
        return slow, total
    worst = max(looks, key=lambda look: look.slow - tail * look.requests)
    if worst.requests >= _FEWEST and worst.slow >= _BROKEN * worst.requests:
        return slow, total
    left = max(total - worst.requests, 0.0)
    return min(max(slow - worst.slow, 0.0), left), left


def _more(hits: float, requests: float, limit: float) -> bool:
    return hits >= _FEWEST_HITS and float(bdtrc(hits - 1, int(requests), limit)) < _DOUBT


def _less(counts: VersionCounts, requests: float, errors: float) -> VersionCounts:
    left = max(counts.requests - int(requests), 0)
    return VersionCounts(left, min(max(counts.errors - int(errors), 0), left), counts.buckets)
