"""A snapshot open in DuckDB, with its columns, each under the SQL that reads it as a number."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evermodel.core.errors import SourceError
from evermodel.data.local_engine import local_engine

if TYPE_CHECKING:
    import duckdb

_FLOATS = ("DOUBLE", "FLOAT")
_NUMBERS = (
    "TINYINT",
    "SMALLINT",
    "INTEGER",
    "BIGINT",
    "HUGEINT",
    "UTINYINT",
    "USMALLINT",
    "UINTEGER",
    "UBIGINT",
    "DECIMAL",
)
# A limit on the engine, which writes to disk beyond it; what Python and the file's pages take comes on top.


@dataclass(frozen=True)
class Scan:
    """One snapshot; `types` names its columns as the engine types them."""

    connection: duckdb.DuckDBPyConnection
    source: str
    types: dict[str, str]

    def row(self, parts: Sequence[str]) -> Sequence[Any]:
        """Return one row of aggregates over the whole snapshot."""
        if not parts:
            return ()
        query = f"SELECT {', '.join(parts)} FROM {self.source}"
        return self.rows(query)[0]

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """Return the rows of a query."""
        return self.connection.execute(query).fetchall()

    def has_fractions(self, column: str) -> bool:
        """Tell whether a column can hold not-a-number and infinity."""
        return self.types[column] in _FLOATS

    def is_text(self, column: str) -> bool:
        """Tell whether a column has to be read before it is a number."""
        return (
            not self.has_fractions(column) and not self.is_whole(column) and self.types[column] != "BOOLEAN"
        )

    def is_whole(self, column: str) -> bool:
        """Tell whether a column is of a number type without fractions, or exact ones."""
        return self.types[column].split("(")[0] in _NUMBERS

    def number(self, column: str) -> str:
        """Return the SQL that reads a column as a number; what is none becomes null."""
        if self.types[column] == "DOUBLE":
            return name(column)
        if self.has_fractions(column) or self.is_whole(column):
            return f"{name(column)}::DOUBLE"
        if self.types[column] == "BOOLEAN":
            return f"{name(column)}::INTEGER::DOUBLE"
        return f"TRY_CAST({name(column)}::VARCHAR AS DOUBLE)"


@contextmanager
def scan(file: Path) -> Iterator[Scan]:
    """Open a snapshot.

    Parameters
    ----------
    file
        A Parquet file, or a folder of such files.

    Raises
    ------
    SourceError
        The file is missing or is no whole Parquet file.
    """
    import duckdb

    place = str(file / "**" / "*.parquet") if file.is_dir() else str(file)
    with local_engine() as connection:
        try:
            connection.execute("SET parquet_metadata_cache = true")
            source = f"read_parquet({text(place)})"
            described = connection.execute(f"DESCRIBE SELECT * FROM {source}").fetchall()
            yield Scan(connection, source, {row[0]: row[1] for row in described})
        except duckdb.Error as error:
            reason = str(error).split("\n", maxsplit=1)[0]
            raise SourceError(
                f"the snapshot {file} cannot be read: {reason}",
                "clear the extract task to write it again",
            ) from error


def name(column: str) -> str:
    """Return a column's name as SQL."""
    return '"' + column.replace('"', '""') + '"'


def text(value: str) -> str:
    """Return a text as SQL."""
    return "'" + value.replace("'", "''") + "'"
