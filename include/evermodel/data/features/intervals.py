"""One table's events for one key: when a version is seen, and whether an aggregate takes it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from evermodel.data.features.dialect import Dialect
    from evermodel.spec.features import Aggregate, EventTable

NEVER = 2**61  # microseconds; after every time that an engine has


@dataclass(frozen=True)
class View:
    """The versions of one table's events for one key, and the distinct keys and times that rows ask for.

    Parameters
    ----------
    events
        Key columns ``k0``, ``k1`` …, ``happened``, ``known`` and ``until`` (microseconds; null: never replaced), and the
        columns of the table that are aggregated, as ``c_<name>``.
    asked
        Key columns and ``at``.
    """

    events: Any
    asked: Any
    keys: tuple[str, ...]
    table: EventTable
    dialect: Dialect


def start(events: Any) -> Any:
    """Return the time after which a version is seen: it has happened and is known."""
    import ibis

    return ibis.greatest(events.happened, events.known)


def end(events: Any, over: timedelta | None) -> Any:
    """Return the last time at which a version is seen: it leaves the window, or the next version is known."""
    import ibis

    until = ibis.coalesce(events.until, NEVER)
    return until if over is None else ibis.least(events.happened + micros(over), until)


def micros(span: timedelta) -> int:
    """Return a span's microseconds."""
    return span // timedelta(microseconds=1)


def taken(view: View, aggregate: Aggregate) -> Any:
    """Return whether an aggregate takes an event: its `where` holds, and there is a value."""
    import ibis

    events = view.events
    found = ibis.literal(True)
    for name, wanted in aggregate.where.items():
        values = wanted if isinstance(wanted, tuple) else (wanted,)
        column = events[f"c_{name}"]
        found = found & ibis.coalesce(column.isin([_literal(column, value) for value in values]), False)
    if aggregate.column is not None and aggregate.function != "last":
        found = found & number_or_text(events[f"c_{aggregate.column}"]).notnull()
    return found


def _literal(column: Any, value: Any) -> Any:
    import ibis

    return ibis.literal(str(value) if column.type().is_string() else value)


def number_or_text(column: Any) -> Any:
    """Return numbers as float64, those that are not finite as null, and everything else as it is."""
    import ibis

    kind = column.type()
    if kind.is_boolean():
        column, kind = column.cast("int32").cast("float64"), None
    elif kind.is_numeric():
        column, kind = column.cast("float64"), None
    if kind is not None:
        return column
    return ibis.ifelse(column.isnan() | column.isinf(), ibis.null("float64"), column)
