"""Which columns of which tables each column of a snapshot or a prediction log comes from, for OpenLineage."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from evermodel_provider.lineage import (
    ColumnOrigin,
    Data,
    OutputColumn,
    event_data,
    feast_data,
    query_columns,
    row_data,
)

if TYPE_CHECKING:
    from evermodel.spec import ModelSpec
    from evermodel.spec.features import Aggregate


def snapshot_columns(spec: ModelSpec) -> tuple[OutputColumn, ...]:
    """Return the columns of a snapshot, each with what it is read or computed from."""
    return tuple(_RowColumns(spec).told(name) for name in spec.columns)


def prediction_columns(spec: ModelSpec) -> tuple[OutputColumn, ...]:
    """Return the columns of the prediction log, of which scores come from all features together."""
    columns = _RowColumns(spec)
    direct = dict.fromkeys(one for name in spec.features.names for one in columns.of(name) if one.direct)
    answer = tuple(ColumnOrigin(one.data, one.field, "TRANSFORMATION", "by the model") for one in direct)
    names = [spec.id_column, spec.time_column, *spec.logged]
    scores = [OutputColumn("score", answer), OutputColumn("predicted", answer)]
    return (*(columns.told(name) for name in dict.fromkeys(names)), *scores)


@dataclass(frozen=True)
class _ReadTable:
    """Rows as they are read: a table's own columns, or what a query makes of them.

    :param query: For each column that a query gives, the names of table and column that it is made of.
    """

    places: tuple[Data, ...]
    query: Mapping[str, list[tuple[str, str]]] | None

    def origins(
        self, column: str, subtype: str = "IDENTITY", description: str = ""
    ) -> Iterator[ColumnOrigin]:
        """Find what a column is read from; nothing where that cannot be known."""
        if self.query is None:
            if len(self.places) == 1:
                yield ColumnOrigin(self.places[0], column, subtype, description)
            return
        kind = "TRANSFORMATION" if subtype == "IDENTITY" else subtype
        for table, field in self.query.get(column, ()):
            named = [place for place in self.places if place.name.split(".")[-1] == table.split(".")[-1]]
            for place in named or self.places[:1]:
                yield ColumnOrigin(place, field, kind, description)


class _RowColumns:
    """The columns of a model's rows."""

    def __init__(self, spec: ModelSpec) -> None:
        self._spec = spec

    def told(self, name: str) -> OutputColumn:
        """Return a column with its note."""
        note = self._spec.note_on(name)
        owner = f"Owner: {note.owner}"
        return OutputColumn(
            name, self.of(name), f"{note.description}. {owner}" if note.description else owner
        )

    def of(self, name: str) -> tuple[ColumnOrigin, ...]:
        """Return what a column comes from."""
        return self._joined[name] if name in self._joined else tuple(self._rows.origins(name))

    @cached_property
    def _rows(self) -> _ReadTable:
        source = self._spec.source
        if source.kind == "python" or (source.kind == "ibis" and source.expression is not None):
            return _ReadTable((), None)  # only the function knows
        places = tuple(row_data(source))
        return _ReadTable(places, None if source.query is None else query_columns(source.query, places[0]))

    @cached_property
    def _joined(self) -> dict[str, tuple[ColumnOrigin, ...]]:
        """What features come from that are found by a key."""
        found: dict[str, tuple[ColumnOrigin, ...]] = {}
        for view in self._spec.feature_views:
            found |= {one.name: tuple(self._aggregated(one, view.key)) for one in view.aggregates}
            found |= {name: tuple(self._given(name, view.key)) for name in view.given}
        return found

    def _aggregated(self, one: Aggregate, key: tuple[str, ...]) -> Iterator[ColumnOrigin]:
        source = self._spec.source
        table = source.tables[one.table]
        places = tuple(event_data(source, one.table))
        events = _ReadTable(places, None if table.query is None else query_columns(table.query, places[0]))
        if one.column is not None:
            yield from events.origins(one.column, "AGGREGATION", one.told)
        for name in key:
            yield from events.origins(name, "JOIN")
        for name in filter(None, (table.time_column, table.arrival_column)):
            yield from events.origins(name, "WINDOW")
        for name in one.where:
            yield from events.origins(name, "FILTER")
        yield from self._keys(key)

    def _given(self, name: str, key: tuple[str, ...]) -> Iterator[ColumnOrigin]:
        feast = self._spec.source.feast
        assert feast is not None
        yield ColumnOrigin(feast_data(feast), name, "IDENTITY")
        yield from self._keys(key)

    def _keys(self, key: tuple[str, ...]) -> Iterator[ColumnOrigin]:
        for name in key:
            yield from self._rows.origins(name, "JOIN")
        yield from self._rows.origins(self._spec.time_column, "WINDOW")
