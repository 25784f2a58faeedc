"""Functions that specs of the tests name as their source."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from support.small_model import small_rows

calls: list[tuple[datetime, datetime]] = []


def table(start: datetime, end: datetime, wind: int | None = None) -> pa.Table:
    """The small rows of an interval; told how it was called in `calls`."""
    calls.append((start, end))
    rows = small_rows() if wind is None else small_rows(wind=[wind] * 80)
    return rows.filter((pc.field("at") >= start) & (pc.field("at") < end))


def pandas(start: datetime, end: datetime) -> Any:
    return table(start, end).to_pandas()


def batches(start: datetime, end: datetime) -> Iterator[pa.RecordBatch]:
    yield from table(start, end).to_batches(max_chunksize=3)


def breaks_off(start: datetime, end: datetime) -> Iterator[pa.Table]:
    rows = table(start, end)
    yield rows.slice(0, rows.num_rows // 2)
    raise ConnectionResetError("connection reset by peer")


def changes_type(start: datetime, end: datetime) -> Iterator[pa.Table]:
    rows = table(start, end)
    yield rows.slice(0, 4)
    yield rows.slice(4).set_column(rows.column_names.index("temp"), "temp", [["warm"] * (rows.num_rows - 4)])


def mixed(start: datetime, end: datetime) -> Any:
    frame = table(start, end).to_pandas()
    frame["temp"] = [21.5, "warm"] * (len(frame) // 2)
    return frame


def nothing(start: datetime, end: datetime) -> None:
    return None


def no_batches(start: datetime, end: datetime) -> Iterator[pa.Table]:
    return iter(())


def refuses(start: datetime, end: datetime) -> pa.Table:
    raise ValueError("the warehouse has no such day")


def warmer(engine: Any) -> Any:
    """An Ibis expression: the rows with their temperature times ten."""
    rows = engine.table("rows")
    return rows.mutate(temp=rows.temp * 10)
