"""The predictions of a watched model: copied day by day from its own table into the lake's prediction log."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from evermodel.core.atomic import write_text
from evermodel.core.errors import SourceError
from evermodel.core.formats import json_digest, loads, stamped
from evermodel.core.paths import inside
from evermodel.core.storage import StoragePath
from evermodel.data.prediction_log import log_schema, write_days
from evermodel.data.sources import stream_window
from evermodel.data.validation.scan import name as name_in_sql
from evermodel.spec import ModelSpec
from evermodel.spec.window import Window, parse_moment, whole_day

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

UNVERSIONED = "any"  # the version of rows without one
_STEP = timedelta(days=31)  # of one read


@dataclass(frozen=True)
class CollectedDays:
    """What was copied: a stretch of time without gaps, and what each of its days looked like."""

    start: datetime
    end: datetime
    days: dict[str, str] = field(default_factory=dict)


def collect(spec: ModelSpec, lake: StoragePath, first: datetime, as_of: datetime) -> list[date]:
    """Bring the copy of the predictions up to a moment, and return the days that changed.

    Days are read once; those younger than `watch.late` are read again, and replaced if their rows are others. A day that
    has been copied for good is not read again, so that an old look can be repeated with the same result.

    Parameters
    ----------
    first
        The earliest row that is needed.
    as_of
        Later rows are not needed.

    Raises
    ------
    SourceError
        The source or a column is missing, or holds something else than the log needs.
    """
    key = json_digest([spec.source.content, spec.columns, log_schema(spec).names])[:16]
    file = inside(lake / "watch" / spec.name, "collected.json")
    known, changed = _load(file, key), []
    for window in _missing(spec, known, whole_day(first), as_of):
        for part in _steps(window):
            found = dict(known.days) if known else {}
            changed += _copy(spec, lake, part, found)
            start, end = (known.start, known.end) if known else (part.start, part.end)
            # Kept after each part: whoever is interrupted goes on from here.
            known = CollectedDays(min(start, part.start), max(end, part.end), found)
            _save(file, key, known)
    return changed


def _missing(
    spec: ModelSpec, known: CollectedDays | None, first: datetime, as_of: datetime
) -> Iterator[Window]:
    assert spec.watch is not None
    if known is None:
        yield Window(first, as_of)
        return
    again = whole_day(known.end - spec.watch.late)
    if as_of > again:
        yield Window(max(again, first), max(as_of, known.end))
    if first < known.start:
        yield Window(first, known.start)


def _steps(window: Window) -> Iterator[Window]:
    """Cut a window into parts that end with days; the newest first if it is to grow backwards."""
    start = window.start
    while start < window.end:
        end = min(whole_day(start + _STEP), window.end)
        yield Window(start, end)
        start = end


def _copy(spec: ModelSpec, lake: StoragePath, window: Window, known: dict[str, str]) -> list[date]:
    """Copy a window, and return the days whose rows are others than before."""
    import duckdb
    import pyarrow as pa

    seen: set[str] = set()
    changed: list[date] = []

    def new() -> Iterator[tuple[date, list[pa.Table]]]:
        for day, tables in _by_day(_translated(spec, pa.Table.from_batches([batch])) for batch in rows):
            name, table = day.isoformat(), pa.concat_tables(tables).combine_chunks()
            seen.add(name)
            fingerprint = _fingerprint(database, table)
            if known.get(name) != fingerprint:
                yield noted(day, fingerprint), [table]
        for day in window.days():
            name = day.isoformat()
            if name not in seen and known.get(name):  # its rows were withdrawn
                yield noted(day, ""), [log_schema(spec).empty_table()]

    def noted(day: date, fingerprint: str) -> date:
        known[day.isoformat()] = fingerprint
        changed.append(day)
        return day

    with stream_window(spec, window, with_label=False) as rows, duckdb.connect() as database:
        write_days(spec, lake, new())
    return changed


def _by_day(tables: Iterator[pa.Table]) -> Iterator[tuple[date, list[pa.Table]]]:
    """Cut rows in the order of time into days (UTC)."""
    import numpy as np
    import pyarrow as pa

    day, kept = None, []
    for table in tables:
        numbers = np.asarray(table["event_time"].cast(pa.int64())) // 86_400_000_000
        starts = [0, *(np.flatnonzero(np.diff(numbers)) + 1).tolist(), len(numbers)]
        for begin, end in pairwise(starts):
            if begin == end:
                continue
            found = date(1970, 1, 1) + timedelta(days=int(numbers[begin]))
            if day is not None and found != day:
                yield day, kept
                kept = []
            day = found
            kept.append(table.slice(begin, end - begin))
    if day is not None:
        yield day, kept


def _translated(spec: ModelSpec, rows: pa.Table) -> pa.Table:
    """Return rows of the source in the columns and types of the prediction log."""
    import pyarrow as pa
    import pyarrow.compute as pc

    watch = spec.watch
    assert watch is not None
    nothing = pa.nulls(rows.num_rows)
    multiclass = spec.task == "multiclass"
    decided = watch.prediction if multiclass else watch.predicted
    places: dict[str, str | None] = {
        "prediction_id": spec.id_column,
        "event_time": spec.time_column,
        "model_version": watch.version,
        "score": None if multiclass else watch.prediction,
        "predicted": decided,
        **{name: name for name in spec.logged},
    }
    columns = []
    for wanted in log_schema(spec):
        place = places.get(wanted.name)
        found = nothing if place is None else rows[place]
        columns.append(_cast(spec, place or wanted.name, found, wanted.type))
    table = pa.table(columns, schema=log_schema(spec))
    version = pc.fill_null(table["model_version"], UNVERSIONED)
    table = table.set_column(table.column_names.index("model_version"), "model_version", version)
    batch = pa.array(["watch"] * rows.num_rows, pa.string())
    return table.set_column(table.column_names.index("source"), "source", batch)


def _cast(spec: ModelSpec, name: str, values: Any, kind: pa.DataType) -> Any:
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_boolean(values.type) and pa.types.is_string(kind):
        values = pc.cast(values, pa.int8())  # a decision is 0 or 1
    if pa.types.is_floating(values.type) and pa.types.is_string(kind):
        whole = pc.all(pc.equal(values, pc.floor(values))).as_py()
        values = pc.cast(values, pa.int64()) if whole else values  # as databases return integers with nulls
    try:
        return pc.cast(values, kind, safe=False)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise SourceError(
            f"model {spec.name}: the column {name} of {spec.source.told} cannot be read as {kind}: {error}",
            "list it under features.categorical, or convert it in the source",
        ) from error


def _fingerprint(database: duckdb.DuckDBPyConnection, table: pa.Table) -> str:
    """Return what identifies the rows of a day, in whatever order they are."""
    columns = ", ".join(map(name_in_sql, table.column_names))
    database.register("day", table)
    found = database.execute(f"SELECT sum(hash({columns})::HUGEINT)::VARCHAR FROM day").fetchall()
    return f"{table.num_rows}:{found[0][0]}"


def _load(file: StoragePath, key: str) -> CollectedDays | None:
    """Read what was copied; None if nothing was, or from another source or with other columns."""
    try:
        found = loads(file.read_text(encoding="utf-8"), file)
    except FileNotFoundError:
        return None
    if found["key"] != key:
        return None
    return CollectedDays(parse_moment(found["start"]), parse_moment(found["end"]), found["days"])


def _save(file: StoragePath, key: str, known: CollectedDays) -> None:
    data = {
        "key": key,
        "start": known.start.astimezone(UTC).isoformat(),
        "end": known.end.astimezone(UTC).isoformat(),
        "days": dict(sorted(known.days.items())),
    }
    write_text(file, json.dumps(stamped(data)))


def label_source(spec: ModelSpec) -> ModelSpec:
    """Return the spec by which the labels of a model are read: of a watched one, its own table if it has one."""
    table = spec.watch.labels if spec.watch else None
    if spec.watch is None or table is None:
        return spec
    # Only what a source is read by; it was checked as a part of the spec.
    return spec.model_copy(
        update={
            "source": table.source,
            "id_column": table.id_column or spec.id_column,
            "time_column": table.time_column or spec.time_column,
            "features": spec.features.model_copy(update={"numeric": (), "categorical": ()}),
            "watch": None,
        }
    )


def reference_source(spec: ModelSpec) -> ModelSpec | None:
    """Return the spec by which a watched model's reference is read, if it is a table of its own."""
    source = spec.watch.reference.source if spec.watch else None
    if spec.watch is None or source is None:
        return None
    return spec.model_copy(update={"source": source, "watch": None})
