"""Business metrics: SQL expressions of the spec over the joined log, in a sandboxed database."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any

from evermodel.core.errors import SpecError
from evermodel.core.names import did_you_mean
from evermodel.spec import ModelSpec

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

_LOCKED = (
    "SET TimeZone = 'UTC'",
    "SET enable_external_access = false",
    "SET autoload_known_extensions = false",
    "SET autoinstall_known_extensions = false",
    "SET python_enable_replacements = false",
    "SET memory_limit = '2GB'",
    "SET max_temp_directory_size = '0B'",
    "SET lock_configuration = true",
)


def business_metrics(spec: ModelSpec, rows: pa.Table) -> dict[str, float | None]:
    """Evaluate every expression of `performance.business` over all rows; None without input rows.

    Parameters
    ----------
    rows
        The joined log: the columns of the prediction log, and ``label``.

    Raises
    ------
    SpecError
        An expression fails, or does not return a number.
    """
    with _database(rows) as database:
        return {
            name: _number(spec, name, _ask(spec, database, name, expression, rows, "")[0][0])
            for name, expression in spec.performance.business.items()
        }


def business_by_day(spec: ModelSpec, rows: pa.Table) -> dict[datetime, dict[str, float | None]]:
    """Evaluate every expression for each day (UTC); see `business_metrics`."""
    days: dict[datetime, dict[str, float | None]] = {}
    with _database(rows) as database:
        for name, expression in spec.performance.business.items():
            for day, value in _ask(spec, database, name, expression, rows, "date_trunc('day', event_time)"):
                days.setdefault(day, {})[name] = _number(spec, name, value)
    return days


@contextmanager
def _database(rows: pa.Table) -> Iterator[duckdb.DuckDBPyConnection]:
    import duckdb

    with duckdb.connect() as database:
        database.register("log", rows)
        database.execute("CREATE TABLE joined AS FROM log")
        database.unregister("log")
        for statement in _LOCKED:
            database.execute(statement)
        yield database


def _ask(
    spec: ModelSpec, database: duckdb.DuckDBPyConnection, name: str, expression: str, rows: pa.Table, by: str
) -> list[tuple[Any, ...]]:
    import duckdb

    picked, grouped = (f"{by} AS day, ", f" GROUP BY {by} ORDER BY day") if by else ("", "")
    query = f"SELECT {picked}(\n{expression}\n) AS value FROM joined{grouped}"
    try:
        (statement,) = duckdb.extract_statements(query)
        found = database.execute(statement).fetchall()
    except (duckdb.Error, ValueError) as error:
        raise _refusal(spec, name, rows, str(error)) from error
    if not by and len(found) != 1:
        raise _refusal(spec, name, rows, f"it returns {len(found)} values instead of one")
    return [tuple(row) for row in found]


def _refusal(spec: ModelSpec, name: str, rows: pa.Table, said: str) -> SpecError:
    reason = said.split("\n", maxsplit=1)[0]
    if "too many values to unpack" in reason:
        reason = "it is more than one statement"
    named = re.search(r'column "([^"]+)" not found', said)
    hint = did_you_mean(named[1], rows.column_names, cutoff=0.6) if named else ""
    return SpecError(
        f"model {spec.name}: performance.business.{name} cannot be evaluated: {reason}{hint}",
        "write one aggregate over the table `joined`, such as `avg(label)`; its columns are "
        + ", ".join(rows.column_names),
    )


def _number(spec: ModelSpec, name: str, value: Any) -> float | None:
    if value is None:
        return None
    try:
        number = float(value)
    except (TypeError, ValueError) as error:
        raise SpecError(
            f"model {spec.name}: performance.business.{name} returns {value!r}, which is not a number",
            "write an expression that returns one number",
        ) from error
    return number if math.isfinite(number) else None
