"""Looks up the features that a request leaves out, by the keys that it has."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from datetime import UTC, datetime
from functools import cache, lru_cache, partial
from math import nan
from typing import Any, NamedTuple

from evermodel.core.errors import EvermodelError, FeatureStoreError
from evermodel.core.settings import Settings
from evermodel.data.online.part import key_text, part_of, values_of
from evermodel.data.online.store import OnlineStore, open_store
from evermodel.modeling.scoring.request_rows import LOOKED_UP, Inputs, ParsedRows, Row
from evermodel.serving.breaker import LogThrottle
from evermodel.serving.metrics import Metrics
from evermodel.serving.services import ServiceThread
from evermodel.spec import ModelSpec
from evermodel.spec.features import FeatureView

_LOG = logging.getLogger(__package__)
_SECONDS = 1.0  # for which a request waits
_PAUSE = 1.0  # after a failure, before the store is asked again
_MOST_KEYS = 5_000  # in one question
Values = Sequence[float | str | None]


class _Asked(NamedTuple):
    """A request's keys of one view, and where their values go."""

    view: _LookedUpView
    keys: list[str | None]
    found: Future[list[Values]]


class OnlineFeatures(ServiceThread):
    """One thread that asks the store for all waiting requests at once.

    Parameters
    ----------
    specs
        Of the served models; without `features.online` in any, no store is opened.
    clock
        Tells the time, with a zone.
    """

    def __init__(
        self,
        specs: Iterable[ModelSpec],
        settings: Settings,
        metrics: Metrics,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        super().__init__("look-up", patience=5.0)
        self._clock = clock
        self._address = settings.feature_store_url
        self._views = {
            spec.name: [_LookedUpView(spec, view, metrics) for view in spec.feature_views]
            for spec in specs
            if spec.looked_up
        }
        self._waiting: deque[_Asked] = deque()
        self._wake = threading.Condition()
        self._throttle = LogThrottle()
        self._plan = lru_cache(64)(self._planned)

    def start(self) -> None:
        """Start the thread, if a model needs it."""
        if self._views:
            super().start()

    def cancel(self) -> None:
        """Let the thread end after its question."""
        with self._wake:
            super().cancel()
            self._wake.notify()

    async def filled(self, model: str, inputs: Inputs, parsed: ParsedRows) -> ParsedRows:
        """Return the rows with every feature that the request left out.

        Raises
        ------
        FeatureStoreError
            The store does not answer in time, or has no values that are young enough.
        """
        if not any(value is LOOKED_UP for row in parsed.rows for value in row):
            return parsed
        whole = [
            (*r, *c) for r, c in zip(parsed.rows, parsed.context or [()] * len(parsed.rows), strict=True)
        ]
        asked = [
            self._ask(view, [key_text([row[place] for place in places]) for row in whole])
            for view, places in self._plan(model, inputs)
        ]
        values = [dict[str, Any]() for _ in parsed.rows]
        for one in asked:
            for known, of_key in zip(values, await _answer_to(one), strict=True):
                known.update(zip(one.view.features, of_key, strict=True))
        rows = [_completed(inputs, row, known) for row, known in zip(parsed.rows, values, strict=True)]
        return parsed._replace(rows=rows)

    def _ask(self, view: _LookedUpView, keys: list[str | None]) -> _Asked:
        asked = _Asked(view, keys, Future())
        if view.paused:
            asked.found.set_exception(
                FeatureStoreError(f"the feature store failed within the last {_PAUSE:g} s")
            )
            return asked
        with self._wake:
            self._waiting.append(asked)
            self._wake.notify()
        return asked

    def _planned(self, model: str, inputs: Inputs) -> list[tuple[_LookedUpView, list[int]]]:
        """Return the views of a version's features, each with the places of its key in a row and its context."""
        places = {name: len(inputs.names) + place for place, name in enumerate(inputs.context)}
        places |= {name: place for place, name in enumerate(inputs.names)}
        wanted = [v for v in self._views[model] if inputs.looked_up.intersection(v.features)]
        return [(view, [places[name] for name in view.key]) for view in wanted]

    def run(self) -> None:
        """Answer until `cancel`; a failure is that of all who wait."""
        store: OnlineStore | None = None
        while asked := self._take():
            for view in dict.fromkeys(one.view for one in asked):
                of_view = [
                    one for one in asked if one.view is view and one.found.set_running_or_notify_cancel()
                ]
                try:
                    store = store or open_store(self._address)
                    _answer(store, view, of_view, self._clock())
                except Exception as error:  # noqa: BLE001 - told to the requests that wait
                    self._fail(view, of_view, error)

    def _take(self) -> list[_Asked]:
        with self._wake:
            self._wake.wait_for(lambda: self._stopping.is_set() or bool(self._waiting))
            taken, keys = [], 0
            while self._waiting and keys < _MOST_KEYS and not self._stopping.is_set():
                taken.append(self._waiting.popleft())
                keys += len(taken[-1].keys)
            return taken

    def _fail(self, view: _LookedUpView, asked: Sequence[_Asked], error: Exception) -> None:
        view.pause()
        told = error.problem if isinstance(error, EvermodelError) else type(error).__name__
        if times := self._throttle.times((view, told)):
            _LOG.error('event=lookup_failed times=%d error="%s"', times, told)
        for one in asked:
            one.found.set_exception(FeatureStoreError(told))


class _LookedUpView:
    """A view of a served model, and the newest of its parts that was found.

    Parameters
    ----------
    metrics
        Count the requests by how old the values were.
    """

    def __init__(self, spec: ModelSpec, view: FeatureView, metrics: Metrics) -> None:
        assert spec.features.online is not None
        self.key, self.features = view.key, view.features
        self._counters = cache(partial(metrics.lookups.labels, spec.name))
        self._spec, self._view, self._online = spec, view, spec.features.online
        self.without_events = values_of(view, None)
        self._older: datetime | None = None
        self._look_again = 0.0
        self._paused_until = 0.0
        self._part = lru_cache(4)(partial(part_of, spec, view))

    @property
    def paused(self) -> bool:
        """Whether a question has just failed."""
        return time.monotonic() < self._paused_until

    def pause(self) -> None:
        """Ask nothing for a moment."""
        self._paused_until = time.monotonic() + _PAUSE

    def count(self, outcome: str) -> None:
        """Count a request."""
        self._counters(outcome).inc()

    def read(self, store: OnlineStore, keys: Sequence[str], now: datetime) -> dict[str, Values]:
        """Return the values of the newest period that is written; a missing key has had no events."""
        current = self._online.period_at(now)
        for period in self._periods(current, now):
            texts = store.read(self._part(period), keys)
            if texts is None:
                continue
            self._found(period, current)
            return {key: values_of(self._view, text) for key, text in zip(keys, texts, strict=True)}
        oldest = now - self._online.oldest
        raise FeatureStoreError(
            f"model {self._spec.name}: no features ({self._view.name}) of {oldest:%Y-%m-%d %H:%M} UTC or later are written"
        )

    def _found(self, period: datetime, current: datetime) -> None:
        older = None if period == current else period
        if older != self._older or time.monotonic() >= self._look_again:
            self._older, self._look_again = older, time.monotonic() + _PAUSE

    @property
    def outcome(self) -> str:
        """What the last values were: current, or stale."""
        return "current" if self._older is None else "stale"

    def _periods(self, current: datetime, now: datetime) -> Iterable[datetime]:
        """Give the periods to look for, the newest first; for a second the one that was found, alone."""
        if self._older is not None and time.monotonic() < self._look_again:
            yield self._older
        while now - current <= self._online.oldest:
            yield current
            current -= self._online.every


async def _answer_to(asked: _Asked) -> list[Values]:
    try:
        async with asyncio.timeout(_SECONDS):
            return await asyncio.wrap_future(asked.found)
    except TimeoutError:
        asked.view.pause()
        asked.view.count("away")
        raise FeatureStoreError(f"the feature store did not answer within {_SECONDS:g} s") from None
    except FeatureStoreError:
        asked.view.count("away")
        raise


def _answer(store: OnlineStore, view: _LookedUpView, asked: Sequence[_Asked], now: datetime) -> None:
    wanted = list(dict.fromkeys(key for one in asked for key in one.keys if key is not None))
    values: dict[str | None, Values] = {None: view.without_events}
    values.update(view.read(store, wanted, now))
    for one in asked:
        view.count(view.outcome)
        one.found.set_result([values[key] for key in one.keys])


def _completed(inputs: Inputs, row: Row, found: Mapping[str, Any]) -> Row:
    return tuple(
        value if value is not LOOKED_UP else _missing_as(name in inputs.numeric, found[name])
        for name, value in zip(inputs.names, row, strict=True)
    )


def _missing_as(number: bool, value: float | str | None) -> float | str | None:
    """Return a value as a parsed row has it."""
    return nan if number and value is None else value


def without_looked_up(inputs: Inputs, parsed: ParsedRows) -> ParsedRows:
    """Return the rows with missing values in place of what could not be looked up."""
    return parsed._replace(rows=[_completed(inputs, row, dict.fromkeys(inputs.names)) for row in parsed.rows])
