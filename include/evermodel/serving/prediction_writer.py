"""The prediction log of the serving app: Parquet files, written off the request path."""

from __future__ import annotations

import logging
import os
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evermodel.core.atomic import replacing
from evermodel.core.formats import PARQUET_METADATA
from evermodel.modeling.scoring.loaded_version import Answer
from evermodel.modeling.scoring.request_rows import Context, Inputs, Row
from evermodel.serving.log_file import Kind, join, log_rows, write_rows
from evermodel.serving.log_upload import LogUploader
from evermodel.serving.metrics import LogCounters, Metrics
from evermodel.serving.services import QueueThread

if TYPE_CHECKING:
    from arro3.core import Table

_LOG = logging.getLogger(__package__)
# A column takes a tenth of the objects' memory, which is why rows do not wait as objects until their file is written:
# 10,000 of them make the garbage collector, and with it requests, stop for 10 ms at a time.
_CONVERTED_ROWS = 500


@dataclass(frozen=True)
class ReturnedAnswer:
    """The answer that the caller got, beside one of the shadow."""

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
        Joins each row with its label: the caller's id, or one made of the request's id.
    returned_to_caller
        For an answer of the shadow, the one that the caller got; the shadow has a log of its own.
    context
        Values of `inputs.context`, by row.
    subject_hash
        Keyed hash of the subject by which the versions share the requests; None while one version answers alone.
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
    returned_to_caller: ReturnedAnswer | None = None
    context: Sequence[Context] = ()
    subject_hash: str | None = None

    @property
    def source(self) -> str:
        """The value of the log's column ``source``."""
        return "shadow" if self.returned_to_caller else "online"


@dataclass
class _Batch:
    """Rows that wait for their file."""

    due: float
    source: str
    tables: list[Table] = field(default_factory=list)
    rows: int = 0


class PredictionLog(QueueThread[LoggedRequest]):
    """A bounded queue, and a thread that writes it to the lake.

    A request never waits for the log: when the queue is full or the disk fails, predictions are dropped, counted and
    reported in the program's log.

    Parameters
    ----------
    folder
        Folder of the prediction log: one folder for each model, and in it one for each date.
    uploader
        Takes the files on to a bucket; while too many wait for it, predictions are dropped.
    flush_seconds
        Longest time until a prediction is written.
    flush_rows
        Rows that are written at once.
    capacity
        Most rows in the queue.
    """

    def __init__(
        self,
        folder: Path,
        metrics: Metrics | LogCounters,
        uploader: LogUploader | None = None,
        *,
        flush_seconds: float = 5.0,
        flush_rows: int = 10_000,
        capacity: int = 100_000,
    ) -> None:
        super().__init__("prediction-log", 30.0, capacity, min(flush_rows, _CONVERTED_ROWS))
        self._folder = folder
        self._metrics = metrics
        self._uploader = uploader
        self._flush_seconds = flush_seconds
        self._flush_rows = flush_rows
        self._batches: dict[tuple[str, date, Inputs, bool], _Batch] = {}
        self._reported: set[str] = set()

    def offer(self, entry: LoggedRequest) -> None:
        """Queue a request's predictions, or drop and count them when the queue is full."""
        if not self.put(entry, len(entry.rows)):
            self._drop(entry.model, len(entry.rows), "queue_full", f"{self._capacity} rows are in the queue")

    def run(self) -> None:
        """Write until the queue is closed and empty."""
        last, taken = False, time.monotonic()
        while not last:
            last = self._stopping.is_set()  # before `take`: after it, nothing is added to the queue
            due = taken + self._flush_seconds  # nothing in the queue is older than the last `take`
            entries = self.take(self._seconds_until(due))
            taken = time.monotonic()
            for group in _grouped(entries):
                self._convert(group, due)
            self._write_due(everything=last)

    def _seconds_until(self, due: float) -> float:
        return max(0.0, min([due, *(batch.due for batch in self._batches.values())]) - time.monotonic())

    def _convert(self, group: list[LoggedRequest], due: float) -> None:
        first = group[0]
        key = (first.model, first.at.date(), first.inputs, first.subject_hash is None)
        batch = self._batches.setdefault(key, _Batch(due, first.source))
        batch.tables.append(log_table(group))
        batch.rows += batch.tables[-1].num_rows

    def _write_due(self, *, everything: bool) -> None:
        now = time.monotonic()
        for key, batch in list(self._batches.items()):
            if everything or batch.rows >= self._flush_rows or batch.due <= now:
                del self._batches[key]
                self._write(key[0], key[1], batch)

    def _write(self, model: str, day: date, batch: _Batch) -> None:
        if self._uploader is not None and not self._uploader.has_room:
            self._drop(model, batch.rows, "spool_full", "the bucket has not taken the log for too long")
            return
        try:
            write_log_file(join(batch.tables), self._folder / model / f"date={day.isoformat()}", batch.source)
        except Exception as error:  # noqa: BLE001 - the thread survives every failure of the disk
            self._drop(model, batch.rows, "write_failed", f"{type(error).__name__}: {error}")
            return
        self._metrics.logged.labels(model).inc(batch.rows)
        self._reported.clear()

    def _drop(self, model: str, rows: int, reason: str, detail: str) -> None:
        # One line for each reason: the counter has the numbers, and file names differ each time.
        if reason not in self._reported:
            self._reported.add(reason)
            _LOG.warning(
                'event=predictions_dropped model=%s reason=%s rows=%d error="%s"', model, reason, rows, detail
            )
        self._metrics.dropped.labels(model, reason).inc(rows)


def _grouped(batch: Sequence[LoggedRequest]) -> list[list[LoggedRequest]]:
    groups: dict[tuple[str, date, int, bool], list[LoggedRequest]] = {}
    for entry in batch:  # by identity: to hash the names of all features takes longer than the rest
        key = (entry.model, entry.at.date(), id(entry.inputs), entry.subject_hash is None)
        groups.setdefault(key, []).append(entry)
    return list(groups.values())


def log_table(group: list[LoggedRequest]) -> Table:
    """Return the rows of the log for requests of one model, day and signature, with a subject or without one."""
    inputs = group[0].inputs
    each = [entry for entry in group for _ in entry.rows]
    columns: dict[str, tuple[Kind, Sequence[Any]]] = {
        "prediction_id": ("string", [each_id for entry in group for each_id in entry.ids]),
        "event_time": ("timestamp[us, tz=UTC]", [entry.at for entry in each]),
        "model_version": ("string", [entry.version for entry in each]),
        "score": ("double", [score for entry in group for score in entry.scores]),
        "predicted": (
            "string",
            [label for entry in group for label in entry.labels or [None] * len(entry.rows)],
        ),
        "source": ("string", [entry.source for entry in each]),
        "request_id": ("string", [entry.request_id for entry in each]),
        **_returned_columns(group),
    }
    if group[0].subject_hash:
        columns["subject_hash"] = ("string", [entry.subject_hash for entry in each])
    if inputs.context:
        nothing = (None,) * len(inputs.context)
        rows = (row for entry in group for row in entry.context or [nothing] * len(entry.rows))
        for name, values in zip(inputs.context, zip(*rows, strict=True), strict=True):
            columns[name] = ("string", values)
    by_feature = zip(*(row for entry in group for row in entry.rows), strict=True)
    for name, values in zip(inputs.names, by_feature, strict=True):
        columns[name] = ("double" if name in inputs.numeric else "string", values)
    return log_rows(columns)


def _returned_columns(group: list[LoggedRequest]) -> dict[str, tuple[Kind, Sequence[Any]]]:
    """Return the columns that only the shadow's log has."""
    returned = [
        (entry.returned_to_caller, answer)
        for entry in group
        if entry.returned_to_caller
        for answer in entry.returned_to_caller.answers
    ]
    if not returned:
        return {}
    return {
        "heard_version": ("string", [found.version for found, _ in returned]),
        "heard_score": ("double", [answer.score for _, answer in returned]),
        "heard_predicted": ("string", [answer.predicted for _, answer in returned]),
    }


def write_log_file(table: Table, folder: Path, source: str) -> None:
    """Write a file of the log, which readers see only when it is complete."""
    # The temporary name starts with a dot, which readers skip.
    with replacing(folder / f"{source}-{os.getpid()}-{uuid.uuid4().hex}.parquet") as temporary:
        write_rows(table, temporary, PARQUET_METADATA)
