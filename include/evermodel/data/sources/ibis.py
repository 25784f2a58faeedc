"""A table or an expression in any engine that Ibis supports; columns and interval are pushed down to it."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from evermodel.core.connections import connections
from evermodel.core.errors import SourceError
from evermodel.core.extras import named_extras
from evermodel.data.sources.relation import Arrival, Relation, Stream, imported, require_columns, steps
from evermodel.spec.source import IbisSource
from evermodel.spec.window import Window, parse_moment

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

_BATCH_ROWS = 100_000


class IbisRelation(Relation[IbisSource]):
    """An expression, opened on its engine for one model."""

    advice = "check the table or expression in a notebook: `ibis.connect(url)`"

    def open(self, duck: duckdb.DuckDBPyConnection, window: Window, columns: Sequence[str]) -> Stream:
        """Make the relation `rows` of a stream that the engine fills."""
        with self._connected() as engine:
            rows = self._within(self._expression(engine, columns), window)
            schema = rows.select(*columns).schema().to_pyarrow()
        stream = Stream(schema, self._batches(window, columns))
        duck.register("rows", stream.reader())
        return stream

    def arrival(self, window: Window, now: datetime) -> Arrival:
        """Have the engine count."""
        with self._connected() as engine:
            expression = self._expression(engine, [self.spec.time_column])
            time = expression[self.spec.time_column]
            counted = self._within(expression, window).count().to_pyarrow().as_py()
            past = time <= self._literal(time, now + timedelta(days=1))
            facts = (
                expression.aggregate(newest=time.max(where=past), future=(~past).sum())
                .to_pyarrow()
                .to_pylist()[0]
            )
        newest = facts["newest"]
        return Arrival(
            int(counted), None if newest is None else parse_moment(newest), int(facts["future"] or 0)
        )

    def on_spark(self, window: Window, columns: Sequence[str]) -> Any:
        """Return the window's rows as a DataFrame of Spark, whose connection this has to be."""
        with self._connected() as engine:
            rows = self._within(self._expression(engine, columns), window).select(*columns)
            return engine._session.sql(engine.compile(rows))

    def _batches(self, window: Window, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        with self._connected() as engine:
            expression = self._expression(engine, columns)
            for part in steps(window, self.source.step):
                yield from _batches_of(engine, self._within(expression, part).select(*columns))

    @contextmanager
    def _connected(self) -> Iterator[Any]:
        with named_extras():
            import ibis
        url = self._url()
        # Another process may have the file open: reading must not ask for it alone.
        reading = re.fullmatch(r"duckdb://[^?]+", url) is not None
        engine = ibis.connect(url, **({"read_only": True} if reading else {}))
        try:
            if engine.name == "pyspark":  # its sessions are shared, and would stop for everybody
                engine._session.conf.set("spark.sql.session.timeZone", "UTC")
            yield engine
        finally:
            if engine.name != "pyspark":
                engine.disconnect()

    def _url(self) -> str:
        if self.source.connection is None:
            return self.source.url
        url = connections().url(self.source.connection)
        return url.set(drivername=url.get_backend_name()).render_as_string(hide_password=False)

    def _expression(self, engine: Any, columns: Sequence[str]) -> Any:
        source = self.source
        if source.table is not None:
            schema, _, table = source.table.rpartition(".")
            expression = self._table(engine, table, schema or None)
        elif source.query is not None:
            expression = _query(engine, source.query)
        else:
            assert source.expression is not None
            expression = imported(self.spec, source.expression, "source.expression")(engine)
        require_columns(self.spec, list(expression.columns), columns)
        time = expression[self.spec.time_column]
        if not time.type().is_timestamp():
            # Text and dates are times too; text without a zone, and a date's midnight, are UTC.
            expression = expression.mutate(**{self.spec.time_column: time.cast("timestamp")})
        return expression

    def _table(self, engine: Any, name: str, schema: str | None) -> Any:
        from ibis.common.exceptions import TableNotFound

        try:
            return engine.table(name, database=schema)
        except TableNotFound as error:
            near = difflib.get_close_matches(name, _table_names(engine, schema), n=1)
            raise SourceError(
                f"model {self.spec.name}: the table {self.source.table} does not exist in {self.source.connection or self.source.url}",
                f"did you mean {near[0]}?" if near else "correct `source.table`; a dot separates the schema",
            ) from error

    def _within(self, expression: Any, window: Window) -> Any:
        time = expression[self.spec.time_column]
        start, end = (self._literal(time, moment) for moment in (window.start, window.end))
        return expression.filter(time >= start, time < end)

    def _literal(self, time: Any, moment: datetime) -> Any:
        import ibis

        utc = moment.astimezone(UTC)
        if time.type().timezone is None:
            return ibis.literal(utc.replace(tzinfo=None), type="timestamp")
        return ibis.literal(utc, type="timestamp('UTC')")


def _query(engine: Any, query: str) -> Any:
    """Return a query as an expression.

    Ibis 12.0 asks DuckDB 2 and PostgreSQL for a query's columns in ways that fail; those of a view it can tell.
    """
    if engine.name not in ("duckdb", "postgres"):
        return engine.sql(query)
    with engine._safe_raw_sql(f"CREATE TEMPORARY VIEW evermodel_query AS {query}"):
        pass
    return engine.table("evermodel_query")


def _batches_of(engine: Any, rows: Any) -> Iterator[pa.RecordBatch]:
    if engine.name == "duckdb":  # DuckDB 2 has another name for what Ibis 12.0 calls
        yield from engine.con.sql(engine.compile(rows)).to_arrow_reader(_BATCH_ROWS)
    else:
        yield from engine.to_pyarrow_batches(rows, chunk_size=_BATCH_ROWS)


def _table_names(engine: Any, schema: str | None) -> list[str]:
    if engine.name != "duckdb":
        return list(engine.list_tables(database=schema))
    return [row[0] for row in engine.con.sql("SELECT table_name FROM information_schema.tables").fetchall()]
