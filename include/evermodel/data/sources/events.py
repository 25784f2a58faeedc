"""Tables of events beside a source: what of them a window of rows can see, and their aggregates in the local engine."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import reduce
from typing import TYPE_CHECKING, Any

from evermodel.core.extras import named_extras
from evermodel.data.features import with_aggregates
from evermodel.data.sources.files import FilesRelation
from evermodel.spec import ModelSpec
from evermodel.spec.features import FeatureView
from evermodel.spec.source import FilesSource
from evermodel.spec.window import Window

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

_BATCH_ROWS = 100_000


def read_columns(spec: ModelSpec, columns: Sequence[str]) -> list[str]:
    """Return the columns that are read of the rows themselves to give some columns, aggregates among them."""
    made = set(spec.joined)
    if not made.intersection(columns):
        return list(columns)
    needed = [spec.time_column, *spec.entity_columns]
    return list(dict.fromkeys(name for name in (*columns, *needed) if name not in made))


def event_table_columns(spec: ModelSpec, table: str) -> list[str]:
    """Return the columns that are read of a table of events."""
    found = spec.source.tables[table]
    times = [name for name in (found.time_column, found.arrival_column, found.id_column) if name is not None]
    return list(dict.fromkeys([*times, *spec.event_columns(table)]))


def events_within(spec: ModelSpec, table: str, events: Any, window: Window) -> Any:
    """Leave out, where the engine can skip it, what no row of a window can see.

    Parameters
    ----------
    events
        Ibis expression of the table.
    """
    found = spec.source.tables[table]
    name = found.arrival_column or found.time_column
    if events[name].type().is_timestamp():
        events = events.filter(events[name] < literal(events[name], window.end))
    spans = [a.over for a in spec.features.aggregates if a.table == table]
    time = events[found.time_column]
    # A version that was moved out of the window still replaces the one inside.
    if found.id_column is None and time.type().is_timestamp() and None not in spans:
        longest = max(span for span in spans if span is not None)
        online = spec.features.online
        earliest = window.start - longest - (timedelta(0) if online is None else online.delay + online.every)
        events = events.filter(time >= literal(time, earliest))
    return events


def rows_of_period(spec: ModelSpec, period: datetime) -> Window:
    """Return a window whose rows have the aggregates of a period."""
    assert spec.features.online is not None
    at = period + spec.features.online.delay
    return Window(at, at + timedelta(microseconds=1))


def by_key(spec: ModelSpec, view: FeatureView, events: Any, period: datetime, engine: str) -> Any:
    """Return each key that has an event, with a view's aggregates of a period.

    Parameters
    ----------
    events
        Ibis expression of the view's table.
    engine
        See `with_aggregates`.
    """
    import ibis

    at = rows_of_period(spec, period).start.astimezone(UTC).replace(tzinfo=None)
    keys = events.select(*view.key).filter(*(events[name].notnull() for name in view.key)).distinct()
    rows = keys.mutate(**{spec.time_column: ibis.literal(at, type="timestamp")})
    found = with_aggregates(spec, rows, {view.table: events}, engine, view.features)
    return found.select(*view.key, *view.features)


def events_of(spec: ModelSpec, table: str, events: Any, keys: Mapping[str, Collection[Any]] | None) -> Any:
    """Keep the events of some keys, with every version of each, also those of another key."""
    if keys is None:
        return events
    found = spec.source.tables[table]
    members = [a for a in spec.features.aggregates if a.table == table]
    firsts = dict.fromkeys((a.key or found.key)[0] for a in members)
    wanted = [
        events[name].cast("string").isin([str(key) for key in keys[name] if key is not None])
        for name in firsts
    ]
    any_of_them = reduce(lambda a, b: a | b, wanted)
    if found.id_column is not None:
        ids = events.filter(any_of_them).select(found.id_column).distinct()
        any_of_them = any_of_them | events[found.id_column].isin(ids[found.id_column])
    return events.filter(any_of_them)


def literal(time: Any, moment: datetime) -> Any:
    """Return a moment as a time column is compared with it: a column without a zone is in UTC."""
    import ibis

    utc = moment.astimezone(UTC)
    if time.type().timezone is None:
        return ibis.literal(utc.replace(tzinfo=None), type="timestamp")
    return ibis.literal(utc, type="timestamp('UTC')")


class LocalEvents:
    """The tables of events that are files, opened in the engine that reads the rows."""

    def __init__(self, spec: ModelSpec, duck: duckdb.DuckDBPyConnection) -> None:
        self.spec = spec
        self._duck = duck

    def join(self, rows: str, window: Window, wanted: Sequence[str]) -> str:
        """Return the SQL of a table's rows with aggregates.

        Parameters
        ----------
        rows
            The table, with times as TIMESTAMPTZ and the key columns.
        """
        with named_extras("ibis"):
            import ibis
        names = dict.fromkeys(a.table for a in self.spec.features.aggregates if a.name in wanted)
        tables = {name: self.expression(name, window) for name in names}
        return str(
            ibis.to_sql(with_aggregates(self.spec, self._unbound(rows), tables, "duckdb", wanted), "duckdb")
        )

    def expression(self, name: str, window: Window) -> Any:
        """Open a table's files, and return what of them a window can see."""
        table = self.spec.source.tables[name]
        assert table.path is not None
        source = FilesSource(path=table.path, query=table.query)
        seen_as = self.spec.model_copy(update={"source": source, "time_column": table.time_column})
        columns = event_table_columns(self.spec, name)
        view = f"evermodel_events_{list(self.spec.source.tables).index(name)}"
        FilesRelation(seen_as, source).open_events(self._duck, view, columns)
        return events_within(self.spec, name, self._unbound(view).select(*columns), window)

    def read(self, name: str, window: Window, keys: Mapping[str, Collection[Any]] | None) -> pa.Table:
        """Return what a table of events holds for a window's rows; see `read_events`."""
        import ibis

        events = events_of(self.spec, name, self.expression(name, window), keys)
        found: pa.Table = self._duck.sql(str(ibis.to_sql(events, "duckdb"))).to_arrow_table()
        return found

    def by_key(self, view: FeatureView, period: datetime) -> Iterator[pa.RecordBatch]:
        """Give each key with a view's aggregates of a period; see `read_by_key`."""
        import ibis

        events = self.expression(view.table, rows_of_period(self.spec, period))
        found = by_key(self.spec, view, events, period, "duckdb")
        yield from self._duck.sql(str(ibis.to_sql(found, "duckdb"))).to_arrow_reader(_BATCH_ROWS)

    def _unbound(self, name: str) -> Any:
        import ibis

        schema = self._duck.sql(f"SELECT * FROM {name} LIMIT 0").to_arrow_table().schema
        return ibis.table(ibis.Schema.from_pyarrow(schema), name=name)
