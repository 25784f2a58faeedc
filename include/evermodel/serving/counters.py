"""Counts of this process by version, since the step of the rollout or the champion began."""

from __future__ import annotations

import math
from bisect import bisect_left
from itertools import accumulate

from evermodel.registry.serving_heartbeats import VersionCounts

# Half a millisecond to eight seconds, each bound 1.4 times the one before: a p99 that doubles is visible.
BOUNDS = tuple(round(0.0005 * 2 ** (k / 2), 6) for k in range(29))
_NAMES = (*(f"{bound:g}" for bound in BOUNDS), "+Inf")


class _Count:
    """The counters of one version; the event loop writes the first three, the shadow's thread the others."""

    __slots__ = ("agreeing", "difference", "errors", "places", "requests", "shadow_errors", "shadows")

    def __init__(self) -> None:
        self.requests = self.errors = 0
        self.places = [0] * len(_NAMES)
        self.shadows = self.shadow_errors = self.agreeing = 0
        self.difference = 0.0

    def frozen(self) -> VersionCounts:
        buckets = dict(zip(_NAMES, accumulate(self.places), strict=True)) if any(self.places) else {}
        return VersionCounts(
            requests=self.requests,
            errors=self.errors,
            buckets=buckets,
            shadows=self.shadows,
            shadow_errors=self.shadow_errors,
            agreeing=self.agreeing,
            difference=self.difference,
        )


class ServingCounters:
    """Counts by version, of one step of a rollout; without a rollout, of one champion.

    Parameters
    ----------
    epoch
        Run key and step of the rollout; without one, an empty string and the champion.
    revision
        Revision of the plan at the first count; 0 without a plan.
    """

    def __init__(self, epoch: tuple[str, str], revision: int) -> None:
        self.epoch = epoch
        self.revision = revision
        self.cap = math.inf
        self.taken = 0
        self._counts: dict[str, _Count] = {}

    def take(self) -> bool:
        """Use one of the answers that the step leaves to the challenger in this process; False if none is left."""
        if self.taken >= self.cap:
            return False
        self.taken += 1
        return True

    def give_back(self) -> None:
        """Undo `take`: the request was incomplete or refused, and got no answer."""
        self.taken -= 1

    def answered(self, version: str, seconds: float, *, failed: bool) -> None:
        """Count a request that was sent to a version.

        Parameters
        ----------
        seconds
            From the last byte of the request to the answer.
        failed
            The status was 5xx, or another version or a fallback answered.
        """
        count = self._of(version)
        count.requests += 1
        count.errors += failed
        count.places[bisect_left(BOUNDS, seconds)] += 1

    def shadowed(
        self, version: str, rows: int, agreeing: int, difference: float, seconds: float | None = None
    ) -> None:
        """Count the rows of a request that a version answered as the shadow.

        Parameters
        ----------
        seconds
            Time of this request; None if it was answered together with others.
        """
        count = self._of(version)
        count.shadows += rows
        count.agreeing += agreeing
        count.difference += difference
        if seconds is not None:
            count.places[bisect_left(BOUNDS, seconds)] += 1

    def shadow_failed(self, version: str, rows: int) -> None:
        """Count the rows of a request that a version failed to answer as the shadow."""
        count = self._of(version)
        count.shadows += rows
        count.shadow_errors += rows

    def counts(self) -> dict[str, VersionCounts]:
        """Return the counts."""
        return {version: count.frozen() for version, count in list(self._counts.items())}

    def _of(self, version: str) -> _Count:
        found = self._counts.get(version)
        # Called by two threads: `setdefault` keeps one of their values.
        return found if found is not None else self._counts.setdefault(version, _Count())
