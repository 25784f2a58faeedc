"""Scored days in a table of a database: a day's rows are replaced in one transaction, never half and never twice."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any, TypeVar

from evermodel.core.connections import connections
from evermodel.core.errors import TargetError, TargetUnavailableError
from evermodel.core.storage import StoragePath, readable
from evermodel.spec import ModelSpec

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine, Table

Result = TypeVar("Result")
_BATCH = 10_000
_MAY_PASS = {"OperationalError", "InterfaceError"}
COLUMNS = ("prediction_id", "event_time", "model_version", "score", "predicted")


def write_table(spec: ModelSpec, day: str, *files: StoragePath) -> int:
    """Put a day of the prediction log into the table that the spec names, instead of what it has of that day.

    Two writers of the same day wait for each other at the day's line in ``<table>_days``, which also tells readers
    what is there.

    Parameters
    ----------
    day
        ``YYYY-MM-DD``.

    Returns
    -------
    Rows written.

    Raises
    ------
    TargetError
        The table is not what evermodel makes, or the database refuses.
    TargetUnavailableError
        The database cannot be reached, or broke off; nothing of the day was changed.
    """
    from sqlalchemy.exc import SQLAlchemyError

    assert spec.score.connection is not None
    assert spec.score.table is not None
    engine = connections().engine(spec.score.connection)
    try:
        rows, days = _tables(spec.score.table)
        _twice(lambda: rows.metadata.create_all(engine))
        return _twice(lambda: _replace(engine, rows, days, (spec.name, date.fromisoformat(day)), files))
    except (SQLAlchemyError, engine.dialect.loaded_dbapi.Error) as error:
        raise _told(spec, error) from error
    finally:
        engine.dispose()


def _replace(
    engine: Engine, rows: Table, days: Table, key: tuple[str, date], files: Sequence[StoragePath]
) -> int:
    import pyarrow.parquet as pq
    from sqlalchemy import and_

    count = sum(pq.read_metadata(readable(file)).num_rows for file in files)
    with engine.begin() as connection:
        model, day = key
        facts = {"rows": count, "scored_at": datetime.now(UTC)}
        mine = and_(days.c.model == model, days.c.day == day)
        if connection.execute(days.update().where(mine).values(**facts)).rowcount == 0:
            connection.execute(days.insert().values(model=model, day=day, **facts))
        connection.execute(rows.delete().where(and_(rows.c.model == model, rows.c.day == day)))
        for values in _values(files):
            _insert(connection, rows, [(model, day, *found) for found in values])
        return count


def _values(files: Sequence[StoragePath]) -> Iterator[Iterator[tuple[Any, ...]]]:
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    for file in files:
        with pq.ParquetFile(readable(file)) as log:
            for batch in log.iter_batches(_BATCH, columns=[*COLUMNS, "source"]):
                batch = batch.filter(pc.equal(batch["source"], "batch"))
                yield zip(*(batch[name].to_pylist() for name in COLUMNS), strict=True)


def _insert(connection: Connection, rows: Table, values: list[tuple[Any, ...]]) -> None:
    if not values:
        return
    if connection.dialect.driver == "psycopg":  # many times faster than INSERT
        preparer = connection.dialect.identifier_preparer
        names = ", ".join(preparer.quote(column.name) for column in rows.columns)
        driver = connection.connection.driver_connection
        assert driver is not None
        with driver.cursor().copy(f"COPY {preparer.format_table(rows)} ({names}) FROM STDIN") as copy:
            for value in values:
                copy.write_row(value)
        return
    names_of = [column.name for column in rows.columns]
    connection.execute(rows.insert(), [dict(zip(names_of, value, strict=True)) for value in values])


def _tables(name: str) -> tuple[Table, Table]:
    from sqlalchemy import BigInteger, Column, Date, DateTime, Double, Index, MetaData, String, Table

    schema, _, short = name.rpartition(".")
    metadata = MetaData(schema=schema or None)
    moment = DateTime(timezone=True)
    rows = Table(
        short,
        metadata,
        Column("model", String(200), nullable=False),
        Column("day", Date, nullable=False),
        Column("prediction_id", String(255)),
        Column("event_time", moment),
        Column("model_version", String(50)),
        Column("score", Double),
        Column("predicted", String(255)),
    )
    Index(f"ix_{short}_model_day", rows.c.model, rows.c.day)
    days = Table(
        f"{short}_days",
        metadata,
        Column("model", String(200), primary_key=True),
        Column("day", Date, primary_key=True),
        Column("rows", BigInteger, nullable=False),
        Column("scored_at", moment, nullable=False),
    )
    return rows, days


def _twice(work: Callable[[], Result]) -> Result:
    """Do something again if another process has just made the same table or line."""
    from sqlalchemy.exc import IntegrityError, ProgrammingError

    try:
        return work()
    except (IntegrityError, ProgrammingError):
        return work()


def _told(spec: ModelSpec, error: Exception) -> TargetError | TargetUnavailableError:
    where = f"model {spec.name}: table {spec.score.table} of connection {spec.score.connection}"
    reason = next(iter(str(getattr(error, "orig", None) or error).splitlines()), type(error).__name__)
    if {kind.__name__ for kind in type(error).__mro__} & _MAY_PASS:  # of SQLAlchemy or of the driver
        return TargetUnavailableError(
            f"{where} cannot be written: {reason}",
            "check that the database is up; the day is in the prediction log, and the write is retried",
        )
    return TargetError(
        f"{where} cannot be written: {reason}",
        "let evermodel create the table, or add the columns in docs/scoring.md; the day is in the prediction log",
    )
