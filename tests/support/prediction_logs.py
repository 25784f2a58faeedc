"""The files of a prediction log, as the lake's tables have them."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq

from evermodel.core.storage import StoragePath, readable
from evermodel.data.day_table import DayTable


def log_files(lake: StoragePath, model: str, log: str = "predictions") -> list[StoragePath]:
    return [file.path for file in DayTable(lake / log / model).files()]


def log_rows(lake: StoragePath, model: str, log: str = "predictions") -> pa.Table:
    """Return all rows, with the columns that each file has."""
    tables = [pq.read_table(readable(file), partitioning=None) for file in log_files(lake, model, log)]
    return pa.concat_tables(tables, promote_options="default")
