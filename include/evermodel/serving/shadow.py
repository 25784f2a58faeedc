"""The shadow: a challenger answers what the champion answered, off the request path, and the two are compared."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from evermodel.modeling.scoring.batcher import OneThread
from evermodel.modeling.scoring.loaded_version import Answer, ServedModel
from evermodel.modeling.scoring.request_rows import Row
from evermodel.serving.breaker import LogThrottle
from evermodel.serving.counters import ServingCounters
from evermodel.serving.fallback import Answered, reordered, without_values
from evermodel.serving.metrics import TrafficMetrics
from evermodel.serving.prediction_writer import LoggedRequest, PredictionLog, ReturnedAnswer
from evermodel.serving.routing_table import Traffic
from evermodel.serving.services import QueueThread
from evermodel.spec import ModelSpec

_LOG = logging.getLogger(__package__)
# Two values of a regression are the same decision if they differ by no more than this part of the larger one.
CLOSE = 0.05


@dataclass(frozen=True, eq=False)
class _Entry:
    shadow: ServedModel
    counters: ServingCounters
    request_id: str
    at: datetime
    returned: Answered


class Shadows(QueueThread[_Entry]):
    """A bounded queue, and a thread in which the shadow answers the requests in it.

    A request never waits for the shadow: when the queue is full, its rows are dropped and counted.

    Parameters
    ----------
    capacity
        Most rows in the queue.
    """

    def __init__(
        self, log: PredictionLog, metrics: TrafficMetrics, *, capacity: int = 5_000, most_rows: int = 500
    ) -> None:
        super().__init__("shadow", 5.0, capacity)
        self._log = log
        self._metrics = metrics
        self._most_rows = most_rows
        self._one_thread = OneThread()
        self._throttle = LogThrottle()

    def offer(self, traffic: Traffic, request_id: str, returned: Answered) -> None:
        """Queue an answered request, for the shadow to answer it too."""
        shadow, rows = traffic.shadow, len(returned.rows)
        if shadow is None or shadow.version == returned.version:
            return
        entry = _Entry(shadow, traffic.counters, request_id, datetime.now(UTC), returned)
        if not self.put(entry, rows):
            self._metrics.shadows.labels(shadow.name, shadow.version, "dropped").inc(rows)

    def run(self) -> None:
        """Answer until the queue is closed and empty."""
        while batch := self.take(count=self._one_call):
            self._one_thread.keep_for(batch[0].shadow)
            self._answer(batch[:1], alone=True)
            if len(batch) > 1:
                self._answer(batch[1:])
            del batch  # while it waits, the thread keeps no version in memory

    def _one_call(self, entries: Sequence[tuple[_Entry, int]]) -> int:
        """Return how many of the first entries one call can answer."""
        total = 0
        for count, (entry, rows) in enumerate(entries):
            first, total = entries[0][0], total + rows
            alike = entry.shadow is first.shadow and entry.returned.inputs == first.returned.inputs
            if count and (not alike or total > self._most_rows):
                return count
        return len(entries)

    def _answer(self, batch: Sequence[_Entry], *, alone: bool = False) -> None:
        """Answer a batch in one call; the time is known only of a request that is answered alone."""
        shadow, inputs = batch[0].shadow, batch[0].returned.inputs
        started = time.perf_counter()
        try:
            rows = reordered(inputs, [row for entry in batch for row in entry.returned.rows], shadow.inputs)
            answers = shadow.predict(rows)
        except Exception as error:  # noqa: BLE001 - a failure of the shadow concerns no request
            self._fail(batch, error)
            return
        seconds, start = time.perf_counter() - started if alone else None, 0
        for entry in batch:
            end = start + len(entry.returned.rows)
            self._compare(entry, rows[start:end], answers[start:end], seconds)
            start = end

    def _compare(self, entry: _Entry, rows: list[Row], answers: list[Answer], seconds: float | None) -> None:
        shadow, returned = entry.shadow, entry.returned.answers
        pairs = list(zip(returned, answers, strict=True))
        agreeing = sum(agree(shadow.spec, one, other) for one, other in pairs)
        difference = sum(abs(one.score - other.score) for one, other in pairs)
        entry.counters.shadowed(shadow.version, len(rows), agreeing, difference, seconds)
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
                ids=entry.returned.ids,
                scores=[answer.score for answer in answers],
                labels=[answer.predicted for answer in answers],
                context=entry.returned.context,
                returned_to_caller=ReturnedAnswer(entry.returned.version, returned),
            )
        )

    def _fail(self, batch: Sequence[_Entry], error: Exception) -> None:
        shadow = batch[0].shadow
        if len(batch) > 1:  # find the request that fails
            for entry in batch:
                self._answer([entry])
            return
        rows = len(batch[0].returned.rows)
        batch[0].counters.shadow_failed(shadow.version, rows)
        self._metrics.shadows.labels(shadow.name, shadow.version, "failed").inc(rows)
        times = self._throttle.times((shadow.name, shadow.version, type(error)))
        if times:
            _LOG.warning(
                'event=shadow_failed model=%s version=%s times=%d error="%s"',
                *(shadow.name, shadow.version, times, without_values(error)),
            )


def agree(spec: ModelSpec, one: Answer, other: Answer) -> bool:
    """Tell whether two answers are the same decision.

    Two probabilities are, if both versions decide the same, each at its own threshold, or by the spec's
    `performance.threshold` where a version has none; two classes if they
    are equal; two values if they differ by at most `CLOSE` of the larger one.
    """
    if spec.task == "multiclass":
        return one.label == other.label
    if spec.numeric_answers:
        return abs(one.score - other.score) <= CLOSE * max(abs(one.score), abs(other.score))
    if one.decision is not None and other.decision is not None:
        return one.decision == other.decision
    threshold = spec.performance.threshold
    return (one.score >= threshold) == (other.score >= threshold)
