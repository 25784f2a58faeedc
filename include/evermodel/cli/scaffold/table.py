"""Look at a table that nothing is known of: its columns with types, ranges and how many values they have."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evermodel.core.errors import SourceError
from evermodel.core.extras import named_extras
from evermodel.data.sources.files import FilesRelation
from evermodel.data.validation.scan import Scan, name
from evermodel.spec import ModelSpec
from evermodel.spec.source import FilesSource
from evermodel.spec.window import Window, parse_moment

_SAMPLE_ROWS = 20_000
_TABLE_ROWS = 1_000_000


@dataclass(frozen=True)
class Origin:
    """Where a table is: files, or a table in an engine that Ibis knows.

    Parameters
    ----------
    place
        Path, glob or URL of the files, or the engine's address.
    table
        The table's name; empty for files.
    """

    place: str
    table: str = ""

    @property
    def stem(self) -> str:
        """A name for what is in it."""
        if self.table:
            return self.table.rpartition(".")[2]
        return Path(self.place).name.split(".")[0].strip("*?[]") or Path(self.place).parent.name

    def source(self) -> dict[str, str]:
        """Return the section `source` of a spec, without a query."""
        if self.table:
            return {"kind": "ibis", "url": self.place, "table": self.table}
        path = self.place if "://" in self.place else str(Path(self.place).absolute())
        return {"kind": "files", "path": path}


@dataclass(frozen=True)
class TableColumn:
    """One column as it was found.

    Parameters
    ----------
    known
        Rows that have a value.
    numbers, moments
        Values that can be read as numbers, and as times.
    low, high
        Lowest and highest value as text; of times where all are times.
    """

    name: str
    type: str
    rows: int
    known: int
    distinct: int
    numbers: int
    moments: int
    low: str
    high: str

    @property
    def is_number(self) -> bool:
        """True if the type is one of numbers."""
        return self.type.split("(")[0] in _NUMBER_TYPES

    @property
    def is_whole(self) -> bool:
        """True if the type holds whole numbers only."""
        return self.is_number and self.type.split("(")[0] not in ("DOUBLE", "FLOAT", "DECIMAL")

    @property
    def is_time(self) -> bool:
        """True if the type is one of moments, or if every text can be read as one."""
        if self.type.startswith(("TIMESTAMP", "DATE")):
            return True
        return self.type == "VARCHAR" and self.known > 0 and self.moments == self.known

    @property
    def unique(self) -> bool:
        """True if every row has a value of its own."""
        return self.known == self.distinct == self.rows


_NUMBER_TYPES = (
    "DOUBLE",
    "FLOAT",
    "DECIMAL",
    "TINYINT",
    "SMALLINT",
    "INTEGER",
    "BIGINT",
    "HUGEINT",
    "UTINYINT",
    "USMALLINT",
    "UINTEGER",
    "UBIGINT",
)


@dataclass(frozen=True)
class SourceTable:
    """An open table."""

    origin: Origin
    scan: Scan
    rows: int
    columns: dict[str, TableColumn]

    def values(self, column: str, most: int = 100) -> dict[str, int]:
        """Return the rows by value, the commonest first."""
        query = (
            f"SELECT {name(column)}::VARCHAR AS value, count(*) AS n FROM {self.scan.source} "
            f"WHERE {name(column)} IS NOT NULL GROUP BY 1 ORDER BY n DESC, value LIMIT {most}"
        )
        return {str(value): int(n) for value, n in self.scan.rows(query)}

    def sample(self, expressions: dict[str, str]) -> dict[str, Any]:
        """Return arrays of expressions over the same random rows, drawn the same each time."""
        parts = ", ".join(f"{sql} AS {name(alias)}" for alias, sql in expressions.items())
        query = (
            f"SELECT {parts} FROM (SELECT * FROM {self.scan.source}) "
            f"USING SAMPLE reservoir({_SAMPLE_ROWS} ROWS) REPEATABLE (0)"
        )
        arrays: dict[str, Any] = self.scan.connection.execute(query).fetchnumpy()
        return arrays


@contextmanager
def open_table(origin: Origin) -> Iterator[SourceTable]:
    """Open a table and describe each of its columns; raises `SourceError` if it cannot be read or is empty."""
    import duckdb

    duck = duckdb.connect(config={"autoinstall_known_extensions": False})
    try:
        duck.execute("SET TimeZone = 'UTC'")
        duck.execute("SET enable_progress_bar = false")
        _load(duck, origin)
        described = duck.execute("DESCRIBE looked_at").fetchall()
        scan = Scan(duck, "looked_at", {row[0]: row[1] for row in described})
        rows = int(scan.row(["count(*)"])[0])
        if rows == 0:
            raise SourceError(
                f"{origin.place} has no rows", "use a table with data, from which the spec is guessed"
            )
        yield SourceTable(origin, scan, rows, _look(scan, rows))
    finally:
        duck.close()


def _load(duck: Any, origin: Origin) -> None:
    import duckdb

    if origin.table:
        rows = _from_engine(origin)
        duck.register("looked_at", rows)
        return
    source = FilesSource(path=origin.source()["path"])
    relation = FilesRelation(_placeholder(origin), source)
    try:
        day = Window(parse_moment("2000-01-01"), parse_moment("2000-01-02"))
        relation.open(duck, day, [])
        duck.execute("CREATE TEMP TABLE looked_at AS SELECT * FROM source")
    except (duckdb.Error, OSError) as error:
        raise relation.unreadable(error) from error


def _from_engine(origin: Origin) -> Any:
    with named_extras():
        import ibis
    try:
        database, _, table = origin.table.rpartition(".")
        found = ibis.connect(origin.place).table(table, database=database or None)
        return found.limit(_TABLE_ROWS).to_pyarrow()
    except Exception as error:
        raise SourceError(
            f"the table {origin.table} of {origin.place} cannot be read: {str(error).splitlines()[0]}",
            "check the URL and the table's name",
        ) from error


def _placeholder(origin: Origin) -> ModelSpec:
    """Return a spec that reads nothing of a table yet."""
    return ModelSpec.model_validate(
        {
            "name": "draft",
            "source": origin.source(),
            "time_column": "\0time",
            "id_column": "\0id",
            "label": {"column": "\0label"},
            "features": {"numeric": ["\0feature"]},
            "candidates": [{"name": "any", "estimator": "sklearn.linear_model.Ridge"}],
        }
    )


def _look(scan: Scan, rows: int) -> dict[str, TableColumn]:
    columns: dict[str, TableColumn] = {}
    for column, kind in scan.types.items():
        plain, text = name(column), f"{name(column)}::VARCHAR"
        known, distinct, numbers, moments, low, high = scan.row(
            [
                f"count({plain})",
                f"count(DISTINCT {plain})",
                f"count(TRY_CAST({text} AS DOUBLE))",
                f"count(TRY_CAST({text} AS TIMESTAMPTZ))",
                f"min({plain})::VARCHAR",
                f"max({plain})::VARCHAR",
            ]
        )
        columns[column] = TableColumn(
            column, kind, rows, known, distinct, numbers, moments, low or "", high or ""
        )
    return columns
