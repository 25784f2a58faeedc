"""A table or an expression in any engine that Ibis supports; columns and interval are pushed down to it."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from evermodel.core.connections import connections
from evermodel.core.errors import SourceError
from evermodel.core.extras import named_extras
from evermodel.data.features import with_aggregates
from evermodel.data.sources.events import (
    by_key,
    event_table_columns,
    events_of,
    events_within,
    literal,
    read_columns,
    rows_of_period,
)
from evermodel.data.sources.relation import Arrival, Relation, Stream, imported, require_columns, steps
from evermodel.spec.features import FeatureView
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
            schema = self._rows(engine, window, columns).schema().to_pyarrow()
        stream = Stream(schema, self._batches(window, columns))
        duck.register("rows", stream.reader())
        return stream

    def arrival(self, window: Window, now: datetime) -> Arrival:
        """Have the engine count."""
        with self._connected() as engine:
            expression = self._expression(engine, [self.spec.time_column])
            time = expression[self.spec.time_column]
            counted = self._within(expression, window).count().to_pyarrow().as_py()
            past = time <= literal(time, now + timedelta(days=1))
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
            return engine._session.sql(engine.compile(self._rows(engine, window, columns)))

    def events(
        self, table: str, window: Window, keys: Mapping[str, Collection[Any]] | None = None
    ) -> pa.Table:
        """Return what a table of events holds for a window's rows; see `read_events`."""
        import pyarrow as pa

        with self._connected() as engine:
            columns = event_table_columns(self.spec, table)
            events = events_within(self.spec, table, self._events(engine, table), window)
            expression = events_of(self.spec, table, events, keys).select(*columns)
            return pa.Table.from_batches(_batches_of(engine, expression), expression.schema().to_pyarrow())

    def by_key(self, view: FeatureView, period: datetime) -> Iterator[pa.RecordBatch]:
        """Give each key with a view's aggregates of a period; see `read_by_key`."""
        with self._connected() as engine:
            _prepare(engine)
            window = rows_of_period(self.spec, period)
            events = events_within(self.spec, view.table, self._events(engine, view.table), window)
            yield from _batches_of(engine, by_key(self.spec, view, events, period, engine.name))

    def _batches(self, window: Window, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        with self._connected() as engine:
            for part in steps(window, self.source.step):
                yield from _batches_of(engine, self._rows(engine, part, columns))

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

    def _rows(self, engine: Any, window: Window, columns: Sequence[str]) -> Any:
        """Return the columns of a window's rows, aggregates of events among them."""
        rows = self._within(self._expression(engine, read_columns(self.spec, columns)), window)
        wanted = [a for a in self.spec.features.aggregates if a.name in columns]
        if wanted:
            tables = {
                name: events_within(self.spec, name, self._events(engine, name), window)
                for name in dict.fromkeys(a.table for a in wanted)
            }
            _prepare(engine)
            rows = rows.select(*read_columns(self.spec, columns))
            rows = with_aggregates(self.spec, rows, tables, engine.name, [a.name for a in wanted])
        return rows.select(*columns)

    def _events(self, engine: Any, name: str) -> Any:
        table = self.spec.source.tables[name]
        if table.table is not None:
            return self._table(engine, table.table)
        assert table.query is not None
        return _query(engine, table.query, f"evermodel_{name}")

    def _expression(self, engine: Any, columns: Sequence[str]) -> Any:
        source = self.source
        if source.table is not None:
            expression = self._table(engine, source.table)
        elif source.query is not None:
            expression = _query(engine, source.query, "evermodel_query")
        else:
            assert source.expression is not None
            expression = imported(self.spec, source.expression, "source.expression")(engine)
        require_columns(self.spec, list(expression.columns), columns)
        time = expression[self.spec.time_column]
        if not time.type().is_timestamp():
            # Text and dates are times too; text without a zone, and a date's midnight, are UTC.
            expression = expression.mutate(**{self.spec.time_column: time.cast("timestamp")})
        return expression

    def _table(self, engine: Any, written: str) -> Any:
        from ibis.common.exceptions import TableNotFound

        schema, _, name = written.rpartition(".")
        try:
            return engine.table(name, database=schema or None)
        except TableNotFound as error:
            near = difflib.get_close_matches(name, _table_names(engine, schema or None), n=1)
            raise SourceError(
                f"model {self.spec.name}: the table {written} does not exist in {self.source.connection or self.source.hide(self.source.url)}",
                f"did you mean {near[0]}?"
                if near
                else "correct `table` in `source`; a dot separates the schema",
            ) from error

    def _within(self, expression: Any, window: Window) -> Any:
        time = expression[self.spec.time_column]
        start, end = (literal(time, moment) for moment in (window.start, window.end))
        return expression.filter(time >= start, time < end)


def _prepare(engine: Any) -> None:
    """Set what the engine needs to aggregate events."""
    if engine.name == "postgres":
        # Its guesses about results of windows are far too low: it would compare all rows with all events.
        engine.raw_sql("SET enable_nestloop = off; SET jit = off").close()


def _query(engine: Any, query: str, view: str) -> Any:
    """Return a query as an expression.

    Ibis 12.0 asks DuckDB 2 and PostgreSQL for a query's columns in ways that fail; those of a view it can tell.
    """
    if engine.name not in ("duckdb", "postgres"):
        return engine.sql(query)
    with engine._safe_raw_sql(f"CREATE OR REPLACE TEMPORARY VIEW {view} AS {query}"):
        pass
    return engine.table(view)


def _batches_of(engine: Any, rows: Any) -> Iterator[pa.RecordBatch]:
    if engine.name == "duckdb":  # DuckDB 2 has another name for what Ibis 12.0 calls
        yield from engine.con.sql(engine.compile(rows)).to_arrow_reader(_BATCH_ROWS)
    else:
        yield from engine.to_pyarrow_batches(rows, chunk_size=_BATCH_ROWS)


def _table_names(engine: Any, schema: str | None) -> list[str]:
    if engine.name != "duckdb":
        return list(engine.list_tables(database=schema))
    return [row[0] for row in engine.con.sql("SELECT table_name FROM information_schema.tables").fetchall()]
