"""The same aggregates, row by row in plain Python: what the engine's answers are checked against."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from evermodel.spec.window import parse_moment

if TYPE_CHECKING:
    from evermodel.spec import ModelSpec
    from evermodel.spec.features import Aggregate

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
Row = Mapping[str, Any]


@dataclass(frozen=True)
class _Version:
    happened: int
    known: int
    until: float
    row: Row


class Events:
    """The versions of one table's events, by key.

    Parameters
    ----------
    name
        Of the table.
    rows
        With the table's columns; times as datetimes, dates or ISO texts, without a zone in UTC.
    """

    def __init__(self, spec: ModelSpec, name: str, rows: Sequence[Row]) -> None:
        self.table = spec.source.tables[name]
        self._columns = spec.event_columns(name)
        self._versions = self._ordered(rows)
        self._by_key: dict[tuple[str, ...], dict[tuple[str, ...], list[_Version]]] = {}

    def seen(self, key_columns: tuple[str, ...], key: tuple[Any, ...], at: int) -> list[_Version]:
        """Return what happened to a key before a time and was known before it, as it was known then."""
        if key_columns not in self._by_key:
            self._by_key[key_columns] = self._grouped(key_columns)
        if None in key:
            return []
        of_key = self._by_key[key_columns].get(tuple(map(str, key)), [])
        return [v for v in of_key if v.happened < at and v.known < at <= v.until]

    def _ordered(self, rows: Sequence[Row]) -> list[_Version]:
        table = self.table
        by_event: dict[Any, list[tuple[Any, int, int | None, Row]]] = defaultdict(list)
        for number, row in enumerate(rows):
            happened = micros_of(row[table.time_column])
            known = happened
            if table.arrival_column is not None:
                known = micros_of(row[table.arrival_column])
            elif happened is not None:
                known = happened + table.lateness // _MICROSECOND
            if known is None:
                continue
            event = None if table.id_column is None else row[table.id_column]
            place = (known, *_places([happened, *(row[name] for name in self._columns)]))
            by_event[("alone", number) if event is None else event].append((place, known, happened, row))
        found = []
        for versions in by_event.values():
            versions.sort(key=lambda version: version[0])
            until = [float(known) for _, known, _, _ in versions[1:]] + [math.inf]
            found += [
                _Version(happened, known, end, row)
                for (_, known, happened, row), end in zip(versions, until, strict=True)
                if happened is not None
            ]
        return found

    def _grouped(self, key_columns: tuple[str, ...]) -> dict[tuple[str, ...], list[_Version]]:
        grouped: dict[tuple[str, ...], list[_Version]] = defaultdict(list)
        for version in self._versions:
            key = tuple(version.row[name] for name in key_columns)
            if None not in key:
                grouped[tuple(map(str, key))].append(version)
        return grouped


def recompute(
    spec: ModelSpec, rows: Sequence[Row], events: Mapping[str, Events], names: Sequence[str] | None = None
) -> list[dict[str, float | str | None]]:
    """Compute a model's aggregates for rows, one by one.

    Parameters
    ----------
    rows
        With the time column and the key columns.
    events
        By the names of `source.tables`.
    names
        Of the aggregates; all if not given.

    Returns
    -------
    The aggregates of each row, by name.
    """
    aggregates = [a for a in spec.features.aggregates if names is None or a.name in names]
    found = []
    for row in rows:
        at = micros_of(row[spec.time_column])
        if at is not None and spec.features.online is not None:
            at = spec.features.online.shown_at(at)
        seen: dict[tuple[str, tuple[str, ...]], list[_Version]] = {}
        values = {}
        for one in aggregates:
            key = one.key or spec.source.tables[one.table].key
            place = (one.table, key)
            if place not in seen:
                asked = tuple(row[name] for name in key)
                seen[place] = [] if at is None else events[one.table].seen(key, asked, at)
            values[one.name] = _value(one, seen[place], at or 0)
        found.append(values)
    return found


def micros_of(time: Any) -> int | None:
    """Return the microseconds since 1970 of a time; without a zone it is UTC."""
    if time is None:
        return None
    if isinstance(time, date) and not isinstance(time, datetime):
        time = datetime(time.year, time.month, time.day, tzinfo=UTC)
    return (parse_moment(time) - _EPOCH) // _MICROSECOND


def _value(one: Aggregate, seen: Sequence[_Version], at: int) -> float | str | None:
    first = -math.inf if one.over is None else at - one.over // _MICROSECOND
    inside = [v for v in seen if v.happened >= first and _wanted(one, v.row)]
    if one.function == "last":
        result = _last(one, inside)
    elif one.column is None:
        result = float(len(inside))
    else:
        values = [_clean(v.row[one.column]) for v in inside]
        result = _FUNCTIONS[one.function]([v for v in values if v is not None], 10.0**one.decimals)
    if result is None and isinstance(one.default, int | float):
        return float(one.default)
    return one.default if result is None else result


def _wanted(one: Aggregate, row: Row) -> bool:
    for name, wanted in one.where.items():
        values = wanted if isinstance(wanted, tuple) else (wanted,)
        found = row[name]
        if found is None or found not in ([str(v) for v in values] if isinstance(found, str) else values):
            return False
    return True


def _last(one: Aggregate, inside: Sequence[_Version]) -> Any:
    if not inside:
        return None
    assert one.column is not None
    column = one.column
    latest = max(inside, key=lambda v: (v.happened, v.known, *_places([_clean(v.row[column])])))
    return _clean(latest.row[column])


def _clean(value: Any) -> Any:
    """Return numbers as floats, those that are not finite as None."""
    if value is None or isinstance(value, str):
        return value
    number = float(value)
    return number if math.isfinite(number) else None


def _places(values: Sequence[Any]) -> list[tuple[bool, Any]]:
    """Return what orders values, the missing first, text by its bytes."""
    return [(v is not None, 0 if v is None else v.encode() if isinstance(v, str) else v) for v in values]


def _units(values: Sequence[float], scale: float) -> int:
    return sum(math.floor(value * scale + 0.5) for value in values)


_FUNCTIONS: dict[str, Any] = {
    "count": lambda values, scale: float(len(values)),
    "distinct": lambda values, scale: float(len(set(values))),
    "sum": lambda values, scale: _units(values, scale) / scale,
    "mean": lambda values, scale: _units(values, scale) / scale / len(values) if values else None,
    "min": lambda values, scale: min(values) if values else None,
    "max": lambda values, scale: max(values) if values else None,
}
