"""Rows of Parquet files, one column in memory at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from evermodel.window import Window

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
    """

    files: Sequence[Path]
    window: Window | None = None
    time_column: str = ""

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

        return list(pq.read_schema(self.files[0]).names) if self.files else []

    def __getitem__(self, name: str) -> pa.ChunkedArray:
        """Read one column."""
        values = self._read(name)
        return values if self._inside is None else values.filter(self._inside)

    def _read(self, name: str) -> pa.ChunkedArray:
        import pyarrow as pa
        import pyarrow.parquet as pq

        # Text stays the codes that the file holds: they are counted in a tenth of the time.
        parts = [
            pq.ParquetFile(file, metadata=footer, read_dictionary=[name]).read(columns=[name])[name]
            for file, footer in zip(self.files, self._footers, strict=True)
        ]
        return pa.chunked_array([chunk for part in parts for chunk in part.chunks], parts[0].type)

    @cached_property
    def _footers(self) -> list[pq.FileMetaData]:
        """What each file says of itself, read once."""
        import pyarrow.parquet as pq

        return [pq.read_metadata(file) for file in self.files]

    @cached_property
    def _inside(self) -> pa.ChunkedArray | None:
        """Which rows are in the interval; None if all are."""
        import pyarrow.compute as pc

        if self.window is None:
            return None
        times = self._read(self.time_column)
        late_enough = pc.greater_equal(times, self.window.start)
        inside = pc.and_(late_enough, pc.less(times, self.window.end))
        return None if pc.all(inside).as_py() else inside
