"""Upkeep of a table by day: small files are joined, old days removed, and files that no longer count deleted."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import groupby
from typing import TYPE_CHECKING

from evermodel.core.errors import SourceError
from evermodel.core.formats import JsonData, require_known_parquet
from evermodel.core.storage import readable
from evermodel.data.day_table import DayTable
from evermodel.data.delta_log import Change, TableState
from evermodel.data.prediction_log import ROW_GROUP, write_file
from evermodel.data.table_file import TableFile

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class Upkeep(JsonData):
    """What was done to a table.

    Parameters
    ----------
    joined, made
        Files that were joined, and the files that they became.
    expired
        Files of days that are no longer kept.
    deleted
        Files that did not count any more for a week, or never did.
    """

    joined: int
    made: int
    expired: int
    deleted: int


def compact(table: DayTable, today: date, keep: timedelta | None = None) -> Upkeep:
    """Join the files of each day before today by source, and remove days that are no longer kept.

    Readers and writers go on meanwhile; a day that is scored at the same time is left as it is.

    Parameters
    ----------
    keep
        How long days are kept; for ever if not given.

    Raises
    ------
    SourceError
        A file is damaged.
    StorageUnavailableError
        The store does not answer.
    """
    table.take_pending()
    if not table.exists():
        return Upkeep(0, 0, 0, 0)
    expired = 0 if keep is None else _expire(table, today - keep)
    done = [len(files) for files in _groups(table, today) if _join(table, files)]
    return Upkeep(sum(done), len(done), expired, table.vacuum())


def _expire(table: DayTable, first: date) -> int:
    old: list[TableFile] = []

    def plan(state: TableState) -> Change | None:
        old[:] = [file for file in state.files if file.day < first]
        return Change((), old, {"expired": _now()}) if old else None

    table.commit(table.columns(), plan)
    return len(old)


def _groups(table: DayTable, today: date) -> list[list[TableFile]]:
    """Return the files of each day and source of which there are several."""
    files = sorted(table.files(last=today - timedelta(days=1)), key=lambda file: (file.day, file.source))
    groups = [list(group) for _, group in groupby(files, lambda file: (file.day, file.source))]
    return [group for group in groups if len(group) > 1]


def _join(table: DayTable, files: Sequence[TableFile]) -> bool:
    schema, old = table.columns(), {str(file.path) for file in files}
    new = TableFile.new(table.root, files[0].day, files[0].source)
    rows = schema.remove(schema.get_field_index("date"))  # which the folder tells
    write_file(rows, new.path, _rows(files, rows))
    entry = new.entry(table.root)
    made: list[TableFile] = []

    def plan(state: TableState) -> Change | None:
        made[:] = [new] if old <= {str(file.path) for file in state.files} else []
        numbers = {f"{new.source}/{new.day}": _now()}
        return Change([entry], files, numbers, moves_rows=False) if made else None

    table.commit(schema, plan)
    return bool(made)


def _rows(files: Sequence[TableFile], schema: pa.Schema) -> Iterator[pa.Table]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    empty = schema.empty_table()
    for file in files:
        try:
            with pq.ParquetFile(readable(file.path)) as opened:
                require_known_parquet(opened.metadata.metadata, file.path)
                for batch in opened.iter_batches(ROW_GROUP):
                    table = pa.Table.from_batches([batch])
                    yield pa.concat_tables([empty, table], promote_options="default").cast(schema)
        except (pa.ArrowException, OSError) as error:
            raise SourceError(
                f"{file.path} cannot be read, so its day was not joined: {error}",
                "score that day again if it is a batch, or restore the file",
            ) from error


def _now() -> int:
    return time.time_ns() // 1_000_000
