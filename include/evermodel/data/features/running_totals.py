"""Counts, sums and means of windows: running totals over the times at which events come in and go out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from evermodel.data.features.intervals import NEVER, end, number_or_text, start, taken

if TYPE_CHECKING:
    from evermodel.data.features.intervals import View
    from evermodel.spec.features import Aggregate

# Sums are of whole numbers, so that they are exact and do not depend on the order, and what leaves a window leaves
# nothing behind.
_UNITS = "decimal(38, 0)"


def running_totals(view: View, aggregates: Sequence[Aggregate]) -> Any:
    """Return a column for each aggregate, with key and time, for everything that is asked for."""
    import ibis

    changes = [_nothing(view, aggregates)]
    plain = [a for a in aggregates if a.function != "distinct"]
    if plain:
        changes.append(_starts(view, plain, aggregates))
    changes += [_ends(view, over, plain, aggregates) for over in dict.fromkeys(a.over for a in plain)]
    for one in aggregates:
        if one.function == "distinct":
            changes += _of_distinct(view, one, aggregates)
    union = ibis.union(*changes)
    window = ibis.window(
        group_by=[union[k] for k in view.keys], order_by=[union.at, union.change], rows=(None, 0)
    )
    totals = union.select(
        *(union[k] for k in view.keys),
        union.at,
        union.change,
        **{name: union[name].sum().over(window) for name in _columns(aggregates)},
    )
    totals = totals.filter(totals.change == 0)
    results = {a.name: _result(totals, number, a) for number, a in enumerate(aggregates)}
    return totals.select(*(totals[k] for k in view.keys), totals.at, **results)


def _columns(aggregates: Sequence[Aggregate]) -> list[str]:
    counted = [f"n{number}" for number, a in enumerate(aggregates) if a.function != "sum"]
    return counted + [f"v{number}" for number, a in enumerate(aggregates) if a.function in ("sum", "mean")]


def _result(totals: Any, number: int, aggregate: Aggregate) -> Any:
    import ibis

    if aggregate.function in ("count", "distinct"):
        return totals[f"n{number}"].cast("float64")
    total = totals[f"v{number}"].cast("float64") / ibis.literal(10.0**aggregate.decimals, type="float64")
    if aggregate.function == "sum":
        return total
    count = totals[f"n{number}"].cast("float64")
    return ibis.ifelse(count > 0, total / ibis.ifelse(count > 0, count, 1.0), ibis.null("float64"))


def _change(
    view: View, source: Any, at: Any, change: int, aggregates: Sequence[Aggregate], **values: Any
) -> Any:
    """Return changes of the totals at a time; what a change leaves alone is zero.

    At one time, the rows (0) come before the changes (1): these count after it.
    """
    import ibis

    zeros = {name: ibis.literal(0, type="int64") for name in _columns(aggregates)}
    columns = {
        name: value.cast("int64" if name.startswith("n") else _UNITS)
        for name, value in {**zeros, **values}.items()
    }
    kind = ibis.literal(change, type="int8")
    return source.select(*(source[k] for k in view.keys), at=at, change=kind, **columns)


def _nothing(view: View, aggregates: Sequence[Aggregate]) -> Any:
    return _change(view, view.asked, view.asked.at, 0, aggregates)


def _starts(view: View, plain: Sequence[Aggregate], aggregates: Sequence[Aggregate]) -> Any:
    values: dict[str, Any] = {}
    for one in plain:
        values |= _values(view, one, aggregates, 1)
    return _change(view, view.events, start(view.events), 1, aggregates, **values)


def _ends(view: View, over: Any, plain: Sequence[Aggregate], aggregates: Sequence[Aggregate]) -> Any:
    values: dict[str, Any] = {}
    for one in plain:
        values |= _values(view, one, aggregates, -1) if one.over == over else {}
    gone = _change(view, view.events, end(view.events, over), 1, aggregates, **values)
    return gone.filter(gone.at < NEVER)


def _values(view: View, one: Aggregate, aggregates: Sequence[Aggregate], sign: int) -> dict[str, Any]:
    """Return what an event adds to an aggregate's count and sum, or takes away."""
    import ibis

    number, events = list(aggregates).index(one), view.events
    seen = taken(view, one) & (start(events) < end(events, one.over))
    values = {}
    if one.function != "sum":
        values[f"n{number}"] = ibis.ifelse(seen, sign, 0)
    if one.function != "count":
        value = number_or_text(events[f"c_{one.column}"])
        # Rounded halves up by arithmetic that every engine has in common.
        whole = (value * ibis.literal(10.0**one.decimals, type="float64") + 0.5).floor()
        values[f"v{number}"] = ibis.ifelse(seen, sign * whole.cast("int64"), 0)
    return values


def _of_distinct(view: View, one: Aggregate, aggregates: Sequence[Aggregate]) -> list[Any]:
    """Return the changes of a count of distinct values: each counts as long as any event has it."""
    import ibis

    number, events = list(aggregates).index(one), view.events
    seen = events.select(
        *(events[k] for k in view.keys),
        value=number_or_text(events[f"c_{one.column}"]),
        first=start(events),
        last=end(events, one.over),
        taken=taken(view, one),
    )
    seen = seen.filter(seen.taken, seen.first < seen.last)
    before = ibis.window(
        group_by=[*(seen[k] for k in view.keys), seen.value],
        order_by=[seen["first"], seen["last"]],
        rows=(None, -1),
    )
    # Of each interval only what no earlier one of the same value covers.
    seen = seen.mutate(
        first=ibis.greatest(seen["first"], ibis.coalesce(seen["last"].max().over(before), 0 - NEVER))
    )
    seen = seen.filter(seen["first"] < seen["last"])
    gone = seen.filter(seen["last"] < NEVER)
    plus, minus = ibis.literal(1), ibis.literal(-1)
    return [
        _change(view, seen, seen["first"], 1, aggregates, **{f"n{number}": plus}),
        _change(view, gone, gone["last"], 1, aggregates, **{f"n{number}": minus}),
    ]
