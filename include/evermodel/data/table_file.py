"""One Parquet file of a table by day and source, and what the table's log says of it."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evermodel.core.formats import JsonData
from evermodel.core.paths import inside
from evermodel.core.storage import StoragePath, path_in, readable

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq
    from deltalake.transaction import AddAction, RemoveAction

_BOUNDED = ("event_time", "prediction_id")  # columns by which engines leave files out
_DAY = "date="
_SOURCE = "source="


@dataclass(frozen=True)
class TableFile:
    """A file that is in a table, or will be.

    Parameters
    ----------
    day
        Day (UTC) of its rows.
    source
        What wrote its rows, as in their column ``source``.
    """

    path: StoragePath
    day: date
    source: str

    @classmethod
    def new(cls, root: StoragePath, day: date, source: str, name: str = "") -> TableFile:
        """Return a file that is still to be written, under a name that no other file has."""
        name = name or f"part-{uuid.uuid4().hex}.parquet"
        return cls(inside(root, f"{_DAY}{day.isoformat()}", f"{_SOURCE}{source}", name), day, source)

    @classmethod
    def plain(cls, path: StoragePath) -> TableFile:
        """Return a file of a folder that is no table: ``date=<day>/<source>.parquet`` or ``<source>-….parquet``."""
        day = date.fromisoformat(path.parent.name.removeprefix(_DAY))
        return cls(path, day, path.stem.partition("-")[0])

    @property
    def order(self) -> tuple[date, str]:
        """Place among the files of a table: by day, then by path."""
        return self.day, str(self.path)

    def entry(
        self, root: StoragePath, local: Path | None = None, content: FileContent | None = None
    ) -> FileEntry:
        """Return what a table's log says of the file, so that engines can count its rows and leave it out.

        Parameters
        ----------
        local
            Where its content is on this machine, to be read there.
        content
            What is known of its content; else its footer is read.
        """
        path = local or self.path
        state = path.stat()
        statistics = json.dumps((content or FileContent.read(path)).statistics())
        return FileEntry(path_in(root, self.path), state.st_size, self._partition, state.st_mtime, statistics)

    def removed(self, root: StoragePath, *, moves_rows: bool = True) -> RemoveAction:
        """Return the action that removes it from a table."""
        from deltalake.transaction import RemoveAction

        partition: dict[str, str | None] = {**self._partition}
        return RemoveAction(path_in(root, self.path), moves_rows, int(time.time() * 1000), None, partition)

    def schema(self) -> pa.Schema:
        """Return the columns of the file; none of one that is damaged."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            return pq.read_schema(readable(self.path))
        except pa.ArrowException:
            return pa.schema([])

    @property
    def _partition(self) -> dict[str, str]:
        return {"date": self.day.isoformat(), "source": self.source}


@dataclass(frozen=True)
class FileEntry(JsonData):
    """What a table's log says of a file.

    Parameters
    ----------
    path
        Below the table's folder.
    size
        Bytes.
    written
        Seconds since 1970.
    statistics
        JSON: rows, and the bounds of some columns.
    """

    path: str
    size: int
    partition: dict[str, str]
    written: float
    statistics: str

    @property
    def part(self) -> tuple[str, str]:
        """Day and source."""
        return self.partition["date"], self.partition["source"]

    def added(self, *, moves_rows: bool = True) -> AddAction:
        """Return the action that adds the file to a table."""
        from deltalake.transaction import AddAction

        written = int(self.written * 1000)
        return AddAction(self.path, self.size, {**self.partition}, written, moves_rows, self.statistics)


@dataclass(frozen=True)
class FileContent:
    """The rows of a file, and the bounds of some columns.

    Parameters
    ----------
    rows
        None of a file that is damaged.
    """

    rows: int | None
    bounds: Mapping[str, tuple[Any, Any]]

    @classmethod
    def read(cls, path: StoragePath) -> FileContent:
        """Read a file's footer."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            footer = pq.read_metadata(readable(path))
        except pa.ArrowException:  # who reads it says so
            return cls(None, {})
        bounds = {name: found for name in _BOUNDED if (found := _bounds(footer, name)) is not None}
        return cls(footer.num_rows, bounds)

    def statistics(self) -> dict[str, Any]:
        """Return what a table's log has of it."""
        if self.rows is None:
            return {}
        return {
            "numRecords": self.rows,
            "minValues": {name: _text(low) for name, (low, _) in self.bounds.items()},
            "maxValues": {name: _text(high, up=True) for name, (_, high) in self.bounds.items()},
            "nullCount": {},
        }


def plain_files(root: StoragePath, first: date = date.min, last: date = date.max) -> Iterator[TableFile]:
    """Yield the files of a folder that is no table, as releases before the table wrote them."""
    folders: Iterable[StoragePath]
    if first == date.min:
        folders = root.glob(f"{_DAY}*")
    else:  # of a few days nobody lists them all
        days = (first + timedelta(days=step) for step in range((last - first).days + 1))
        folders = (root / f"{_DAY}{day.isoformat()}" for day in days)
    for folder in folders:
        yield from map(TableFile.plain, folder.glob("[!.]*.parquet"))


def _bounds(footer: pq.FileMetaData, name: str) -> tuple[Any, Any] | None:
    """Return the smallest and the largest value of a column; None if the file does not say."""
    names = footer.schema.names
    if name not in names:
        return None
    columns = [footer.row_group(group).column(names.index(name)) for group in range(footer.num_row_groups)]
    found = [column.statistics for column in columns if column.num_values]
    known: list[Any] = [statistics for statistics in found if statistics and statistics.has_min_max]
    if not known or len(known) < len(found):
        return None
    return min(one.min for one in known), max(one.max for one in known)


def _text(bound: Any, *, up: bool = False) -> str:
    """Return a bound as the log has it: times in whole milliseconds, no row outside."""
    if not isinstance(bound, datetime):
        return str(bound)
    if up and bound.microsecond % 1000:
        bound += timedelta(milliseconds=1)
    return f"{bound:%Y-%m-%dT%H:%M:%S}.{bound.microsecond // 1000:03d}Z"
