"""Rows of Parquet files, one column in memory at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evermodel.core.formats import require_known_parquet
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

    files: Sequence[Path]
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
        return list(pq.read_schema(self.files[0]).names) if self.files else []

    def __getitem__(self, name: str) -> pa.ChunkedArray[Any]:
        """Read one column."""
        values = self._read(name)
        return values if self._inside is None else values.filter(self._inside)

    def _read(self, name: str) -> pa.ChunkedArray[Any]:
        import pyarrow as pa

        parts = [self._part(name, *found) for found in zip(self.files, self._footers, strict=True)]
        kind = next((part.type for part in parts if not pa.types.is_null(part.type)), pa.null())
        return pa.chunked_array([chunk for part in parts for chunk in part.cast(kind).chunks], kind)

    def _part(self, name: str, file: Path, footer: pq.FileMetaData) -> pa.ChunkedArray[Any]:
        import pyarrow as pa
        import pyarrow.parquet as pq

        if self.schema is not None and name not in footer.schema.to_arrow_schema().names:
            return pa.chunked_array([pa.nulls(footer.num_rows)])
        # Text stays the codes that the file holds: they are counted in a tenth of the time.
        read = pq.ParquetFile(file, metadata=footer, read_dictionary=[name], memory_map=True).read(
            columns=[name]
        )[name]
        if self.schema is None or pa.types.is_dictionary(read.type):
            return read
        return read.cast(self.schema.field(name).type)

    @cached_property
    def _footers(self) -> list[pq.FileMetaData]:
        """What each file says of itself, read once."""
        import pyarrow.parquet as pq

        footers = [pq.read_metadata(file) for file in self.files]
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
