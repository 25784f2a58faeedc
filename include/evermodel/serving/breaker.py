"""A circuit breaker for versions that fail repeatedly, and a throttle for repeated log lines."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable

FAILURES = 5
PAUSE_SECONDS = 5.0
_LOG_EVERY = 60.0


class Breaker:
    """Counts a version's consecutive failures; after `FAILURES` of them, one request in `PAUSE_SECONDS` tries it."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failures = 0
        self._again_at = 0.0

    @property
    def open(self) -> bool:
        """Tell whether the version gets no requests."""
        return self._failures >= FAILURES

    def lets_through(self) -> bool:
        """Tell whether a request may use the version; an open breaker allows one after each pause."""
        if not self.open:
            return True
        now = self._clock()
        if now < self._again_at:
            return False
        self._again_at = now + PAUSE_SECONDS  # until this request has its result
        return True

    def failed(self) -> bool:
        """Record a failure; return whether it opened the breaker."""
        self._failures += 1
        if self._failures == FAILURES:
            self._again_at = self._clock() + PAUSE_SECONDS
            return True
        return False

    def answered(self) -> bool:
        """Record an answer; return whether it closed the breaker."""
        closed, self._failures = self.open, 0
        return closed


class LogThrottle:
    """Limits log lines about repeated failures: the first at once, then one a minute."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._logged: dict[Hashable, tuple[float, int]] = {}

    def times(self, kind: Hashable) -> int:
        """Count a failure; return how many of its kind to log now, or 0 if it is not to be logged yet."""
        now = self._clock()
        logged_at, count = self._logged.get(kind, (-_LOG_EVERY, 0))
        if now - logged_at < _LOG_EVERY:
            self._logged[kind] = (logged_at, count + 1)
            return 0
        self._logged[kind] = (now, 0)
        return count + 1
