"""The source query that a draft needs: raw values as times and numbers, a label of two values, an id and a time."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from evermodel.cli.scaffold.readings import Reading
from evermodel.cli.scaffold.roles import Named, Roles
from evermodel.cli.scaffold.table import SourceTable
from evermodel.core.errors import SpecError
from evermodel.data.sources.relation import first_line
from evermodel.data.validation.scan import name

_SPAN = timedelta(days=90)
_WIDTH = 100
_DATE_PARTS = ("year", "month", "day", "hour")
# Rows at either end that do not stretch the time which a table covers.
_STRAY = 0.001


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


def shape_rows(table: SourceTable, roles: Roles, named: Named, today: datetime) -> Shape:
    """Return how the rows are to be read.

    Without an id, rows are named by a hash of their time and features, equal ones numbered. Without a time, year,
    month and day columns make one; else, if a person says so, the rows are spread over the 90 days before today, in the
    order of a column, or shuffled by their hash.

    Parameters
    ----------
    today
        The day that a made time ends with.

    Raises
    ------
    SpecError
        No column is the time, and nobody said what else gives the order.
    """
    notes = [f"{c}: {reading.note}." for c, reading in used_readings(table, roles).items()]
    source = table.origin.table or "source"
    steps = _read(table, roles)
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
        expression, made_up, note = _time(table, named, identity, today)
        steps.append(("timed", f"SELECT *, {expression} AS {name(time)}"))
        notes.append(f"{time}: {note}")
    elif table.columns[time].known < table.columns[time].rows:
        notes.append(
            f"{time}: {table.columns[time].rows - table.columns[time].known:,} of {table.looked:,} rows "
            "have none; they are left out."
        )
    if steps and not table.origin.speaks_duckdb:
        raise SpecError(
            f"{table.origin.told}: {table.origin.table} needs {' and '.join(alias for alias, _ in steps)} rows, "
            "which evermodel init can write only in DuckDB's SQL",
            "create a view with a label of 0 and 1 (or numbers, or classes), an id and a time, and use it",
        )
    query = _chained(steps, source) if steps else None
    if made_up:
        # The last row stands before midnight: a retrain as of today sees all of them.
        newest = today - timedelta(microseconds=1)
        return Shape(time, identity, query, today - _SPAN, newest, made_up, notes)
    oldest, newest = _ends(table, roles.time)
    return Shape(time, identity, query, oldest, newest, made_up, notes)


def used_readings(table: SourceTable, roles: Roles) -> dict[str, Reading]:
    """Return the readings of the columns that the model sees."""
    used = {roles.label.column, roles.time, roles.identity, *roles.features, *roles.context.columns}
    return {c: reading for c, reading in table.readings.items() if c in used}


def _read(table: SourceTable, roles: Roles) -> list[tuple[str, str]]:
    replaced = [f"{reading.expression} AS {name(c)}" for c, reading in used_readings(table, roles).items()]
    return [("typed", "SELECT * REPLACE (\n    " + ",\n    ".join(replaced) + "\n  )")] if replaced else []


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


def _time(table: SourceTable, named: Named, identity: str, today: datetime) -> tuple[str, bool, str]:
    order = named.order
    parts = _date_parts(table)
    if order is None and "year" in parts and _complete(table, parts):
        return _moment_of(parts), False, f"built from the columns {', '.join(parts.values())}."
    if order is None and not named.shuffle:
        raise _no_time(table)
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
        "synthetic: with --shuffle, rows are spread over 90 days at random, and train, validation and test are a random "
        "split. If a column gives the order, write the spec again with --order; production data needs the time at which the "
        "features were known.",
    )


def _no_time(table: SourceTable) -> SpecError:
    """Return the question that a table without a time raises: a random order would hide that the future is seen."""
    near = [
        f"{c.name} ({c.known:,} of {c.rows:,} rows have one)"
        for c in table.columns.values()
        if c.is_time and c.known
    ]
    found = f"; columns that might be: {', '.join(near[:5])}" if near else ""
    return SpecError(
        f"{table.origin.told}: no column tells when the features of a row were known{found}",
        "name it with --time COLUMN; or name a column that gives the order with --order COLUMN; or, for data in which "
        "time plays no part, accept a random split with --shuffle",
    )


def _date_parts(table: SourceTable) -> dict[str, str]:
    return {c.lower(): c for c in table.columns if c.lower() in _DATE_PARTS and table.columns[c].is_whole}


def _complete(table: SourceTable, parts: dict[str, str]) -> bool:
    """Tell whether the parts begin with the year and leave none out."""
    wanted = _DATE_PARTS[: len(parts)]
    return set(parts) == set(wanted) and all(table.columns[c].known == table.rows for c in parts.values())


def _moment_of(parts: dict[str, str]) -> str:
    def value(part: str, usual: str) -> str:
        return name(parts[part]) if part in parts else usual

    moment = f"make_timestamp({value('year', '1970')}, {value('month', '1')}, {value('day', '1')}, {value('hour', '0')}, 0, 0)"
    return f"{moment}::TIMESTAMPTZ"


def _ends(table: SourceTable, time: str | None) -> tuple[datetime, datetime]:
    """Return the first and last moment of the whole table, without the few strays of a table that is otherwise dense."""
    import duckdb

    moment = f"({table.raw(time)})::TIMESTAMPTZ" if time else _moment_of(_date_parts(table))
    try:
        low, high, first, last = table.whole(
            [
                f"epoch_us(min({moment}))",
                f"epoch_us(max({moment}))",
                f"approx_quantile(epoch_us({moment}), {_STRAY})",
                f"approx_quantile(epoch_us({moment}), {1 - _STRAY})",
            ]
        )
    except duckdb.Error as error:
        raise SpecError(
            f"{table.origin.told}: {time or 'year, month and day'} cannot be read as a time in every row: {first_line(error)}",
            "correct the rows, or name another column with --time",
        ) from error
    if low == high:
        raise SpecError(
            f"{table.origin.told}: {time} is the same in every row, so no row comes before another",
            "name another column with --time or --order",
        )
    if high - low > 2 * (last - first) > 0:
        low, high = first, last
    oldest, newest = (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=end) for end in (low, high))
    return oldest, newest


def _free(wanted: str, table: SourceTable) -> str:
    """Return a column name that the table does not have."""
    while wanted in table.columns:
        wanted += "_"
    return wanted
