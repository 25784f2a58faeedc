"""Score one day as a stream, in constant memory, into the prediction log and the spec's table."""

from __future__ import annotations

import os
import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from evermodel.core.errors import EmptyWindowError
from evermodel.core.formats import JsonData
from evermodel.core.settings import Settings
from evermodel.core.storage import StoragePath, path_in
from evermodel.data.prediction_log import write_day
from evermodel.data.sources import stream_window
from evermodel.modeling import model_store
from evermodel.modeling.scoring.scorer import Scorer, read_scorer
from evermodel.registry.registry import ModelRegistry
from evermodel.spec import ModelSpec
from evermodel.spec.window import Window, last_day, whole_day

if TYPE_CHECKING:
    import pyarrow as pa

    from evermodel.registry.client import MlflowClient

# So many rows of so many columns as a model has are a few megabytes; half of them take a tenth more time.
BATCH_ROWS = 32_768
_THREADS = 4

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class ScoredDay(JsonData):
    """The result of scoring one day.

    Parameters
    ----------
    path
        Partition of the prediction log, as a path in the lake.
    """

    model: str
    day: str
    version: str
    rows: int
    mean_score: float
    path: str


def score_day(spec: ModelSpec, as_of: datetime, client: MlflowClient, settings: Settings) -> ScoredDay:
    """Score the whole day before a moment with the champion and write it to the prediction log.

    The same day again replaces its own rows and no others; whoever is killed leaves the day as it was.

    Raises
    ------
    NoChampionError
        Nothing serves yet.
    EmptyWindowError
        The day has no row.
    """
    window = last_day(whole_day(as_of))
    if spec.score.engine == "spark":
        return _by_spark(spec, window, client, settings)
    scorer = load_champion(spec, client)
    counts = ScoreCounts()
    with stream_window(spec, window, with_label=False, in_order=False, batch_rows=BATCH_ROWS) as rows:
        path = write_answers(spec, settings.lake, window, counts.counted(scored(scorer, rows)))
    return finished(spec, counts.day(spec, window, scorer.version, path_in(settings.lake, path.parent)), path)


def _by_spark(spec: ModelSpec, window: Window, client: MlflowClient, settings: Settings) -> ScoredDay:
    from evermodel.modeling.scoring.spark import write_on_spark

    done = write_on_spark(spec, window, client, settings.lake)
    if done is None:
        raise _no_row(spec, window)
    counts, folder = ScoreCounts(done.rows, done.total), path_in(settings.lake, done.files[0].parent)
    return finished(spec, counts.day(spec, window, done.version, folder), *done.files)


def finished(spec: ModelSpec, day: ScoredDay, *files: StoragePath) -> ScoredDay:
    """Put a day that is in the log into the spec's table too, if it names one; doing it again replaces it."""
    if spec.score.table is not None:
        from evermodel.modeling.scoring.table import write_table

        write_table(spec, day.day, *files)
    return day


def load_champion(spec: ModelSpec, client: MlflowClient) -> Scorer:
    """Download the champion and make it ready to score; see `score_day` and `read_scorer` for what is raised."""
    version = ModelRegistry(client).read(spec.name).require_champion()
    with tempfile.TemporaryDirectory() as folder:
        model_store.download(client, f"models:/{spec.name}/{version}", Path(folder))
        return read_scorer(spec, version, Path(folder))


def scored(scorer: Scorer, rows: Iterable[pa.RecordBatch]) -> Iterator[pa.Table]:
    """Score a stream of batches on all cores; the answers come in the order of the rows."""
    threads = min(_THREADS, os.cpu_count() or 1) if scorer.threads_well else 1
    return in_order(scorer.score, (batch for batch in rows if batch.num_rows), threads)


def write_answers(
    spec: ModelSpec, lake: StoragePath, window: Window, tables: Iterator[pa.Table]
) -> StoragePath:
    """Write a day's predictions to the log.

    Raises
    ------
    EmptyWindowError
        There is none; what an earlier run wrote stays.
    """
    day = window.start.date()
    first = next(tables, None)
    if first is None:
        raise _no_row(spec, window)
    return write_day(spec, lake, day, chain([first], tables))


def _no_row(spec: ModelSpec, window: Window) -> EmptyWindowError:
    return EmptyWindowError(
        f"model {spec.name}: no row to score on {window.start:%Y-%m-%d}",
        "check that the data of that day has arrived, then run this again",
    )


class ScoreCounts:
    """Counts what passes by."""

    def __init__(self, rows: int = 0, total: float = 0.0) -> None:
        self.rows, self.total = rows, total

    def counted(self, tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
        """Give the tables on."""
        import pyarrow.compute as pc

        for table in tables:
            self.rows += table.num_rows
            self.total += pc.sum(table["score"]).as_py()
            yield table

    def day(self, spec: ModelSpec, window: Window, version: str, path: str) -> ScoredDay:
        """Return the outcome."""
        day = f"{window.start:%Y-%m-%d}"
        return ScoredDay(spec.name, day, version, self.rows, self.total / self.rows, path)


def in_order(work: Callable[[Item], Result], items: Iterable[Item], threads: int) -> Iterator[Result]:
    """Give the result of each item, in their order; at most one item more than there are threads is waiting.

    >>> list(in_order(abs, [-1, 2, -3], threads=2))
    [1, 2, 3]
    """
    waiting: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(threads, "scoring") as pool:
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) > threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
