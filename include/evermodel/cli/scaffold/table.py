"""Look at a table that nothing is known of: its columns with types, ranges and how many values they have."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evermodel.cli.scaffold.readings import Reading, may_be_days, read_texts, read_whole_numbers
from evermodel.core.errors import SourceError
from evermodel.core.extras import named_extras
from evermodel.core.logins import without_login
from evermodel.data.sources.files import FilesRelation
from evermodel.data.sources.relation import first_line, require_columns
from evermodel.data.validation.scan import Scan, name
from evermodel.spec import ModelSpec
from evermodel.spec.source import FilesSource
from evermodel.spec.window import Window, parse_moment

if TYPE_CHECKING:
    import pyarrow as pa

_SAMPLE_ROWS = 20_000
_TABLE_ROWS = 1_000_000
# Rows that a draft looks at, fewer of a wide table: rows times columns.
_LOOKED_ROWS, _LOOKED_CELLS = 200_000, 20_000_000
_EPOCH_TYPES = ("BIGINT", "INTEGER", "UBIGINT", "UINTEGER", "DOUBLE")
_COMMON_VALUES, _OTHER_VALUES = 100, 300
# Outside of it a time is a placeholder, such as 9999-12-31.
_FIRST, _LAST = "1900-01-01", "2100-01-01"


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

    @property
    def told(self) -> str:
        """The place without a login."""
        return without_login(self.place) if "://" in self.place else self.place

    @property
    def speaks_duckdb(self) -> bool:
        """True if a query in DuckDB's SQL can stand between the table and the model."""
        return not self.table or self.place.startswith("duckdb")

    def source(self) -> dict[str, str]:
        """Return the section `source` of a spec, without a query."""
        if self.table:
            return {"kind": "ibis", "url": self.place, "table": self.table}
        path = self.place if "://" in self.place else str(Path(self.place).absolute())
        return {"kind": "files", "path": path}


@dataclass(frozen=True)
class TableColumn:
    """One column as it was found, after its reading.

    Parameters
    ----------
    type
        The engine's type of what was read.
    known
        Rows that have a value.
    numbers, moments
        Values that can be read as numbers, and as times.
    outside
        Times that are placeholders: before 1900 or after 2100.
    low, high
        Lowest and highest value as text; of times where all are times.
    reading
        How raw values become these; None if they are taken as they are.
    """

    name: str
    type: str
    rows: int
    known: int
    distinct: int
    numbers: int
    moments: int
    outside: int
    low: str
    high: str
    reading: Reading | None = None

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
        """True if every row has a value of its own, as far as was looked."""
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
    """An open table: all of its rows, and the sample that guesses come from.

    Parameters
    ----------
    scan
        The rows of the sample, each column after its reading.
    rows
        Of the whole table.
    is_csv
        True if types are the engine's guess.
    """

    origin: Origin
    scan: Scan
    rows: int
    columns: dict[str, TableColumn]
    is_csv: bool
    looked: int

    @property
    def readings(self) -> dict[str, Reading]:
        """How columns are read that are not taken as they are."""
        return {c.name: c.reading for c in self.columns.values() if c.reading is not None}

    def values(self, column: str, most: int = 100) -> dict[str, int]:
        """Return the rows by value, the commonest first."""
        query = (
            f"SELECT {name(column)}::VARCHAR AS value, count(*) AS n FROM {self.scan.source} "
            f"WHERE {name(column)} IS NOT NULL GROUP BY 1 ORDER BY n DESC, value LIMIT {most}"
        )
        return {str(value): int(n) for value, n in self.scan.rows(query)}

    def whole(self, parts: list[str]) -> tuple[Any, ...]:
        """Return one row of aggregates over the raw rows of the whole table."""
        return self.scan.rows(f"SELECT {', '.join(parts)} FROM source")[0]

    def raw(self, column: str) -> str:
        """Return the SQL that reads a column of the whole table."""
        reading = self.columns[column].reading
        return reading.expression if reading is not None else name(column)

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
def open_table(origin: Origin, *, read: bool = True) -> Iterator[SourceTable]:
    """Open a table and describe each of its columns; raises `SourceError` if it cannot be read or is empty.

    Parameters
    ----------
    read
        Read texts as the times and numbers that they stand for; a query has to read them so, too.
    """
    import duckdb

    duck = duckdb.connect(config={"autoinstall_known_extensions": False})
    try:
        duck.execute("SET TimeZone = 'UTC'")
        duck.execute("SET enable_progress_bar = false")
        is_csv = _load(duck, origin)
        with _refused(origin):
            yield _described(duck, origin, is_csv, read=read and origin.speaks_duckdb)
    finally:
        duck.close()


def _described(duck: Any, origin: Origin, is_csv: bool, *, read: bool) -> SourceTable:
    """Look at a sample, find out how its columns are read, and look at what was read."""
    types = _types(duck, "source")
    rows = int(duck.execute("SELECT count(*) FROM source").fetchall()[0][0])
    if rows == 0:
        raise SourceError(
            f"{origin.told} has no rows", "use a table with data, from which the spec is guessed"
        )
    most = max(5_000, min(_LOOKED_ROWS, _LOOKED_CELLS // len(types)))
    some = f"USING SAMPLE reservoir({most} ROWS) REPEATABLE (0)" if rows > most else ""
    # Between an engine with SQL of its own and the model no reading can stand.
    readings = _readings(duck, types, some) if read else {}
    replaced = [f"{reading.expression} AS {name(column)}" for column, reading in readings.items()]
    replace = f" REPLACE ({', '.join(replaced)})" if replaced else ""
    duck.execute(f"CREATE TEMP TABLE looked_at AS SELECT *{replace} FROM source {some}")
    scan = Scan(duck, "looked_at", _types(duck, "looked_at"))
    looked_at = duck.sql("SELECT * FROM looked_at").to_arrow_table()
    columns = _look(scan, looked_at, readings)
    if read:
        columns = {c.name: _without_placeholders(c) for c in columns.values()}
    return SourceTable(origin, scan, rows, columns, is_csv, looked_at.num_rows)


def _types(duck: Any, relation: str) -> dict[str, str]:
    return {row[0]: row[1] for row in duck.execute(f"DESCRIBE {relation}").fetchall()}


@contextmanager
def _refused(origin: Origin) -> Iterator[None]:
    """Turn what the engine cannot do with a table into a sentence."""
    import duckdb

    try:
        yield
    except (duckdb.Error, OverflowError) as error:
        raise SourceError(
            f"{origin.told}: a draft cannot be made: {first_line(error)}",
            "look at the values of the columns that it names, and leave those out in a view or file of your own",
        ) from error


def _without_placeholders(column: TableColumn) -> TableColumn:
    """Read a time outside of 1900 to 2100 as missing."""
    if not column.outside or not column.is_time:
        return column
    inner = column.reading.expression if column.reading else name(column.name)
    moment = f"TRY_CAST({inner} AS TIMESTAMPTZ)"
    reading = Reading(
        "time",
        f"CASE WHEN {moment} BETWEEN TIMESTAMPTZ '{_FIRST}' AND TIMESTAMPTZ '{_LAST}' THEN {moment} END",
        f"{column.reading.note + ', ' if column.reading else ''}before {_FIRST[:4]} or after {_LAST[:4]} is missing",
    )
    known = column.known - column.outside
    return replace(column, reading=reading, known=known, moments=known, type="TIMESTAMP WITH TIME ZONE")


def _load(duck: Any, origin: Origin) -> bool:
    """Make the view `source`, times of CSV files as the text that they are; tell whether it is of CSV files."""
    import duckdb

    if origin.table:
        duck.register("source", _from_engine(origin))
        return False
    relation = FilesRelation(_placeholder(origin), FilesSource(path=origin.source()["path"]))
    day = Window(parse_moment("2000-01-01"), parse_moment("2000-01-02"))
    try:
        relation.open(duck, day, [])
        names = relation.names(duck)
        if not names:
            raise SourceError(f"{origin.told} is empty", "use a file with a header and rows")
        require_columns(relation.spec, names, names)
        if not relation.is_csv:
            return False
        # The engine's own guess of a format is no promise: 3/4/2025 is another day once a 13 follows.
        times = [c for c, kind in _types(duck, "source").items() if kind.startswith(("DATE", "TIME"))]
        if times:
            as_text = FilesSource(path=relation.source.path, text=tuple(times))
            duck.execute("DROP VIEW rows; DROP VIEW source")
            FilesRelation(relation.spec, as_text).open(duck, day, [])
    except (duckdb.Error, OSError) as error:
        raise relation.unreadable(error) from error
    return True


def _from_engine(origin: Origin) -> Any:
    with named_extras():
        import ibis
    try:
        database, _, table = origin.table.rpartition(".")
        found = ibis.connect(origin.place).table(table, database=database or None)
        return found.limit(_TABLE_ROWS).to_pyarrow()
    except Exception as error:
        raise SourceError(
            f"the table {origin.table} of {origin.told} cannot be read: {first_line(error)}",
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


def _readings(duck: Any, types: dict[str, str], some: str) -> dict[str, Reading]:
    found: dict[str, Reading] = {}
    texts = [c for c, kind in types.items() if kind == "VARCHAR"]
    whole = [c for c, kind in types.items() if kind in _EPOCH_TYPES]
    if not texts and not whole:
        return found
    rows = duck.sql(f"SELECT {', '.join(map(name, [*texts, *whole]))} FROM source {some}").to_arrow_table()
    for column in texts:
        if (reading := read_texts(column, _values(rows[column]))) is not None:
            found[column] = reading
    for column in whole:
        low, high = _ends(rows[column])
        if low is None or not math.isfinite(low) or not math.isfinite(high):
            continue
        days = f"count(try_strptime({name(column)}::VARCHAR, '%Y%m%d')), count({name(column)})"
        as_days = (
            may_be_days(low, high) and len(set(duck.execute(f"SELECT {days} FROM source").fetchall()[0])) == 1
        )
        if (read := read_whole_numbers(column, int(low), int(high), as_days=as_days)) is not None:
            found[column] = read
    return {column: found[column] for column in types if column in found}


def _ends(values: pa.ChunkedArray[Any]) -> tuple[Any, Any]:
    import pyarrow.compute as pc

    ends = pc.min_max(values)
    return ends["min"].as_py(), ends["max"].as_py()


def _values(texts: pa.ChunkedArray[Any]) -> dict[str, int]:
    """Return the commonest values of a column, and others from everywhere in it, with how often each is there."""
    import pyarrow.compute as pc

    counted = pc.value_counts(texts.drop_null())
    order = pc.sort_indices(counted.field("counts"), sort_keys=[("", "descending")])
    common, rest = order[:_COMMON_VALUES], order[_COMMON_VALUES:].sort()
    others = rest[:: max(1, len(rest) // _OTHER_VALUES)]
    return {
        row["values"]: row["counts"] for part in (common, others) for row in counted.take(part).to_pylist()
    }


def _look(scan: Scan, rows: pa.Table, readings: dict[str, Reading]) -> dict[str, TableColumn]:
    """Describe each column; only what may be a time, or a number written as text, is asked of the engine."""
    columns: dict[str, TableColumn] = {}
    for column, kind in scan.types.items():
        plain, values = name(column), rows[column]
        known = len(values) - values.null_count
        numbers = moments = outside = 0
        if kind.startswith(("DATE", "TIMESTAMP")) or (kind == "VARCHAR" and _has_digit(values)):
            text, moment = f"{plain}::VARCHAR", f"TRY_CAST({plain} AS TIMESTAMPTZ)"
            numbers, moments, outside, low, high = scan.row(
                [
                    f"count(TRY_CAST({text} AS DOUBLE))",
                    f"count({moment})",
                    f"count(*) FILTER ({moment} NOT BETWEEN TIMESTAMPTZ '{_FIRST}' AND TIMESTAMPTZ '{_LAST}')",
                    f"min({plain})::VARCHAR",
                    f"max({plain})::VARCHAR",
                ]
            )
        else:
            low, high = _shown_ends(values)
        counts = (len(values), known, _distinct(values), numbers, moments, outside)
        columns[column] = TableColumn(column, kind, *counts, low or "", high or "", readings.get(column))
    return columns


def _has_digit(texts: pa.ChunkedArray[Any]) -> bool:
    """Tell whether one of the first texts has a digit: without it they are neither numbers nor times."""
    return any(
        letter.isdigit() for text in texts.slice(0, _COMMON_VALUES).to_pylist() if text for letter in text
    )


def _shown_ends(values: pa.ChunkedArray[Any]) -> tuple[str, str]:
    import pyarrow as pa

    try:
        low, high = _ends(values)
    except pa.ArrowNotImplementedError:  # of a list or a struct
        return "", ""
    return ("" if low is None else str(low)), ("" if high is None else str(high))


def _distinct(values: pa.ChunkedArray[Any]) -> int:
    import pyarrow as pa
    import pyarrow.compute as pc

    try:
        return int(pc.count_distinct(values, mode="only_valid").as_py())
    except pa.ArrowNotImplementedError:
        return len({str(value) for value in values.drop_null().to_pylist()})
