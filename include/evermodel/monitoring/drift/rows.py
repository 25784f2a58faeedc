"""Rows of Parquet files, one column in memory at a time, with the answers of each version as columns of their own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evermodel.core.formats import require_known_parquet
from evermodel.core.storage import StoragePath, readable
from evermodel.data.parquet import column_ranges
from evermodel.monitoring.drift.profile import of_version
from evermodel.monitoring.drift.reference_and_current import ColumnarRows
from evermodel.spec.window import Window

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq


@dataclass(frozen=True)
class ParquetRows:
    """The rows of some Parquet files, or those of one interval of time.

    Parameters
    ----------
    files
        Files of one schema.
    window, time_column
        Keep only the rows of this interval.
    schema
        Columns and types that the rows have; one that a file lacks (a feature that is new) reads as null. Without it,
        those of the first file.
    """

    files: Sequence[StoragePath]
    window: Window | None = None
    time_column: str = ""
    schema: pa.Schema | None = None

    @cached_property
    def num_rows(self) -> int:
        """Number of rows."""
        import pyarrow.compute as pc

        if self._inside is not None:
            return int(pc.sum(self._inside).as_py() or 0)
        return sum(footer.num_rows for footer in self._footers)

    @cached_property
    def column_names(self) -> list[str]:
        """Names of the columns."""
        import pyarrow.parquet as pq

        if self.schema is not None:
            return list(self.schema.names)
        return list(pq.read_schema(readable(self.files[0])).names) if self.files else []

    def __getitem__(self, name: str) -> pa.ChunkedArray[Any]:
        """Read one column."""
        values = self._read(name)
        return values if self._inside is None else values.filter(self._inside)

    def _read(self, name: str) -> pa.ChunkedArray[Any]:
        import pyarrow as pa

        parts = [self._part(name, *found) for found in zip(self.files, self._footers, strict=True)]
        kind = next((part.type for part in parts if not pa.types.is_null(part.type)), pa.null())
        return pa.chunked_array([chunk for part in parts for chunk in part.cast(kind).chunks], kind)

    def _part(self, name: str, file: StoragePath, footer: pq.FileMetaData) -> pa.ChunkedArray[Any]:
        import pyarrow as pa
        import pyarrow.parquet as pq

        if self.schema is not None and name not in footer.schema.to_arrow_schema().names:
            return pa.chunked_array([pa.nulls(footer.num_rows)])
        # Text stays the codes that the file holds: they are counted in a tenth of the time.
        opened = readable(file, () if isinstance(file, Path) else column_ranges(footer, name))
        read = pq.ParquetFile(opened, metadata=footer, read_dictionary=[name], memory_map=True).read(
            columns=[name]
        )[name]
        if self.schema is None or pa.types.is_dictionary(read.type):
            return read
        return read.cast(self.schema.field(name).type)

    @cached_property
    def _footers(self) -> list[pq.FileMetaData]:
        """What each file says of itself, read once."""
        import pyarrow.parquet as pq

        footers = [pq.read_metadata(readable(file)) for file in self.files]
        for file, footer in zip(self.files, footers, strict=True):
            require_known_parquet(footer.metadata, file)
        return footers

    @cached_property
    def _inside(self) -> pa.ChunkedArray[Any] | None:
        """Which rows are in the interval; None if all are."""
        import pyarrow.compute as pc

        if self.window is None:
            return None
        inside = self.window.holds(self._read(self.time_column))
        return None if pc.all(inside).as_py() else inside


@dataclass(frozen=True)
class LogRows:
    """Rows with further columns: of ``score`` and version 3 ``score@3``, which has only that version's rows.

    Parameters
    ----------
    rows
        The log; without versions or answers there are no further columns.
    columns
        Columns that hold answers.
    version
        Whose answers they are, when the rows do not tell.
    """

    rows: ColumnarRows
    columns: Sequence[str]
    version: str = ""

    @property
    def num_rows(self) -> int:
        """Number of rows."""
        return self.rows.num_rows

    @cached_property
    def column_names(self) -> list[str]:
        """Names of all columns."""
        return [*self.rows.column_names, *self.answers]

    @cached_property
    def answers(self) -> dict[str, tuple[str, str]]:
        """Column and version behind each further column."""
        present = self.rows.column_names
        versions = [self.version] if self.version else []
        if "model_version" in present:
            versions = sorted(map(str, self._versions.unique().drop_null().to_pylist()))
        wanted = [column for column in self.columns if column in present]
        return {of_version(column, v): (column, v) for column in wanted for v in versions}

    @property
    def numbers(self) -> frozenset[str]:
        """The further columns that are numbers."""
        return frozenset(name for name, (column, _) in self.answers.items() if column == "score")

    def __getitem__(self, name: str) -> pa.ChunkedArray[Any]:
        """Return one column."""
        import pyarrow.compute as pc

        if name not in self.answers:
            return self.rows[name]
        column, version = self.answers[name]
        if len(self.answers) == len(self.columns):
            return self.rows[column]
        return self.rows[column].filter(pc.equal(self._versions, version))

    @cached_property
    def _versions(self) -> pa.ChunkedArray[Any]:
        return self.rows["model_version"]
