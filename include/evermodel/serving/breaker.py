"""A model that fails again and again is left alone for a moment, and trouble that repeats itself is told once."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable

FAILURES = 5
PAUSE_SECONDS = 5.0
_TOLD_EVERY = 60.0


class Breaker:
    """Counts a version's failures in a row; after `FAILURES` of them only one request in `PAUSE_SECONDS` tries it.

    Parameters
    ----------
    clock
        Gives the time in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failures = 0
        self._again_at = 0.0

    @property
    def open(self) -> bool:
        """Tell whether the model is being left alone."""
        return self._failures >= FAILURES

    def lets_through(self) -> bool:
        """Tell whether a request may ask the model; once in a while one may although it failed before."""
        if not self.open:
            return True
        now = self._clock()
        if now < self._again_at:
            return False
        self._again_at = now + PAUSE_SECONDS  # the others wait for what this one finds
        return True

    def failed(self) -> bool:
        """Note a failure; tell whether it opened the breaker."""
        self._failures += 1
        if self._failures == FAILURES:
            self._again_at = self._clock() + PAUSE_SECONDS
            return True
        return False

    def answered(self) -> bool:
        """Note an answer; tell whether it closed the breaker."""
        closed, self._failures = self.open, 0
        return closed


class LogThrottle:
    """Tells when to write about trouble that repeats itself: at once, and then once a minute.

    Parameters
    ----------
    clock
        Gives the time in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._kinds: dict[Hashable, tuple[float, int]] = {}

    def times(self, kind: Hashable) -> int:
        """Count one of a kind; return how often it happened since it was told last, or 0 when it is not its time."""
        now = self._clock()
        told_at, count = self._kinds.get(kind, (-_TOLD_EVERY, 0))
        if now - told_at < _TOLD_EVERY:
            self._kinds[kind] = (told_at, count + 1)
            return 0
        self._kinds[kind] = (now, 0)
        return count + 1
