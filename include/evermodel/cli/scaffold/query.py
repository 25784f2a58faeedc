"""The source query that a draft needs: a label of two values, an id and a time where the table has none."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from evermodel.cli.scaffold.roles import Roles
from evermodel.cli.scaffold.table import SourceTable
from evermodel.core.errors import SpecError
from evermodel.data.validation.scan import name

_SPAN = timedelta(days=90)
_WIDTH = 100
_DATE_PARTS = ("year", "month", "day", "hour")


@dataclass(frozen=True)
class Shape:
    """How the rows are read.

    Parameters
    ----------
    time, identity
        Columns, made by the query where the table has none.
    query
        None if every column is taken as it is.
    made_up
        True if the times say nothing about when anything was.
    """

    time: str
    identity: str
    query: str | None
    oldest: datetime
    newest: datetime
    made_up: bool = False
    notes: list[str] = field(default_factory=list)


def shape_rows(table: SourceTable, roles: Roles, order: str | None, today: datetime) -> Shape:
    """Return how the rows are to be read.

    Without an id, rows are named by a hash of their time and features, equal ones numbered. Without a time, year,
    month and day columns make one; else the rows are spread over the 90 days before today, in the order of the
    column ``order``, or shuffled by their hash.

    Parameters
    ----------
    order
        Column that tells which row came first, if a person named one.
    today
        The day that a made time ends with.
    """
    notes: list[str] = []
    steps: list[tuple[str, str]] = []
    source = table.origin.table or "source"
    if roles.label.expression is not None:
        steps.append(
            ("labelled", f"SELECT * REPLACE (({roles.label.expression}) AS {name(roles.label.column)})")
        )
    identity = roles.identity
    if identity is None:
        identity = _free("row_id", table)
        steps += _named(roles, identity)
        notes.append(
            f"{identity}: the table has no id; each row gets a hash of time and features, duplicates get a number."
        )
    time, made_up = roles.time, False
    if time is None:
        time = _free("row_time", table)
        expression, made_up, note = _time(table, order, identity, today)
        steps.append(("timed", f"SELECT *, {expression} AS {name(time)}"))
        notes.append(f"{time}: {note}")
    if steps and table.origin.table and not table.origin.place.startswith("duckdb"):
        raise SpecError(
            f"{table.origin.place}: {table.origin.table} needs {' and '.join(alias for alias, _ in steps)} rows, "
            "which evermodel init can write only in DuckDB's SQL",
            "create a view with a label of 0 and 1 (or numbers, or classes), an id and a time, and use it",
        )
    query = _chained(steps, source) if steps else None
    oldest, newest = _ends(table, query, time, source)
    return Shape(time, identity, query, oldest, newest, made_up, notes)


def _named(roles: Roles, identity: str) -> list[tuple[str, str]]:
    parts = [f"{name(c)}::VARCHAR" for c in (*([roles.time] if roles.time else []), *roles.features)]
    joined = _filled(parts)
    # Rows that differ only in the label are ordered by it, so that each has the same id every time.
    number = f"row_number() OVER (PARTITION BY {name(identity)} ORDER BY {name(roles.label.column)})"
    return [
        ("hashed", f"SELECT *, md5(concat_ws('|',\n    {joined})) AS {name(identity)}"),
        ("named", f"SELECT * REPLACE ({name(identity)} || '-' || {number} AS {name(identity)})"),
    ]


def _filled(parts: list[str]) -> str:
    """Join by commas into lines that are not too long; a name with blanks stays whole."""
    lines = [""]
    for part in parts[:-1]:
        if lines[-1] and len(lines[-1]) + len(part) > _WIDTH:
            lines.append("")
        lines[-1] += f"{part}, "
    return "\n    ".join(line.rstrip() for line in [*lines[:-1], lines[-1] + parts[-1]])


def _chained(steps: list[tuple[str, str]], source: str) -> str:
    """Join the steps: each reads what the one before it made."""
    *before, (_, last) = steps
    text, place = "", source
    for alias, select in before:
        text += f"{',' if text else 'WITH'} {alias} AS (\n  {select}\n  FROM {place}\n)"
        place = alias
    return f"{text}\n{last}\nFROM {place}".lstrip("\n")


def _time(table: SourceTable, order: str | None, identity: str, today: datetime) -> tuple[str, bool, str]:
    parts = {c.lower(): c for c in table.columns if c.lower() in _DATE_PARTS and table.columns[c].is_whole}
    if order is None and "year" in parts and _complete(table, parts):
        return _moment_of(parts), False, f"built from the columns {', '.join(parts.values())}."
    if order is not None and order not in table.columns:
        raise SpecError(
            f"{table.origin.place}: no column {order} to order by",
            f"it has: {', '.join(table.columns)}",
        )
    place = f"row_number() OVER (ORDER BY {name(order)}, md5({name(identity)}::VARCHAR))" if order else ""
    place = place or f"row_number() OVER (ORDER BY md5({name(identity)}::VARCHAR))"
    start, step = today - _SPAN, _SPAN / table.rows
    microseconds = max(step // timedelta(microseconds=1), 1)
    expression = (
        f"TIMESTAMPTZ '{start:%Y-%m-%d} 00:00:00+00' + to_microseconds(({place} - 1) * {microseconds})"
    )
    if order:
        return expression, True, f"synthetic: the rows in the order of {order}, over 90 days."
    return (
        expression,
        True,
        "synthetic: the table has no time, so its rows are shuffled over 90 days, and train, validation and test are a random "
        "split. If a column gives the order, write the spec again with --order; production data needs the time at which the "
        "features were known.",
    )


def _complete(table: SourceTable, parts: dict[str, str]) -> bool:
    """Tell whether the parts begin with the year and leave none out."""
    wanted = _DATE_PARTS[: len(parts)]
    return set(parts) == set(wanted) and all(table.columns[c].known == table.rows for c in parts.values())


def _moment_of(parts: dict[str, str]) -> str:
    def value(part: str, usual: str) -> str:
        return name(parts[part]) if part in parts else usual

    moment = f"make_timestamp({value('year', '1970')}, {value('month', '1')}, {value('day', '1')}, {value('hour', '0')}, 0, 0)"
    return f"{moment}::TIMESTAMPTZ"


def _ends(table: SourceTable, query: str | None, time: str, source: str) -> tuple[datetime, datetime]:
    rows = table.scan.source
    if query is not None:
        view = name(source.rpartition(".")[2])
        table.scan.connection.execute(
            f"CREATE OR REPLACE TEMP VIEW {view} AS SELECT * FROM {table.scan.source}"
        )
        rows = f"({query if source == 'source' else query.replace(source, view)})"
    [ends] = table.scan.rows(
        f"SELECT epoch_us(min(t)), epoch_us(max(t)) FROM (SELECT {name(time)}::TIMESTAMPTZ AS t FROM {rows})"
    )
    oldest, newest = (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=end) for end in ends)
    return oldest, newest


def _free(wanted: str, table: SourceTable) -> str:
    """Return a column name that the table does not have."""
    while wanted in table.columns:
        wanted += "_"
    return wanted
