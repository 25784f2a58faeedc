"""A challenger answers what the champion answered, off the request path and unheard, and the two are compared."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from evermodel.modeling.scoring.batcher import OneThread
from evermodel.modeling.scoring.loaded_version import Answer, ServedModel
from evermodel.modeling.scoring.request_rows import Row
from evermodel.serving.breaker import LogThrottle
from evermodel.serving.counters import ServingCounters
from evermodel.serving.fallback import Answered, as_they_take_them, without_values
from evermodel.serving.prediction_writer import LoggedRequest, PredictionLog, ReturnedAnswer
from evermodel.serving.routing_table import Traffic
from evermodel.serving.traffic_metrics import TrafficMetrics
from evermodel.spec import ModelSpec

_LOG = logging.getLogger(__package__)
# Two values of a regression are the same decision if they differ by no more than this part of the larger one.
CLOSE = 0.05


@dataclass(frozen=True, eq=False)
class _Entry:
    shadow: ServedModel
    tally: ServingCounters
    request_id: str
    at: datetime
    heard: Answered


class Shadows:
    """A bounded queue, and a thread that lets the shadow answer what waits in it.

    A request never waits for it: what finds the queue full is dropped and counted.

    Parameters
    ----------
    log
        Takes the unheard answers.
    capacity
        Most rows that may wait.
    most_rows
        Most rows of one call.
    """

    def __init__(
        self, log: PredictionLog, metrics: TrafficMetrics, *, capacity: int = 5_000, most_rows: int = 500
    ) -> None:
        self._log = log
        self._metrics = metrics
        self._capacity = capacity
        self._most_rows = most_rows
        self._waiting: deque[_Entry] = deque()
        self._rows = 0
        self._wake = threading.Condition()
        self._closing = False
        self._one_thread = OneThread()
        self._seldom = LogThrottle()
        self._thread = threading.Thread(target=self._work, name="shadow", daemon=True)

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def offer(self, traffic: Traffic, request_id: str, heard: Answered) -> None:
        """Queue a request that was answered, for the shadow to answer it, too."""
        shadow = traffic.shadow
        if shadow is None or shadow.version == heard.version:
            return
        rows = len(heard.rows)
        with self._wake:
            room = not self._closing and self._rows + rows <= self._capacity
            if room:
                self._waiting.append(_Entry(shadow, traffic.tally, request_id, datetime.now(UTC), heard))
                self._rows += rows
                self._wake.notify()
        if not room:
            self._metrics.shadows.labels(shadow.name, shadow.version, "dropped").inc(rows)

    def close(self, timeout: float = 5.0) -> None:
        """Answer what waits and end (timeout in seconds); what is left then is nobody's loss."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        if self._thread.is_alive():
            self._thread.join(timeout)

    def _work(self) -> None:
        while True:
            with self._wake:
                self._wake.wait_for(lambda: self._closing or bool(self._waiting))
                if not self._waiting:
                    return
                batch = self._take()
            self._one_thread.keep_for(batch[0].shadow)
            self._answer(batch[:1], alone=True)
            if len(batch) > 1:
                self._answer(batch[1:])
            del batch  # while it waits, the thread keeps no version in memory

    def _take(self) -> list[_Entry]:
        """Take the longest run of entries that one call can answer."""
        first, rows, count = self._waiting[0], 0, 0
        for entry in self._waiting:
            alike = entry.shadow is first.shadow and entry.heard.inputs == first.heard.inputs
            if count and (not alike or rows + len(entry.heard.rows) > self._most_rows):
                break
            rows, count = rows + len(entry.heard.rows), count + 1
        self._rows -= rows
        return [self._waiting.popleft() for _ in range(count)]

    def _answer(self, batch: Sequence[_Entry], *, alone: bool = False) -> None:
        """Answer a batch in one call; only of a request that is answered alone is the time taken known."""
        shadow, inputs = batch[0].shadow, batch[0].heard.inputs
        started = time.perf_counter()
        try:
            heard = [row for entry in batch for row in entry.heard.rows]
            rows = as_they_take_them(inputs, heard, shadow.inputs)
            answers = shadow.predict(rows)
        except Exception as error:  # noqa: BLE001 - what the shadow does is nobody's trouble but its own
            self._fail(batch, error)
            return
        seconds, start = time.perf_counter() - started if alone else None, 0
        for entry in batch:
            end = start + len(entry.heard.rows)
            self._compare(entry, rows[start:end], answers[start:end], seconds)
            start = end

    def _compare(self, entry: _Entry, rows: list[Row], answers: list[Answer], seconds: float | None) -> None:
        shadow, heard = entry.shadow, entry.heard.answers
        pairs = list(zip(heard, answers, strict=True))
        agreeing = sum(agree(shadow.spec, one, other) for one, other in pairs)
        difference = sum(abs(one.score - other.score) for one, other in pairs)
        entry.tally.shadowed(shadow.version, len(rows), agreeing, difference, seconds)
        for outcome, count in (("agreeing", agreeing), ("differing", len(rows) - agreeing)):
            self._metrics.shadows.labels(shadow.name, shadow.version, outcome).inc(count)
        self._log.offer(
            LoggedRequest(
                shadow.name,
                shadow.version,
                entry.request_id,
                entry.at,
                shadow.inputs,
                rows,
                ids=entry.heard.ids,
                scores=[answer.score for answer in answers],
                labels=[answer.label for answer in answers],
                heard=ReturnedAnswer(entry.heard.version, heard),
            )
        )

    def _fail(self, batch: Sequence[_Entry], error: Exception) -> None:
        shadow = batch[0].shadow
        if len(batch) > 1:  # find out whose fault it is
            for entry in batch:
                self._answer([entry])
            return
        rows = len(batch[0].heard.rows)
        batch[0].tally.shadow_failed(shadow.version, rows)
        self._metrics.shadows.labels(shadow.name, shadow.version, "failed").inc(rows)
        times = self._seldom.times((shadow.name, shadow.version, type(error)))
        if times:
            _LOG.warning(
                'event=shadow_failed model=%s version=%s times=%d error="%s"',
                *(shadow.name, shadow.version, times, without_values(error)),
            )


def agree(spec: ModelSpec, one: Answer, other: Answer) -> bool:
    """Tell whether two answers are the same decision.

    Two probabilities are, if both are below or both from the spec's `performance.threshold` on; two classes if they
    are equal; two values if they differ by at most `CLOSE` of the larger one.
    """
    if spec.task == "multiclass":
        return one.label == other.label
    if spec.task == "regression":
        return abs(one.score - other.score) <= CLOSE * max(abs(one.score), abs(other.score))
    threshold = spec.performance.threshold
    return (one.score >= threshold) == (other.score >= threshold)
