"""Read a window of any source: its rows go through one engine, which filters, types and sorts them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evermodel.core.errors import EvermodelError, SourceError
from evermodel.data.local_engine import THREADS, local_engine
from evermodel.data.sources.events import LocalEvents, read_columns
from evermodel.data.sources.feast import FeastFeatures
from evermodel.data.sources.files import FilesRelation
from evermodel.data.sources.ibis import IbisRelation
from evermodel.data.sources.plain import plain_rows
from evermodel.data.sources.python import PythonRelation
from evermodel.data.sources.relation import Arrival, Relation, Stream
from evermodel.data.sources.sql import SqlRelation
from evermodel.spec import ModelSpec
from evermodel.spec.features import FeatureView
from evermodel.spec.window import Window

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

BATCH_ROWS = 100_000
_RELATIONS: dict[str, Callable[..., Relation[Any]]] = {
    "files": FilesRelation,
    "sql": SqlRelation,
    "ibis": IbisRelation,
    "python": PythonRelation,
}


class WindowRows:
    """The rows of a window in the order of time and id, batch by batch; read once."""

    def __init__(
        self, spec: ModelSpec, reader: pa.RecordBatchReader, translate: Callable[[Exception], EvermodelError]
    ) -> None:
        self.schema: pa.Schema = reader.schema
        self._reader = reader
        self._spec, self._translate = spec, translate

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        """Yield the batches; an error of the source is raised as `SourceError`."""
        while True:
            try:
                with _translated(self._spec, self._translate):
                    batch = self._reader.read_next_batch()
            except StopIteration:
                return
            yield batch


@contextmanager
def stream_window(
    spec: ModelSpec,
    window: Window,
    *,
    with_label: bool,
    scratch: Path | None = None,
    in_order: bool = True,
    batch_rows: int = BATCH_ROWS,
    columns: Sequence[str] | None = None,
) -> Iterator[WindowRows]:
    """Read the rows of a window, ordered by time and id, in bounded memory.

    Parameters
    ----------
    window
        Half-open interval of the time column.
    with_label
        Read the label too; scoring leaves it out, so that it cannot leak.
    scratch
        Folder for what does not fit into memory while it is sorted; the system's if not given.
    in_order
        Without it, the rows come as the source has them, and nothing is sorted; text may come as a dictionary.
    columns
        Instead of the spec's: any that the source has, or aggregates.

    Raises
    ------
    SourceError
        The source or a column is missing, or cannot be read.
    SourceUnavailableError
        The source cannot be reached, or broke off.
    """
    columns = list(columns or [name for name in spec.columns if with_label or name != spec.label.column])
    plain = None if in_order else plain_rows(spec, window, columns, batch_rows)
    if plain is not None:
        yield WindowRows(spec, plain.reader(), _relation(spec).unreadable)
        return
    # Without a sort, one thread reads faster than anybody takes the rows, and holds fewer of them.
    threads = THREADS if in_order or set(spec.joined).intersection(columns) else 1
    with _opened(spec, window, columns, scratch, threads=threads) as (duck, translate):
        kinds = _kinds(duck)
        time = _time(spec, kinds)
        picked = ", ".join(_picked(spec, name, kinds, time) for name in columns)
        # Rows of the same time and id, if there are any, must not come in another order next time.
        rest = ", ".join(_name(name) for name in columns)
        order = f" ORDER BY {time}, {_name(spec.id_column)}, hash({rest})" if in_order else ""
        query = f"SELECT {picked} FROM rows WHERE {time} >= $start AND {time} < $end{order}"
        with _translated(spec, translate):
            ends = {"start": window.start, "end": window.end}
            reader = duck.sql(query, params=ends).to_arrow_reader(batch_rows)
        yield WindowRows(spec, reader, translate)


def read_window(
    spec: ModelSpec, window: Window, *, with_label: bool, columns: Sequence[str] | None = None
) -> pa.Table:
    """Read the rows of a window as one table; see `stream_window`.

    Returns
    -------
    Table with id, time (microseconds, UTC), features and, if asked for, the label.
    """
    import pyarrow as pa

    with stream_window(spec, window, with_label=with_label, columns=columns) as rows:
        return pa.Table.from_batches(rows, schema=rows.schema)


def read_labels(spec: ModelSpec, window: Window) -> pa.Table:
    """Read id, time and label of a window's rows."""
    columns = [spec.id_column, spec.time_column, spec.label.column]
    return read_window(spec, window, with_label=True, columns=columns)


def read_events(
    spec: ModelSpec, table: str, window: Window, keys: Mapping[str, Collection[Any]] | None = None
) -> pa.Table:
    """Read what a table of `source.tables` holds for the rows of a window.

    Parameters
    ----------
    keys
        By key column the values to read the events of, with every version of an event; all if not given.

    Returns
    -------
    Its times, its id and the columns that aggregates use.
    """
    relation = _relation(spec)
    if isinstance(relation, IbisRelation):
        with _translated(spec, relation.unreadable):
            return relation.events(table, window, keys)
    with local_engine() as duck, _translated(spec, relation.unreadable):
        return LocalEvents(spec, duck).read(table, window, keys)


def read_by_key(spec: ModelSpec, view: FeatureView, period: datetime) -> Iterator[pa.RecordBatch]:
    """Give each key that has an event, with a view's features as the rows of a period have them.

    Parameters
    ----------
    period
        Its beginning; see `OnlineSpec`.

    Raises
    ------
    SourceError
        The table of events cannot be read.
    """
    relation = _relation(spec)
    with _translated(spec, relation.unreadable):
        if view.given:
            with local_engine() as duck:
                yield from FeastFeatures(spec).by_key(view, period, duck)
            return
        if isinstance(relation, IbisRelation):
            yield from relation.by_key(view, period)
            return
        with local_engine() as duck:
            yield from LocalEvents(spec, duck).by_key(view, period)


def arrival(spec: ModelSpec, window: Window, now: datetime | None = None) -> Arrival:
    """Tell how many rows of a window are there, and the newest event of the source.

    Parameters
    ----------
    now
        The clock's time, if not the real one: what lies more than a day ahead of it cannot be true.
    """
    now = now or datetime.now(UTC)
    relation = _relation(spec)
    with _translated(spec, relation.unreadable):
        found = relation.arrival(window, now)
    if found is not None:
        return found
    with _opened(spec, window, [spec.time_column], None) as (duck, translate):
        time = _time(spec, _kinds(duck))
        query = (
            f"SELECT count(*) FILTER ({time} >= $start AND {time} < $end), "
            f"max({time}) FILTER ({time} <= $horizon), count(*) FILTER ({time} > $horizon) FROM rows"
        )
        moments = {"start": window.start, "end": window.end, "horizon": now + timedelta(days=1)}
        with _translated(spec, translate):
            [(rows, newest, future)] = duck.execute(query, moments).fetchall()
    return Arrival(int(rows), newest, int(future))


@contextmanager
def _translated(spec: ModelSpec, translate: Callable[[Exception], EvermodelError]) -> Iterator[None]:
    try:
        yield
    except (EvermodelError, StopIteration):
        raise
    except Exception as error:
        if spec.source.hides:  # tracebacks are logged, and what the engine says has the whole address
            raise translate(error) from None
        raise translate(error) from error


def _relation(spec: ModelSpec) -> Relation[Any]:
    return _RELATIONS[spec.source.kind](spec, spec.source)


@contextmanager
def _opened(
    spec: ModelSpec, window: Window, columns: list[str], scratch: Path | None, threads: int = THREADS
) -> Iterator[tuple[duckdb.DuckDBPyConnection, Callable[[Exception], EvermodelError]]]:
    """Open a source in its own engine; yield the engine and the opened source."""
    relation = _relation(spec)
    stream: Stream | None = None

    def translate(error: Exception) -> EvermodelError:
        # What broke the stream off says more than what the engine makes of it.
        return relation.unreadable(stream.error if stream is not None and stream.error else error)

    with local_engine(scratch, threads) as duck:
        duck.execute("SET streaming_buffer_size = '1MB'")  # with the tenfold of newer engines it is no faster
        made = [a.name for a in spec.features.aggregates if a.name in columns]
        given = [name for view in spec.feature_views for name in view.given if name in columns]
        joined_there = isinstance(relation, IbisRelation)
        with _translated(spec, translate):
            wanted = read_columns(spec, columns)
            stream = relation.open(duck, window, [*wanted, *made] if joined_there else wanted)
            if made and not joined_there:
                _join(spec, duck, window, wanted, made)
            if given:
                _join_given(spec, duck, window, given, scratch)
        yield duck, translate


def _join(
    spec: ModelSpec, duck: duckdb.DuckDBPyConnection, window: Window, columns: list[str], made: list[str]
) -> None:
    """Put the window's rows with their aggregates in the place of the relation `rows`."""
    kinds = _kinds(duck)
    time = _time(spec, kinds)
    picked = ", ".join(_picked(spec, name, kinds, time) for name in columns)
    within = f"{time} >= $start AND {time} < $end"
    ends = {"start": window.start, "end": window.end}
    duck.execute(f"CREATE TEMP TABLE evermodel_rows AS SELECT {picked} FROM rows WHERE {within}", ends)
    sql = LocalEvents(spec, duck).join("evermodel_rows", window, made)
    # A temporary view stands before the one, or the stream, of the source.
    duck.execute(f"CREATE OR REPLACE TEMP VIEW rows AS {sql}")


def _join_given(
    spec: ModelSpec, duck: duckdb.DuckDBPyConnection, window: Window, given: list[str], scratch: Path | None
) -> None:
    """Put the window's rows with Feast's features in the place of the relation `rows`."""
    time = _time(spec, _kinds(duck))
    ends = {"start": window.start, "end": window.end}
    within = f"SELECT * FROM rows WHERE {time} >= $start AND {time} < $end"
    duck.execute(f"CREATE TEMP TABLE evermodel_without_feast AS {within}", ends)
    sql = FeastFeatures(spec, scratch).join(duck, "evermodel_without_feast", time, given)
    duck.execute(f"CREATE OR REPLACE TEMP VIEW rows AS {sql}")


def _kinds(duck: duckdb.DuckDBPyConnection) -> dict[str, str]:
    return {row[0]: row[1] for row in duck.execute("DESCRIBE SELECT * FROM rows").fetchall()}


def _picked(spec: ModelSpec, name: str, kinds: dict[str, str], time: str) -> str:
    if name == spec.time_column:
        return f"{time} AS {_name(name)}"
    if name in spec.features.numeric and kinds[name].startswith("DECIMAL"):
        return f"{_name(name)}::DOUBLE AS {_name(name)}"  # what the model sees, and every library reads fast
    return _name(name)


def _time(spec: ModelSpec, kinds: dict[str, str]) -> str:
    """Return the SQL of the time column; a number is rejected, because its unit is unknown."""
    name = spec.time_column
    if not kinds[name].startswith(("TIMESTAMP", "DATE", "VARCHAR", '"NULL"', "NULL")):
        raise SourceError(
            f"model {spec.name}: the time column {name} of {spec.source.told} holds {kinds[name]}, which is not a time",
            f"convert it in the source, for example with to_timestamp({name})",
        )
    return f"{_name(name)}::TIMESTAMPTZ"


def _name(column: str) -> str:
    return '"' + column.replace('"', '""') + '"'
