"""The prediction log of the serving app: Parquet files, written off the request path."""

from __future__ import annotations

import logging
import os
import threading
import uuid
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any

from evermodel.core.atomic import replacing
from evermodel.modeling.scoring.loaded_version import Answer
from evermodel.modeling.scoring.request_rows import Inputs, Row
from evermodel.serving.metrics import Metrics
from evermodel.serving.traffic_metrics import LogCounters

_LOG = logging.getLogger(__package__)


@dataclass(frozen=True)
class ReturnedAnswer:
    """What the caller got, beside an answer that nobody heard."""

    version: str
    answers: Sequence[Answer]


@dataclass(frozen=True)
class LoggedRequest:
    """One answered request.

    Parameters
    ----------
    at
        When it was answered, in UTC.
    inputs
        The features, in the order of the values in ``rows``.
    ids
        What joins each row with its label: the caller's own, or made of the request's id.
    heard
        For an answer that nobody heard the one that was; such answers have a log of their own.
    """

    model: str
    version: str
    request_id: str
    at: datetime
    inputs: Inputs
    rows: Sequence[Row]
    ids: Sequence[str]
    scores: Sequence[float]
    labels: Sequence[str | None] = ()
    heard: ReturnedAnswer | None = None

    @property
    def source(self) -> str:
        """Where the answer comes from, as the log has it."""
        return "shadow" if self.heard else "online"


class PredictionLog:
    """A bounded queue, and a thread that writes it to the lake.

    A request never waits for it: when the queue is full, or the disk fails, predictions are dropped, counted and
    reported in the program's log.

    Parameters
    ----------
    folder
        Folder of the prediction log; one folder for each model, and in it one for each date.
    metrics
        Takes the numbers of written and dropped predictions.
    flush_seconds
        Longest time that a prediction waits to be written.
    flush_rows
        Rows that are written without waiting.
    capacity
        Most rows that may wait.
    """

    def __init__(
        self,
        folder: Path,
        metrics: Metrics | LogCounters,
        *,
        flush_seconds: float = 5.0,
        flush_rows: int = 10_000,
        capacity: int = 100_000,
    ) -> None:
        self._folder = folder
        self._metrics = metrics
        self._flush_seconds = flush_seconds
        self._flush_rows = flush_rows
        self._capacity = capacity
        self._waiting: deque[LoggedRequest] = deque()
        self._rows = 0
        self._wake = threading.Condition()
        self._closing = False
        self._reported: set[str] = set()
        self._thread = threading.Thread(target=self._write_on, name="prediction-log", daemon=True)

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def offer(self, entry: LoggedRequest) -> None:
        """Queue a request's predictions, or drop and count them when the queue is full."""
        with self._wake:
            room = not self._closing and self._rows + len(entry.rows) <= self._capacity
            if room:
                self._waiting.append(entry)
                self._rows += len(entry.rows)
                if self._rows >= self._flush_rows:
                    self._wake.notify()
        if not room:
            self._drop(entry.model, len(entry.rows), "queue_full", f"more than {self._capacity} rows wait")

    def close(self, timeout: float = 30.0) -> None:
        """Write what waits and end; call it once, when no more requests come."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        if self._thread.is_alive():
            self._thread.join(timeout)

    def _write_on(self) -> None:
        while True:
            with self._wake:
                self._wake.wait_for(
                    lambda: self._closing or self._rows >= self._flush_rows, self._flush_seconds
                )
                closing = self._closing
                batch, self._waiting, self._rows = self._waiting, deque(), 0
            for group in _grouped(batch):
                self._write(group)
            if closing:
                return

    def _write(self, group: list[LoggedRequest]) -> None:
        model, day = group[0].model, group[0].at.date()
        rows = sum(len(entry.rows) for entry in group)
        try:
            _write_file(_table(group), self._folder / model / f"date={day.isoformat()}", group[0].source)
        except Exception as error:  # noqa: BLE001 - the writer must outlive whatever the disk does
            self._drop(model, rows, "write_failed", f"{type(error).__name__}: {error}")
            return
        self._metrics.logged.labels(model).inc(rows)
        self._reported.clear()

    def _drop(self, model: str, rows: int, reason: str, detail: str) -> None:
        # One line for each kind of trouble: the counter has the numbers, and file names differ each time.
        if reason not in self._reported:
            self._reported.add(reason)
            _LOG.warning(
                'event=predictions_dropped model=%s reason=%s rows=%d error="%s"', model, reason, rows, detail
            )
        self._metrics.dropped.labels(model, reason).inc(rows)


def _grouped(batch: deque[LoggedRequest]) -> list[list[LoggedRequest]]:
    groups: dict[tuple[str, date, Inputs], list[LoggedRequest]] = {}
    for entry in batch:
        groups.setdefault((entry.model, entry.at.date(), entry.inputs), []).append(entry)
    return list(groups.values())


def _table(group: list[LoggedRequest]) -> Any:
    import pyarrow as pa

    inputs = group[0].inputs
    each = [entry for entry in group for _ in entry.rows]
    columns: dict[str, tuple[Any, Sequence[Any]]] = {
        "prediction_id": (pa.string(), [each_id for entry in group for each_id in entry.ids]),
        "event_time": (pa.timestamp("us", tz="UTC"), [entry.at for entry in each]),
        "model_version": (pa.string(), [entry.version for entry in each]),
        "score": (pa.float64(), [score for entry in group for score in entry.scores]),
        "predicted": (
            pa.string(),
            [label for entry in group for label in entry.labels or [None] * len(entry.rows)],
        ),
        "source": (pa.string(), [entry.source for entry in each]),
        "request_id": (pa.string(), [entry.request_id for entry in each]),
        **_heard(group),
    }
    by_feature = zip(*(row for entry in group for row in entry.rows), strict=True)
    for name, values in zip(inputs.names, by_feature, strict=True):
        columns[name] = (pa.float64() if name in inputs.numeric else pa.string(), values)
    schema = pa.schema([(name, kind) for name, (kind, _) in columns.items()])
    # from_pandas: NaN, which stands for a missing number, becomes null.
    return pa.table([pa.array(v, kind, from_pandas=True) for kind, v in columns.values()], schema=schema)


def _heard(group: list[LoggedRequest]) -> dict[str, tuple[Any, Sequence[Any]]]:
    """Return the columns that only unheard answers have."""
    import pyarrow as pa

    heard = [(entry.heard, answer) for entry in group if entry.heard for answer in entry.heard.answers]
    if not heard:
        return {}
    return {
        "heard_version": (pa.string(), [found.version for found, _ in heard]),
        "heard_score": (pa.float64(), [answer.score for _, answer in heard]),
        "heard_predicted": (pa.string(), [answer.label for _, answer in heard]),
    }


def _write_file(table: Any, folder: Path, source: str) -> None:
    import pyarrow.parquet as pq

    # The temporary name starts with a dot, so that no reader takes it for a finished file.
    with replacing(folder / f"{source}-{os.getpid()}-{uuid.uuid4().hex}.parquet") as temporary:
        pq.write_table(table, temporary, compression="zstd")
