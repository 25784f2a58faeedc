"""The drift verdict day by day over a table, as the drift DAG would have judged it: what the replays share."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path

import pyarrow as pa

from evermodel.data.prediction_log import log_schema, read_log, write_plain_day
from evermodel.monitoring.drift.history import QuietHistory
from evermodel.monitoring.drift.judge import judge_window
from evermodel.monitoring.drift.profiles import Profiles
from evermodel.monitoring.drift.references import References
from evermodel.monitoring.drift.verdict import ColumnDrift
from evermodel.spec import ModelSpec
from evermodel.spec.window import Window

ONE_DAY = timedelta(days=1)


@dataclass(frozen=True)
class Replayed:
    """The verdict of one day."""

    day: date
    rows: int
    columns: tuple[ColumnDrift, ...]


def write_log(
    spec: ModelSpec, lake: Path, rows: pa.Table, score: Callable[[pa.Table], Sequence[float]] | None = None
) -> list[date]:
    """Write rows as the prediction log of version 1, day by day; return the days."""
    import pyarrow.compute as pc

    schema = log_schema(spec)
    days = pc.cast(rows[spec.time_column].cast(pa.timestamp("us", tz="UTC")), pa.date32())
    scores = pa.array([0.5] * rows.num_rows if score is None else list(score(rows)), pa.float64())
    count = rows.num_rows
    columns = {
        "prediction_id": rows[spec.id_column].cast(pa.string()),
        "event_time": rows[spec.time_column].cast(pa.timestamp("us", tz="UTC")),
        "model_version": pa.array(["1"] * count),
        "score": scores,
        "predicted": pa.nulls(count, pa.string()),
        "source": pa.array(["batch"] * count),
        "request_id": pa.nulls(count, pa.string()),
        **{name: rows[name] for name in spec.features.names},
    }
    log = pa.table(columns).cast(schema)
    found = sorted(days.unique().to_pylist())
    for day in found:
        write_plain_day(spec, lake, day.isoformat(), log.filter(pc.equal(days, pa.scalar(day, pa.date32()))))
    return found


def replay(
    spec: ModelSpec,
    lake: Path,
    training: pa.Table,
    fitted: Window,
    ends: Sequence[datetime],
    *,
    learning: bool = True,
) -> Iterator[Replayed]:
    """Judge windows that end at some moments, in their order, as the drift DAG would have."""
    profiles = Profiles(spec, lake)
    first = References(spec, Window(fitted.end, fitted.end), "1", training, fitted, profiles)
    for end in ends:
        window = Window(end - spec.drift.window, end)
        references = first.at(window, compact=False)
        table = read_log(spec, lake, window)
        if table.num_rows == 0:
            continue
        history = QuietHistory(references).learn() if learning else None
        yield Replayed(
            (end - ONE_DAY).date(), table.num_rows, judge_window(spec, references, table, history=history)
        )
