"""Small tables by day: rows, and their way into a table."""

from __future__ import annotations

from datetime import date
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import DeltaTable

from evermodel.core.atomic import replacing
from evermodel.core.storage import BucketPath, StoragePath, readable, table_options
from evermodel.data.day_table import DayTable
from evermodel.data.table_file import TableFile
from support.prediction_logs import log_rows
from support.small_model import moment

DAY = date(2024, 1, 3)


def table_of(lake: StoragePath) -> DayTable:
    return DayTable(lake / "predictions" / "m")


def rows(*ids: str, **more: Any) -> pa.Table:
    columns: dict[str, Any] = {
        "prediction_id": pa.array(ids, pa.string()),
        "event_time": pa.array([moment(2.5)] * len(ids), pa.timestamp("us", tz="UTC")),
        "source": pa.array(["batch"] * len(ids), pa.string()),
    }
    return pa.table(columns | {name: [value] * len(ids) for name, value in more.items()})


def written(table: DayTable, content: pa.Table, source: str = "batch", day: date = DAY) -> TableFile:
    file = TableFile.new(table.root, day, source)
    with replacing(file.path) as temporary:
        pq.write_table(content, temporary)
    return file


def kinds(columns: pa.Schema) -> dict[str, str]:
    return {field.name: str(field.type) for field in columns}


def replaced(table: DayTable, *ids: str, day: date = DAY) -> None:
    content = rows(*ids)
    table.replace(written(table, content, day=day), content.schema)


def appended(table: DayTable, file: TableFile, key: str = "host", number: int = 1) -> None:
    """Announce a file and commit it, as serving does."""
    columns = pq.read_schema(readable(file.path))
    table.announce(file.entry(table.root), kinds(columns), key, number)
    table.take_pending()


def ids(lake: StoragePath) -> list[str]:
    found: list[str] = log_rows(lake, "m")["prediction_id"].to_pylist()
    return sorted(found)


def opened(table: DayTable) -> DeltaTable:
    options = table_options(table.root.scheme) if isinstance(table.root, BucketPath) else None
    return DeltaTable(str(table.root), storage_options=options)
