"""Parquet files of the serving log, by arro3: 35 MB where pyarrow takes 170, and imported in a hundredth of its time."""

from __future__ import annotations

import io
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal, TypeVar, cast

from evermodel.core.errors import EvermodelError

if TYPE_CHECKING:
    from arro3.core import DataType, Table

# By the names that Arrow gives them, which the notes of the table's pending files have, too.
Kind = Literal["double", "string", "timestamp[us, tz=UTC]"]
_Piece = TypeVar("_Piece")
_EPOCH, _MICROSECOND = datetime.fromtimestamp(0, UTC), timedelta(microseconds=1)
# arro3 holds the interpreter, and with it requests, for each piece of rows: 1 ms for 2,000 rows of 23 columns. After
# each, requests that wait have their turn.
_ROWS_AT_ONCE = 2_000
_REST_SECONDS = 0.002


class LogFileError(EvermodelError):
    """A file of the log cannot be read or written."""


def log_rows(columns: Mapping[str, tuple[Kind, Sequence[Any]]]) -> Table:
    """Return rows as Arrow columns; NaN, which stands for a missing number, becomes null."""
    from arro3.core import Array, DataType, Table

    made: dict[str, Any] = {}
    for name, (kind, values) in columns.items():
        if kind == "double":
            made[name] = Array([None if value != value else value for value in values], DataType.float64())
        elif kind == "string":
            made[name] = Array(values, DataType.utf8())
        else:
            moments = Array([(value - _EPOCH) // _MICROSECOND for value in values], DataType.int64())
            made[name] = moments.cast(_types()[kind])
    return Table.from_pydict(made)


def join(tables: Sequence[Table]) -> Table:
    """Return the rows of tables with the same columns."""
    from arro3.core import Table

    return Table.from_batches([batch for table in tables for batch in table.to_batches()])


def write_rows(table: Table, path: Path, metadata: Mapping[str, str]) -> None:
    """Write a file with metadata.

    Raises
    ------
    LogFileError
        The rows cannot be written; `OSError` if the disk fails.
    """
    from arro3.io import write_parquet

    unlike = [name for name, kind in kinds_of(table).items() if kind != "string" or name == "prediction_id"]
    with _failures(path), path.open("wb", buffering=0) as file:
        write_parquet(
            table,
            cast("IO[bytes]", _Yielding(file)),
            # looking for repeated values that are not there takes longer than all the rest
            column_dictionary_enabled=dict.fromkeys(unlike, False),
            compression="snappy",  # compaction compresses more, where no request waits
            key_value_metadata={**metadata},
            max_row_group_size=_ROWS_AT_ONCE,
            skip_arrow_metadata=True,  # Arrow's own copy of the schema would hide the metadata from pyarrow
        )


class _Yielding(io.RawIOBase):
    """A file whose writes are Python's, and rest, so that requests get the interpreter between two row groups."""

    def __init__(self, file: io.FileIO) -> None:
        self._file = file

    def writable(self) -> bool:
        """Return true."""
        return True

    def write(self, data: Any) -> int:
        """Write all of the data."""
        left = memoryview(data)
        while left:
            left = left[self._file.write(left) :]
        time.sleep(_REST_SECONDS)
        return len(data)


def read_rows(path: Path) -> tuple[Table, dict[str, str]]:
    """Read a file's rows and metadata; raises `LogFileError` if it is damaged, or `OSError` of the disk."""
    from arro3.core import Table
    from arro3.io import read_parquet

    with _failures(path):
        reader = read_parquet(path, batch_size=_ROWS_AT_ONCE)
        metadata = {key.decode(): value.decode() for key, value in reader.schema.metadata.items()}
        return Table.from_batches([*_resting(reader)], schema=reader.schema), metadata


def kinds_of(table: Table) -> dict[str, str]:
    """Return the kind of each column, by name."""
    found = {}
    for name in table.column_names:
        kind = table.column(name).type
        found[name] = next((known for known, one in _types().items() if one == kind), str(kind))
    return found


def bounds_of(table: Table) -> dict[str, tuple[Any, Any]]:
    """Return the smallest and the largest value of the columns by which engines leave files out."""
    from arro3.core import DataType

    ids = _ends(chunk.to_pylist() for chunk in table.column("prediction_id").chunks)
    times = _ends(chunk.cast(DataType.int64()).to_pylist() for chunk in table.column("event_time").chunks)
    first, last = (_EPOCH + micros * _MICROSECOND for micros in times)
    return {"event_time": (first, last), "prediction_id": ids}


def _ends(parts: Iterable[Any]) -> tuple[Any, Any]:
    """Return the smallest and the largest value."""
    ends = [(min(part), max(part)) for part in _resting(parts) if len(part)]
    return min(first for first, _ in ends), max(last for _, last in ends)


def _resting(pieces: Iterable[_Piece]) -> Iterator[_Piece]:
    for piece in pieces:
        yield piece
        time.sleep(_REST_SECONDS)


@cache
def _types() -> dict[Kind, DataType]:
    from arro3.core import DataType

    return {
        "double": DataType.float64(),
        "string": DataType.utf8(),
        "timestamp[us, tz=UTC]": DataType.timestamp("us", tz="UTC"),
    }


@contextmanager
def _failures(path: Path) -> Iterator[None]:
    """Raise what arro3 raises as an error of the file; a damaged footer is a panic there, and no `Exception`."""
    try:
        yield
    except OSError:
        raise
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise LogFileError(
            f"{path} cannot be read or written as Parquet: {error}",
            "see the program's log for what became of its rows",
        ) from error
