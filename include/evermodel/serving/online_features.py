"""Looks up the features that a request leaves out, by the keys that it has."""

from __future__ import annotations

import asyncio
import logging
import time
from asyncio import Future
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache, lru_cache, partial
from math import nan
from typing import Any, NamedTuple

from evermodel.core.errors import EvermodelError, FeatureStoreError
from evermodel.core.settings import Settings
from evermodel.data.online.part import key_text, part_of, values_of
from evermodel.data.online.store import AsyncStore, open_async_store
from evermodel.modeling.scoring.request_rows import LOOKED_UP, Inputs, ParsedRows, Row
from evermodel.serving.breaker import LogThrottle
from evermodel.serving.metrics import Metrics
from evermodel.spec import ModelSpec
from evermodel.spec.features import FeatureView

_LOG = logging.getLogger(__package__)
_SECONDS = 0.5  # of one question: a request may have to wait for the one that is under way, too
_LONGEST_WAIT = 2 * _SECONDS
_PAUSE = 1.0  # after a failure, before the store is asked again
_MOST_KEYS = 5_000  # in one question
Values = Sequence[float | str | None]
Found = list[Values] | FeatureStoreError


class _Asked(NamedTuple):
    """A request's keys of one view, and where their values go."""

    keys: list[str | None]
    found: Future[Found]


class OnlineFeatures:
    """Asks the store on the event loop, once for all the requests that came since the last question.

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
        self._clock = clock
        self._address = settings.feature_store_url
        self._views = {
            spec.name: [_LookedUpView(spec, view, metrics) for view in spec.feature_views]
            for spec in specs
            if spec.looked_up
        }
        self._loop: asyncio.AbstractEventLoop | None = None
        self._store: AsyncStore | None = None
        self._throttle = LogThrottle()
        self._plan = lru_cache(64)(self._planned)

    def start(self) -> None:
        """Nothing to do before the first request."""

    def stop(self) -> None:
        """Close the store; called from another thread."""
        if self._store is not None and self._loop is not None and self._loop.is_running():
            asyncio.run_coroutine_threadsafe(self._store.close(), self._loop).result(_SECONDS)

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
            (view, self._ask(view, [key_text([row[place] for place in places]) for row in whole]))
            for view, places in self._plan(model, inputs)
        ]
        values = [dict[str, Any]() for _ in parsed.rows]
        for view, answer in asked:
            found = await _in_time(answer)
            if isinstance(found, FeatureStoreError):
                view.count("away")
                raise found
            for known, of_key in zip(values, found, strict=True):
                known.update(zip(view.features, of_key, strict=True))
        rows = [_completed(inputs, row, known) for row, known in zip(parsed.rows, values, strict=True)]
        return parsed._replace(rows=rows)

    def _ask(self, view: _LookedUpView, keys: list[str | None]) -> Future[Found]:
        found: Future[Found] = asyncio.get_running_loop().create_future()
        if view.paused:
            found.set_result(FeatureStoreError(f"the feature store failed within the last {_PAUSE:g} s"))
            return found
        view.waiting.append(_Asked(keys, found))
        if view.asking is None:
            view.asking = asyncio.create_task(self._answer(view))
        return found

    def _planned(self, model: str, inputs: Inputs) -> list[tuple[_LookedUpView, list[int]]]:
        """Return the views of a version's features, each with the places of its key in a row and its context."""
        places = {name: len(inputs.names) + place for place, name in enumerate(inputs.context)}
        places |= {name: place for place, name in enumerate(inputs.names)}
        wanted = [v for v in self._views[model] if inputs.looked_up.intersection(v.features)]
        return [(view, [places[name] for name in view.key]) for view in wanted]

    async def _answer(self, view: _LookedUpView) -> None:
        """Answer all who wait, those too who come meanwhile; a failure is that of all of them."""
        try:
            while asked := view.take():
                values = await self._read(view, [key for one in asked for key in one.keys])
                for one in asked:
                    view.count(view.outcome)
                    if not one.found.done():  # its caller may have gone
                        one.found.set_result([values[key] for key in one.keys])
        except Exception as error:  # noqa: BLE001 - told to the requests that wait
            self._fail(view, [*asked, *view.waiting], error)
            view.waiting.clear()
        finally:
            view.asking = None

    async def _read(self, view: _LookedUpView, keys: Iterable[str | None]) -> dict[str | None, Values]:
        values: dict[str | None, Values] = {None: view.without_events}
        wanted = [key for key in dict.fromkeys(keys) if key is not None]
        try:
            async with asyncio.timeout(_SECONDS):
                if self._store is None:
                    self._store, self._loop = open_async_store(self._address), asyncio.get_running_loop()
                values.update(await view.read(self._store, wanted, self._clock()))
        except TimeoutError:
            raise FeatureStoreError(f"the feature store did not answer within {_SECONDS:g} s") from None
        return values

    def _fail(self, view: _LookedUpView, asked: Sequence[_Asked], error: Exception) -> None:
        view.pause()
        told = error.problem if isinstance(error, EvermodelError) else type(error).__name__
        if times := self._throttle.times((view, told)):
            _LOG.error('event=lookup_failed times=%d error="%s"', times, told)
        for one in asked:
            if not one.found.done():
                one.found.set_result(FeatureStoreError(told))


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
        self.waiting: deque[_Asked] = deque()
        self.asking: asyncio.Task[None] | None = None

    def take(self) -> list[_Asked]:
        """Return the next requests to answer, as many as one question may ask for."""
        taken, keys = [], 0
        while self.waiting and keys < _MOST_KEYS:
            taken.append(self.waiting.popleft())
            keys += len(taken[-1].keys)
        return taken

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

    async def read(self, store: AsyncStore, keys: Sequence[str], now: datetime) -> dict[str, Values]:
        """Return the values of the newest period that is written; a missing key has had no events."""
        current = self._online.period_at(now)
        for period in self._periods(current, now):
            texts = await store.read(self._part(period), keys)
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


async def _in_time(answer: Future[Found]) -> Found:
    """Wait for an answer, also where many requests came before."""
    try:
        async with asyncio.timeout(_LONGEST_WAIT):
            return await answer
    except TimeoutError:
        return FeatureStoreError(f"the feature store did not answer within {_LONGEST_WAIT:g} s")


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
