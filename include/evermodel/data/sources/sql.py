"""A query on any database that SQLAlchemy reaches, fetched in batches by a server-side cursor."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import chain
from typing import TYPE_CHECKING, Any

from evermodel.core.connections import connections
from evermodel.core.errors import EvermodelError
from evermodel.data.sources.relation import Arrival, Stream, require_columns, trouble
from evermodel.data.sources.rows import schema_of, to_batch
from evermodel.spec import ModelSpec
from evermodel.spec.source import SqlSource
from evermodel.spec.window import Window, parse_moment

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa
    from sqlalchemy import Connection, Select, TextClause

_TEMPLATE = re.compile(r"\{\{\s*(start|end)\s*\}\}")
# Every other colon belongs to the database, such as one in a text.
_NOT_BOUND = re.compile(r"(?<!:):(?!:|(?:start|end)\b)")
_SESSION_IN_UTC = {"postgresql": "SET TIME ZONE 'UTC'", "mysql": "SET time_zone = '+00:00'"}
_ADVICE = "run `source.query` in the database itself, with times for :start and :end"


class SqlRelation:
    """The rows of a query, with the window's ends as bound parameters."""

    def __init__(self, spec: ModelSpec, source: SqlSource) -> None:
        self.spec = spec
        self.source = source

    def open(self, duck: duckdb.DuckDBPyConnection, window: Window, columns: Sequence[str]) -> Stream:
        """Make the relation `rows` of a stream that is fetched while it is read."""
        batches = self._batches(window, columns)
        first = next(batches)
        stream = Stream(first.schema, chain([first], batches))
        duck.register("rows", stream.reader())
        return stream

    def arrival(self, window: Window, now: datetime) -> Arrival | None:
        """Have the database count."""
        from sqlalchemy import func, select

        time = self.spec.time_column
        with self._connected() as connection:
            if connection.dialect.name == "sqlite":
                return None
            self._require(connection, window, [time])
            rows = self._select(connection, window, [time]).subquery("counted")
            count = connection.execute(select(func.count()).select_from(rows)).scalar_one()
            every = self._source(connection, window, [time])
            horizon = _bound(connection, now + timedelta(days=1))
            past = select(func.max(every.c[time])).where(every.c[time] <= horizon)
            newest = connection.execute(past).scalar_one()
            ahead = select(func.count()).select_from(every).where(every.c[time] > horizon)
            future = connection.execute(ahead).scalar_one()
        return Arrival(int(count), None if newest is None else parse_moment(newest), int(future))

    def unreadable(self, error: Exception) -> EvermodelError:
        """Tell a lost connection from a wrong query."""
        return trouble(self.spec, error, _ADVICE)

    def _batches(self, window: Window, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Give the rows; the first batch, perhaps empty, is always there and has everyone's types."""
        with self._connected() as connection:
            self._require(connection, window, columns)
            size = self.source.batch_rows
            streaming = connection.execution_options(yield_per=size)
            result = streaming.execute(self._select(connection, window, columns))
            rows = [tuple(row) for row in result.fetchmany(size)]
            schema = schema_of(self.spec, columns, rows)
            yield to_batch(rows, schema)
            while rows:
                rows = [tuple(row) for row in result.fetchmany(size)]
                yield to_batch(rows, schema)

    @contextmanager
    def _connected(self) -> Iterator[Connection]:
        engine = connections().engine(self.source.connection)
        try:
            with engine.connect() as connection:
                if setting := _SESSION_IN_UTC.get(engine.dialect.name):
                    connection.exec_driver_sql(setting)
                yield connection
        finally:
            engine.dispose()

    def _select(self, connection: Connection, window: Window, columns: Sequence[str]) -> Select[Any]:
        from sqlalchemy import select

        rows = self._source(connection, window, columns)
        query = select(*[rows.c[name] for name in columns])
        if connection.dialect.name == "sqlite":
            return query  # it keeps times as text in any form: they are compared after reading
        time = rows.c[self.spec.time_column]
        return query.where(time >= _bound(connection, window.start), time < _bound(connection, window.end))

    def _source(self, connection: Connection, window: Window, columns: Sequence[str]) -> Any:
        from sqlalchemy import column

        query = self._text(connection, window)
        return query.columns(*[column(name) for name in columns]).subquery("source")

    def _text(self, connection: Connection, window: Window) -> TextClause:
        from sqlalchemy import text

        query = _TEMPLATE.sub(r":\1", self.source.query).strip().rstrip(";")
        safe = text(_NOT_BOUND.sub(lambda found: found[0].replace(":", r"\:"), query))
        ends = {"start": window.start, "end": window.end}
        named = {name: _bound(connection, ends[name]) for name in safe._bindparams if name in ends}
        return safe.bindparams(**named)

    def _require(self, connection: Connection, window: Window, columns: Sequence[str]) -> None:
        from sqlalchemy import false, literal_column, select

        if (
            connection.dialect.name == "sqlite"
        ):  # it renames what is there twice, but fetches nothing before it must
            result = connection.execute(self._text(connection, window))
        else:
            nothing: Select[Any] = select(literal_column("*"))
            rows = self._source(connection, window, columns)
            result = connection.execute(nothing.select_from(rows).where(false()))
        require_columns(self.spec, list(result.keys()), columns)
        result.close()


def _bound(connection: Connection, moment: datetime) -> Any:
    """Return a moment as the database's driver compares it with its columns."""
    if connection.dialect.name == "postgresql":
        return moment
    naive = moment.astimezone(UTC).replace(tzinfo=None)
    return naive.isoformat(sep=" ") if connection.dialect.name == "sqlite" else naive
