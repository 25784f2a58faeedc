"""The latest values where every event is known after one time and never corrected: one sort for all of a table's columns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

from evermodel.data.features.intervals import micros, number_or_text, taken

if TYPE_CHECKING:
    from evermodel.data.features.intervals import View
    from evermodel.spec.features import Aggregate


def together(view: View, aggregates: Sequence[Aggregate]) -> Iterator[list[Aggregate]]:
    """Give the `last` aggregates that `latest` can compute, those of the same events together."""
    able = [a for a in aggregates if a.function == "last" and _is_simple(view, a)]
    for _, members in groupby(sorted(able, key=_events), key=_events):
        yield list(members)


def _is_simple(view: View, aggregate: Aggregate) -> bool:
    # PostgreSQL's greatest text depends on the collation.
    text = view.events[f"c_{aggregate.column}"].type().is_string()
    fixed = view.table.arrival_column is None and view.table.id_column is None
    return fixed and not (text and view.dialect.name == "postgres")


def _events(aggregate: Aggregate) -> str:
    return repr(sorted(aggregate.where.items()))


def latest(view: View, aggregates: Sequence[Aggregate]) -> Any:
    """Return a column for each aggregate, with key and time, for what is asked for and sees an event.

    The latest event that a row sees is the latest that was known before it; it counts if it is still in the window. Of
    events at one time the greatest value counts, for each column by itself.

    Parameters
    ----------
    aggregates
        Of the same events, see `together`.
    """
    import ibis

    events = view.events.filter(taken(view, aggregates[0]))
    values = {f"v{number}": _greatest(events, a).max() for number, a in enumerate(aggregates)}
    moments = events.group_by([*view.keys, "happened"]).aggregate(**values)
    asked = view.asked
    union = ibis.union(
        moments.select(
            *view.keys,
            point=moments.happened + max(0, micros(view.table.lateness)) + 1,
            question=ibis.literal(0, type="int32"),
            happened=moments.happened,
        ),
        asked.select(
            *view.keys,
            point=asked.at,
            question=ibis.literal(1, type="int32"),
            happened=ibis.null("int64"),
        ),
    )
    window = ibis.window(
        group_by=[union[k] for k in view.keys], order_by=[union.point, union.question], rows=(None, 0)
    )
    seen = union.mutate(then=union.happened.max().over(window))
    seen = seen.filter(seen.question == 1, seen.then.notnull())
    moments = moments.rename({f"event_{name}": name for name in moments.columns})
    same = [seen[k] == moments[f"event_{k}"] for k in view.keys]
    found = seen.inner_join(moments, [*same, seen.then == moments.event_happened])
    columns = {a.name: _in_window(found, f"event_v{number}", a) for number, a in enumerate(aggregates)}
    return found.select(*view.keys, at=found.point, **columns)


def _greatest(events: Any, aggregate: Aggregate) -> Any:
    column = events[f"c_{aggregate.column}"]
    return number_or_text(column) if column.type().is_boolean() else column


def _in_window(found: Any, name: str, aggregate: Aggregate) -> Any:
    import ibis

    value = number_or_text(found[name])
    if aggregate.over is None:
        return value
    return ibis.ifelse(found.point <= found.then + micros(aggregate.over), value, ibis.null(value.type()))
