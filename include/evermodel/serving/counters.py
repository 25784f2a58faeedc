"""What this process counted for each version since a step of a rollout, or a champion's time, began."""

from __future__ import annotations

import math
from bisect import bisect_left
from itertools import accumulate

from evermodel.registry.serving_heartbeats import VersionCounts

# Half a millisecond to eight seconds, each bound 1.4 times the one before: fine enough to see a p99 double.
BOUNDS = tuple(round(0.0005 * 2 ** (k / 2), 6) for k in range(29))
_NAMES = (*(f"{bound:g}" for bound in BOUNDS), "+Inf")


class _Count:
    """The counters of one version; the event loop writes the first three, the shadows' thread the others."""

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
    """Counts by version, for as long as one step of one rollout lasts; without a rollout for one champion.

    Parameters
    ----------
    epoch
        What is counted: run key and step of the rollout, or nothing and the champion.
    revision
        The plan's revision when this process began to count; 0 without a plan.
    """

    def __init__(self, epoch: tuple[str, str], revision: int) -> None:
        self.epoch = epoch
        self.revision = revision
        self.cap = math.inf
        self.taken = 0
        self._counts: dict[str, _Count] = {}

    def take(self) -> bool:
        """Take one of the challenger's answers that this step has left for this process; False if none is left."""
        if self.taken >= self.cap:
            return False
        self.taken += 1
        return True

    def give_back(self) -> None:
        """Return what `take` gave: the request got no answer, because it never came whole or was refused."""
        self.taken -= 1

    def answered(self, version: str, seconds: float, *, failed: bool) -> None:
        """Count a request that was sent to a version.

        Parameters
        ----------
        seconds
            From the last byte of the request to the answer.
        failed
            It ended in a 5xx, or something else answered because the version could not.
        """
        count = self._of(version)
        count.requests += 1
        count.errors += failed
        count.places[bisect_left(BOUNDS, seconds)] += 1

    def shadowed(
        self, version: str, rows: int, agreeing: int, difference: float, seconds: float | None = None
    ) -> None:
        """Count the rows of a request that a version answered without being heard.

        Parameters
        ----------
        seconds
            What this request alone took; None if it was answered together with others.
        """
        count = self._of(version)
        count.shadows += rows
        count.agreeing += agreeing
        count.difference += difference
        if seconds is not None:
            count.places[bisect_left(BOUNDS, seconds)] += 1

    def shadow_failed(self, version: str, rows: int) -> None:
        """Count the rows of a request that a version could not answer in the shadow."""
        count = self._of(version)
        count.shadows += rows
        count.shadow_errors += rows

    def counts(self) -> dict[str, VersionCounts]:
        """Return what was counted until now."""
        return {version: count.frozen() for version, count in list(self._counts.items())}

    def _of(self, version: str) -> _Count:
        found = self._counts.get(version)
        # Two threads may meet here: `setdefault` lets one of them win.
        return found if found is not None else self._counts.setdefault(version, _Count())
