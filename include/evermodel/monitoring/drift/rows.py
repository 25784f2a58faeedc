"""Rows of Parquet files, one column in memory at a time, with the answers of each version as columns of their own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from threading import local
from typing import TYPE_CHECKING, Any

from evermodel.core.errors import SourceError
from evermodel.core.formats import require_known_parquet
from evermodel.core.storage import StoragePath, readable
from evermodel.data.parquet import column_ranges
from evermodel.monitoring.drift.profile import of_version
from evermodel.monitoring.drift.reference_and_current import ColumnarRows, pieces
from evermodel.spec.window import Window

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

    _Block = tuple[StoragePath, pq.FileMetaData, list[int]]

_BLOCK_ROWS = 2**20
_SMALL_VALUES = 2_000_000  # 16 MB
_MOST_OPEN = 64


class _Readers(local):
    """The open files of each thread; nothing of them goes with rows that are pickled."""

    def __init__(self) -> None:
        self.kept: dict[Path, pq.ParquetFile] = {}

    def __reduce__(self) -> tuple[type[_Readers], tuple[()]]:
        return _Readers, ()


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

    _nulls: dict[str, int] = field(default_factory=dict, compare=False, repr=False)
    _tables: dict[tuple[str, int], pa.Table] = field(default_factory=dict, compare=False, repr=False)
    _readers: _Readers = field(default_factory=lambda: _Readers(), compare=False, repr=False)

    @cached_property
    def num_rows(self) -> int:
        """Number of rows."""
        return sum(self.rows_by_file)

    @cached_property
    def rows_by_file(self) -> list[int]:
        """Number of rows of each file."""
        import pyarrow.compute as pc

        if self._inside is None:
            return [footer.num_rows for footer in self._footers]
        rows = dict.fromkeys(map(str, self.files), 0)
        for (file, *_), inside in zip(self._blocks, self._inside, strict=True):
            rows[str(file)] += int(pc.sum(inside).as_py() or 0)
        return list(rows.values())

    @cached_property
    def column_names(self) -> list[str]:
        """Names of the columns."""
        import pyarrow.parquet as pq

        if self.schema is not None:
            return list(self.schema.names)
        return list(pq.read_schema(readable(self.files[0])).names) if self.files else []

    def __getitem__(self, name: str) -> pa.ChunkedArray[Any]:
        """Read one column."""
        import pyarrow as pa

        return pa.chunked_array(list(self.pieces(name)) or [pa.nulls(0)])

    def pieces(self, name: str) -> Iterator[pa.Array[Any]]:
        """Read one column, piece by piece: of as many row groups as a piece has, and of one file."""
        nulls = 0
        for place, block in enumerate(self._blocks):
            values = self._read(name, block)
            if self._inside is not None:
                values = values.filter(self._inside[place])
            nulls += values.null_count
            yield from values.chunks
        self._nulls[name] = nulls

    def null_count(self, name: str) -> int | None:
        """Return how many rows lack a value, of a column that was read before."""
        return self._nulls.get(name)

    def note_nulls(self, name: str, nulls: int) -> None:
        """Keep how many rows lack a value, of a column that was read elsewhere."""
        self._nulls[name] = nulls

    def _read(self, name: str, block: _Block) -> pa.ChunkedArray[Any]:
        import pyarrow as pa

        file, footer, groups = block
        if self.schema is not None and name not in self._names[file]:
            kind = self.schema.field(name).type
            text = pa.dictionary(pa.int32(), kind) if pa.types.is_string(kind) else kind
            rows = sum(footer.row_group(group).num_rows for group in groups)
            return pa.chunked_array([pa.nulls(rows, text)])
        read = self._table(block)[name] if self._small else self._columns(block, [name])[name]
        if self.schema is None or pa.types.is_dictionary(read.type):
            return read
        return read.cast(self.schema.field(name).type)

    def _table(self, block: _Block) -> pa.Table:
        """Return all columns of a piece, read once."""
        key = (str(block[0]), block[2][0])
        if key not in self._tables:
            self._tables[key] = self._columns(block, block[1].schema.to_arrow_schema().names)
        return self._tables[key]

    def _columns(self, block: _Block, names: list[str]) -> pa.Table:
        with _named(block[0]):
            return self._reader(block, names).read_row_groups(block[2], columns=names)

    @cached_property
    def _small(self) -> bool:
        """Whether the columns are read at once, because opening files takes most of the time."""
        values = sum(footer.num_rows * footer.num_columns for footer in self._footers)
        return values <= _SMALL_VALUES

    def _reader(self, block: _Block, names: list[str]) -> pq.ParquetFile:
        """Open a file; a local one once for each thread, because of many columns that takes longer than to read one."""
        import pyarrow.parquet as pq

        file, footer, groups = block

        def opened(place: Any) -> pq.ParquetFile:
            # Text stays the codes that the file holds: they are counted in a tenth of the time.
            return pq.ParquetFile(place, metadata=footer, read_dictionary=list(self._names[file]))

        if not isinstance(file, Path):
            ranges = [column_ranges(footer, name, groups) for name in names]
            return opened(readable(file, [span for spans in ranges for span in spans]))
        kept = self._readers.kept
        if file not in kept:
            if len(kept) >= _MOST_OPEN:
                kept.clear()
            kept[file] = opened(file)
        return kept[file]

    @cached_property
    def _footers(self) -> list[pq.FileMetaData]:
        """What each file says of itself, read once."""
        import pyarrow.parquet as pq

        footers = []
        for file in self.files:
            with _named(file):
                footers.append(pq.read_metadata(readable(file)))
            require_known_parquet(footers[-1].metadata, file)
        return footers

    @cached_property
    def _names(self) -> dict[StoragePath, frozenset[str]]:
        """The columns of each file."""
        pairs = zip(self.files, self._footers, strict=True)
        return {file: frozenset(footer.schema.to_arrow_schema().names) for file, footer in pairs}

    @cached_property
    def _blocks(self) -> list[_Block]:
        """Row groups that are read at once."""
        found = []
        for file, footer in zip(self.files, self._footers, strict=True):
            groups: list[int] = []
            rows = 0
            for group in range(footer.num_row_groups):
                more = footer.row_group(group).num_rows
                if groups and rows + more > _BLOCK_ROWS:
                    found.append((file, footer, groups))
                    groups, rows = [], 0
                groups.append(group)
                rows += more
            if groups:
                found.append((file, footer, groups))
        return found

    @cached_property
    def _inside(self) -> list[pa.ChunkedArray[Any]] | None:
        """Which rows of each block are in the interval; None if all are."""
        import pyarrow.compute as pc

        if self.window is None:
            return None
        inside = [self.window.holds(self._read(self.time_column, block)) for block in self._blocks]
        return None if all(pc.all(some).as_py() for some in inside) else inside


@contextmanager
def _named(file: StoragePath) -> Iterator[None]:
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, OSError) as error:
        raise SourceError(
            f"{file} cannot be read: {error}", "score its day again, which replaces it, or restore the file"
        ) from error


@dataclass(frozen=True)
class RenamedRows:
    """Rows with one column under another name."""

    rows: ParquetRows
    old: str
    new: str

    @property
    def num_rows(self) -> int:
        """Number of rows."""
        return self.rows.num_rows

    @property
    def column_names(self) -> list[str]:
        """Names of the columns."""
        return [self.new if name == self.old else name for name in self.rows.column_names]

    def __getitem__(self, name: str) -> pa.ChunkedArray[Any]:
        """Read one column."""
        return self.rows[self.old if name == self.new else name]

    def pieces(self, name: str) -> Iterator[pa.Array[Any]]:
        """Read one column, piece by piece."""
        return self.rows.pieces(self.old if name == self.new else name)


def null_count(rows: ColumnarRows, name: str) -> int:
    """Return how many rows lack a value; a column of files that was read before is not read again."""
    known = rows.null_count(name) if isinstance(rows, ParquetRows) else None
    return sum(piece.null_count for piece in pieces(rows, name)) if known is None else known


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
            found = {v for piece in pieces(self.rows, "model_version") for v in piece.unique().to_pylist()}
            versions = sorted(str(version) for version in found if version is not None)
        wanted = [column for column in self.columns if column in present]
        return {of_version(column, v): (column, v) for column in wanted for v in versions}

    @property
    def numbers(self) -> frozenset[str]:
        """The further columns that are numbers."""
        return frozenset(name for name, (column, _) in self.answers.items() if column == "score")

    def __getitem__(self, name: str) -> pa.ChunkedArray[Any]:
        """Return one column."""
        import pyarrow as pa

        return pa.chunked_array(list(self.pieces(name)) or [pa.nulls(0)])

    def pieces(self, name: str) -> Iterator[pa.Array[Any]]:
        """Return one column, piece by piece."""
        import pyarrow.compute as pc

        if name not in self.answers:
            yield from pieces(self.rows, name)
            return
        column, version = self.answers[name]
        if len(self.answers) == len(self.columns):
            yield from pieces(self.rows, column)
            return
        for values, versions in _side_by_side(pieces(self.rows, column), pieces(self.rows, "model_version")):
            yield values.filter(pc.equal(versions, version))


def _side_by_side(
    one: Iterator[pa.Array[Any]], other: Iterator[pa.Array[Any]]
) -> Iterator[tuple[pa.Array[Any], pa.Array[Any]]]:
    """Cut two columns at the same rows."""
    left, right = next(one, None), next(other, None)
    while left is not None and right is not None:
        rows = min(len(left), len(right))
        yield left[:rows], right[:rows]
        left = left[rows:] if rows < len(left) else next(one, None)
        right = right[rows:] if rows < len(right) else next(other, None)
