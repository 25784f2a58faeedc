"""Scores requests that arrive together in one call, which costs about the same for one row as for fifty."""

from __future__ import annotations

import threading
import weakref
from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass, field

from evermodel.modeling.scoring.loaded_version import Answer, ServedModel
from evermodel.modeling.scoring.request_rows import Row


@dataclass(frozen=True, eq=False)
class _Call:
    served: ServedModel
    rows: list[Row]
    scores: Future[list[Answer]] = field(default_factory=Future)


class Batcher:
    """A thread that scores all waiting requests, in one call for each model version.

    A request that arrives alone is scored at once; those that arrive during a call are the next batch. The rows of a
    request are scored in one call, by the version that they were checked against.

    Parameters
    ----------
    most_rows
        Rows after which a batch takes no further request.
    """

    def __init__(self, most_rows: int = 1000) -> None:
        self._most_rows = most_rows
        self._waiting: deque[_Call] = deque()
        self._wake = threading.Condition()
        self._closing = False
        self._one_thread = OneThread()
        self._thread = threading.Thread(target=self._work, name="score", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def submit(self, served: ServedModel, rows: list[Row]) -> Future[list[Answer]]:
        """Queue the rows of one request; the future gets one answer for each."""
        call = _Call(served, rows)
        with self._wake:
            if self._closing:
                raise RuntimeError("the batcher has stopped")
            self._waiting.append(call)
            self._wake.notify()
        return call.scores

    def stop(self, timeout: float = 30.0) -> None:
        """Score the waiting requests and end the thread; with a timeout of 0 (seconds), without waiting for it."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        if timeout and self._thread.is_alive():
            self._thread.join(timeout)

    def _work(self) -> None:
        while True:
            with self._wake:
                self._wake.wait_for(lambda: self._closing or bool(self._waiting))
                if not self._waiting:
                    return
                batch = self._take()
            self._one_thread.keep_for(batch[0].served)
            _score(batch)
            del batch  # while it waits, the thread keeps no version in memory

    def _take(self) -> list[_Call]:
        batch = [self._waiting.popleft()]
        rows = len(batch[0].rows)
        others: deque[_Call] = deque()
        while self._waiting:
            call = self._waiting.popleft()
            if call.served is batch[0].served and rows + len(call.rows) <= self._most_rows:
                batch.append(call)
                rows += len(call.rows)
            else:
                others.append(call)
        self._waiting = others
        return batch


class OneThread:
    """Limits OpenMP to one thread: for few rows, synchronising several costs more than they save."""

    def __init__(self) -> None:
        self._set_for: weakref.ref[ServedModel] | None = None

    def keep_for(self, served: ServedModel) -> None:
        """Set the limit for a version, which may load another OpenMP; keeps no version in memory."""
        if self._set_for is not None and self._set_for() is served:
            return
        from threadpoolctl import threadpool_limits

        # OpenMP has one setting for each thread, so that training in this process is not affected.
        threadpool_limits(1, user_api="openmp")
        self._set_for = weakref.ref(served)


def _score(batch: list[_Call]) -> None:
    calls = [call for call in batch if call.scores.set_running_or_notify_cancel()]
    if not calls:
        return
    try:
        scores = calls[0].served.predict([row for call in calls for row in call.rows])
    except Exception:  # noqa: BLE001 - the failure of one request must not affect the others
        for call in calls:
            try:
                call.scores.set_result(call.served.predict(call.rows))
            except Exception as error:  # noqa: BLE001 - passed on to the request that waits
                call.scores.set_exception(error)
        return
    start = 0
    for call in calls:
        call.scores.set_result(scores[start : start + len(call.rows)])
        start += len(call.rows)
