"""Compile aggregates of event tables to an engine: a row sees what happened and was known before its time.

A version of an event is seen by the rows of its key at times ``start < t <= end``: it starts when it has happened and is
known, and ends when it leaves the window or is corrected. Counts and sums are running totals over starts and ends
(`running_totals`), extremes and latest values running extremes over pieces of these intervals (`extremes`), or over the
events where no piece is needed (`latest`): each costs a sort of events and rows, whatever a window holds and however late
events arrive.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from functools import reduce
from typing import TYPE_CHECKING, Any

from evermodel.core.extras import named_extras
from evermodel.data.features.dialect import Dialect
from evermodel.data.features.extremes import extreme
from evermodel.data.features.intervals import View
from evermodel.data.features.latest import latest, together
from evermodel.data.features.running_totals import running_totals
from evermodel.spec.features import Aggregate, EventTable

if TYPE_CHECKING:
    from evermodel.spec import ModelSpec

_MICROSECOND = timedelta(microseconds=1)
_TOTALS = ("count", "sum", "mean", "distinct")


def with_aggregates(
    spec: ModelSpec, rows: Any, tables: Mapping[str, Any], engine: str, wanted: Sequence[str] | None = None
) -> Any:
    """Add a model's aggregates to its rows.

    Parameters
    ----------
    rows
        Ibis expression with the time column, as a timestamp, and the key columns; times without a zone are UTC.
    tables
        Ibis expressions by the names of `source.tables`.
    engine
        Ibis's name of the engine: ``duckdb``, ``postgres`` or ``pyspark``.
    wanted
        Names of the aggregates; all if not given.

    Returns
    -------
    The rows, each once, with a column for each aggregate: float64, or text for the latest value of a text.

    Raises
    ------
    MissingExtraError
        Ibis is not installed.
    SpecError
        The engine is not one of the three.
    """
    with named_extras("ibis"):
        import ibis  # noqa: F401
    dialect = Dialect.named(engine, spec.name)
    aggregates = [a for a in spec.features.aggregates if wanted is None or a.name in wanted]
    names = list(rows.columns)
    rows = rows.mutate(evermodel_at=_shown_at(spec, dialect.micros(rows[spec.time_column])))
    found = rows
    for asked in spec.feature_views:
        table, key = asked.table, asked.key
        members = [a for a in asked.aggregates if a in aggregates]
        if not members:
            continue
        view = _view(spec, table, tables[table], rows, key, dialect)
        totals = [a for a in members if a.function in _TOTALS]
        parts = [running_totals(view, totals)] if totals else []
        simple = list(together(view, members))
        parts += [latest(view, of_events) for of_events in simple]
        rest = [a for a in members if a.function not in _TOTALS and not any(a in some for some in simple)]
        parts += [extreme(view, a) for a in rest]
        for part in parts:
            found = _joined(found, part, tables[table], key)
    return found.select(*names, **{a.name: _filled(found[a.name], a) for a in aggregates})


def _shown_at(spec: ModelSpec, at: Any) -> Any:
    """Return the time as of which a row has its aggregates; see `OnlineSpec.shown_at`."""
    online = spec.features.online
    if online is None:
        return at
    since, period = at - online.delay // _MICROSECOND, online.every // _MICROSECOND
    return since - (since % period + period) % period  # what is left of a negative number is negative in SQL


def _view(spec: ModelSpec, name: str, events: Any, rows: Any, key: Sequence[str], dialect: Dialect) -> View:
    table = spec.source.tables[name]
    pairs = [_comparable(rows[column], events[column]) for column in key]
    names = tuple(f"k{number}" for number in range(len(key)))
    asked = rows.select(at=rows.evermodel_at, **dict(zip(names, (row for row, _ in pairs), strict=True)))
    asked = asked.filter(asked.at.notnull(), *(asked[name].notnull() for name in names)).distinct()
    happened = dialect.micros(events[table.time_column])
    known = happened + int(table.lateness / _MICROSECOND)
    if table.arrival_column is not None:
        known = dialect.micros(events[table.arrival_column])
    picked = events.select(
        happened=happened,
        known=known,
        **({} if table.id_column is None else {"event": events[table.id_column]}),
        **dict(zip(names, (event for _, event in pairs), strict=True)),
        **{f"c_{column}": events[column] for column in spec.event_columns(name)},
    )
    return View(_versions(picked, names, table, dialect), asked, names, table, dialect)


def _comparable(row: Any, event: Any) -> tuple[Any, Any]:
    """Bring a key's two columns into one type: text where they differ."""
    a, b = row.type(), event.type()
    if (a.is_integer() and b.is_integer()) or (a.is_string() and b.is_string()):
        return row, event
    return row.cast("string"), event.cast("string")


def _versions(events: Any, keys: Sequence[str], table: EventTable, dialect: Dialect) -> Any:
    """Add until when each version counts; a version without key or time takes its event back."""
    import ibis

    events = events.filter(events.known.notnull())
    if table.id_column is None:
        events = events.mutate(until=ibis.null("int64"))
    else:
        rest = sorted(name for name in events.columns if name.startswith("c_"))
        order = dialect.order(events, ["known", "happened", *rest])
        following = events.known.lead().over(ibis.window(group_by=events.event, order_by=order))
        events = events.mutate(until=ibis.ifelse(events.event.notnull(), following, ibis.null("int64")))
    return events.filter(events.happened.notnull(), *(events[name].notnull() for name in keys))


def _joined(rows: Any, part: Any, events: Any, key: Sequence[str]) -> Any:
    """Add a part's columns to the rows with its key and time."""
    pairs = [(_comparable(rows[name], events[name])[0], f"k{number}") for number, name in enumerate(key)]
    part = part.rename(**{"evermodel_then": "at"}, **{f"evermodel_{k}": k for _, k in pairs})
    same = [rows.evermodel_at == part.evermodel_then]
    same += [row == part[f"evermodel_{k}"] for row, k in pairs]
    added = [name for name in part.columns if not name.startswith("evermodel_")]
    return rows.left_join(part, reduce(lambda a, b: a & b, same)).select(
        *(rows[name] for name in rows.columns), *(part[name] for name in added)
    )


def _filled(column: Any, aggregate: Aggregate) -> Any:
    import ibis

    default = aggregate.without_events
    if not column.type().is_string():
        column = column.cast("float64")
        default = None if default is None else ibis.literal(float(default), type="float64")
    return column if default is None else ibis.coalesce(column, default)
