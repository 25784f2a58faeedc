"""A query on any database that SQLAlchemy reaches, fetched in batches by a server-side cursor, as Arrow."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from evermodel.core.connections import connections
from evermodel.core.errors import SourceError
from evermodel.data.sources.relation import Arrival, Relation, require_columns
from evermodel.spec import ModelSpec
from evermodel.spec.source import SqlSource
from evermodel.spec.window import Window, parse_moment

if TYPE_CHECKING:
    import pyarrow as pa
    from sqlalchemy import Connection, Select, TextClause

_TEMPLATE = re.compile(r"\{\{\s*(start|end)\s*\}\}")
# Every other colon belongs to the database, such as one in a text.
_NOT_BOUND = re.compile(r"(?<!:):(?!:|(?:start|end)\b)")
_SESSION_IN_UTC = {"postgresql": "SET TIME ZONE 'UTC'", "mysql": "SET time_zone = '+00:00'"}


class SqlRelation(Relation[SqlSource]):
    """The rows of a query, with the window's ends as bound parameters."""

    advice = "run `source.query` in the database itself, with times for :start and :end"

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

    def _batches(self, window: Window, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
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


Row = Sequence[Any]


def schema_of(spec: ModelSpec, names: Sequence[str], rows: Sequence[Row]) -> pa.Schema:
    """Return the types of columns: numbers are float64, categories text; id, time and label as the first rows have them."""
    import pyarrow as pa

    kinds: dict[str, Any] = {name: pa.float64() for name in spec.features.numeric}
    kinds |= {name: pa.string() for name in (*spec.features.categorical, *spec.context)}
    kinds[spec.id_column] = pa.int64() if _first(spec.id_column, names, rows, int) else pa.string()
    text_time = _first(spec.time_column, names, rows, str)
    kinds[spec.time_column] = pa.string() if text_time else pa.timestamp("us", tz="UTC")
    for name in spec.watch.columns if spec.watch else ():
        kinds[name] = _answer_kind(name, names, rows)
    text_label = spec.task == "multiclass" or _first(spec.label.column, names, rows, str)
    kinds[spec.label.column] = pa.string() if text_label else pa.float64()
    for name in spec.entity_columns:
        kinds.setdefault(name, pa.int64() if _first(name, names, rows, int) else pa.string())
    return pa.schema([(name, kinds[name]) for name in names])


def _answer_kind(name: str, names: Sequence[str], rows: Sequence[Row]) -> pa.DataType:
    """Return the type of an answer or a version, by the first rows."""
    import pyarrow as pa

    if _first(name, names, rows, str):
        return pa.string()
    return pa.bool_() if _first(name, names, rows, bool) else pa.float64()


def to_batch(rows: Sequence[Row], schema: pa.Schema) -> pa.RecordBatch:
    """Turn rows into a batch.

    Raises
    ------
    SourceError
        A value does not fit its column.
    """
    import pyarrow as pa

    columns = list(zip(*rows, strict=True)) if rows else [()] * len(schema)
    arrays = [_array(field, column) for field, column in zip(schema, columns, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _array(field: pa.Field[pa.DataType], values: Sequence[Any]) -> pa.Array[Any]:
    import pyarrow as pa

    try:
        return pa.array(values, field.type)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, OverflowError):
        pass  # a type that Arrow does not take as it is, such as Decimal, UUID or bool: value by value
    convert = _CONVERT.get(str(field.type), _text)
    converted = []
    for value in values:
        try:
            converted.append(None if value is None else convert(value))
        except (TypeError, ValueError, OverflowError) as error:
            raise SourceError(
                f"column {field.name} holds {value!r}, which is not a {_TOLD.get(str(field.type), 'text')}",
                "fix the data or cast the column in the source's query; every value must have the same type",
            ) from error
    return pa.array(converted, field.type)


def _first(column: str, names: Sequence[str], rows: Sequence[Row], kind: type) -> bool:
    """Tell whether the first value of a column that is there is of a type; true and false are no numbers here."""
    if column not in names:
        return False
    place = names.index(column)
    value = next((row[place] for row in rows if row[place] is not None), None)
    return isinstance(value, kind) and not isinstance(value, bool)


def _moment(value: object) -> datetime:
    if isinstance(value, datetime):
        return value if value.tzinfo else value.replace(tzinfo=UTC)
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day, tzinfo=UTC)
    raise TypeError(f"{value!r} is not a time")


def _text(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return value.decode() if isinstance(value, bytes) else str(value)


_CONVERT: dict[str, Any] = {"double": float, "int64": int, "timestamp[us, tz=UTC]": _moment}
_TOLD = {"double": "number", "int64": "whole number", "timestamp[us, tz=UTC]": "time"}
