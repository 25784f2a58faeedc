"""The smallest, largest and latest of a window: running extremes over pieces of the intervals of events.

Time is cut into blocks of 1, 2, 4 … microseconds. An interval is cut once, at the border of the largest blocks that it
crosses: its left piece reaches to the end of a block and its right piece from the start of one, so that within a block
and a side a row sees a piece exactly if that begins (or ends) on its side of the row: a running extreme. A row looks into
its block of each size that occurs; without arrival times there are two sizes, or one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from evermodel.data.features.intervals import NEVER, end, micros, number_or_text, start, taken

if TYPE_CHECKING:
    from evermodel.data.features.intervals import View
    from evermodel.spec.features import Aggregate

_SHIFT = 2**60  # makes times before 1970 positive
_FOREVER = 61  # the size of the block that holds all time


def extreme(view: View, aggregate: Aggregate) -> Any:
    """Return one column, with key and time, for what is asked for and sees an event."""
    import ibis

    events, rank = _ranked(view, aggregate), aggregate.function == "last"
    value = events.rank if rank else number_or_text(events[f"c_{aggregate.column}"])
    sizes = _sizes(view, aggregate)
    pieces = _pieces(view, aggregate, events, value, sizes)
    union = ibis.union(pieces, _questions(view, pieces, sizes))
    window = ibis.window(
        group_by=[*(union[k] for k in view.keys), union.size, union.block, union.side],
        order_by=[union.point, union.question],
        rows=(None, 0),
    )
    best = union.value.min() if aggregate.function == "min" else union.value.max()
    found = union.mutate(best=best.over(window))
    found = found.filter(found.question == 1, found.best.notnull())
    found = found.mutate(at=found.time).group_by([*view.keys, "at"])
    name = "rank" if rank else aggregate.name
    best_of_all = (lambda t: t.best.min()) if aggregate.function == "min" else (lambda t: t.best.max())
    results = found.aggregate(**{name: best_of_all})
    return _with_value(view, results, events, aggregate) if rank else results


def _sizes(view: View, aggregate: Aggregate) -> list[int]:
    """Return the sizes of blocks, as powers of two, at whose borders intervals are cut."""
    fixed = view.table.arrival_column is None
    if aggregate.over is None:
        return [_FOREVER] if fixed or view.table.id_column is None else list(range(_FOREVER + 1))
    longest = micros(aggregate.over) - (micros(view.table.lateness) if fixed else 0)
    largest = (longest - 1).bit_length()
    return [max(largest - 1, 0), largest] if fixed else list(range(largest + 1))


def _ranked(view: View, aggregate: Aggregate) -> Any:
    """Keep the events that the aggregate takes, numbered within each key from the earliest to the latest."""
    import ibis

    events = view.events.filter(taken(view, aggregate))
    if aggregate.function != "last":
        return events
    order = view.dialect.order(events, ["happened", "known", f"c_{aggregate.column}"])
    by_key = ibis.window(group_by=[events[k] for k in view.keys], order_by=order)
    return events.mutate(rank=ibis.row_number().over(by_key).cast("int64"))


def _pieces(view: View, aggregate: Aggregate, events: Any, value: Any, sizes: Sequence[int]) -> Any:
    import ibis

    seen = events.select(
        *(events[k] for k in view.keys),
        first=start(events) + 1 + _SHIFT,
        final=ibis.least(end(events, aggregate.over) + _SHIFT, NEVER),
        value=value,
    )
    seen = seen.filter(seen["first"] <= seen.final)
    seen = seen.mutate(differing=seen["first"] ^ seen.final)
    size = (
        _highest_bit(seen.differing).clip(sizes[0], sizes[-1]) if len(sizes) > 1 else ibis.literal(sizes[0])
    )
    seen = seen.mutate(size=size.cast("int32"))
    left = _piece(view, seen, seen["first"], 1)
    right = _piece(view, seen.filter(seen["first"] < seen.final, seen.final < NEVER), None, -1)
    return ibis.union(left, right)


def _highest_bit(number: Any) -> Any:
    """Return the place of a number's highest bit: the logarithm, which is off by one at most, put right."""
    import ibis

    near = (ibis.greatest(number, 1).cast("float64").ln() / math.log(2)).floor().cast("int32")
    over = (number >> (near + 1).cast("int32")) > 0
    under = (number >> near) == 0
    return near + ibis.ifelse(over, 1, ibis.ifelse(under, -1, 0))


def _piece(view: View, seen: Any, point: Any, side: int) -> Any:
    import ibis

    point = seen.final if point is None else point
    return seen.select(
        *(seen[k] for k in view.keys),
        seen.size,
        block=point >> seen.size,
        side=ibis.literal(side, type="int32"),
        point=point * side,
        question=ibis.literal(0, type="int32"),
        time=ibis.literal(0, type="int64"),
        value=seen.value,
    )


def _questions(view: View, pieces: Any, sizes: Sequence[int]) -> Any:
    """Return the blocks in which the rows look: of those that have pieces."""
    import ibis

    asked = view.asked.mutate(size=ibis.array([ibis.literal(s, type="int32") for s in sizes]).unnest())
    asked = asked.mutate(
        side=ibis.array([ibis.literal(1, type="int32"), ibis.literal(-1, type="int32")]).unnest(),
        point=asked.at + _SHIFT,
    )
    asked = asked.mutate(block=asked.point >> asked.size)
    places = [*view.keys, "size", "block", "side"]
    asked = asked.semi_join(pieces.select(*places).distinct(), places)
    return asked.select(
        *(asked[k] for k in view.keys),
        asked.size,
        asked.block,
        asked.side,
        point=asked.point * asked.side,
        question=ibis.literal(1, type="int32"),
        time=asked.at,
        value=ibis.null(pieces.value.type()),
    )


def _with_value(view: View, results: Any, events: Any, aggregate: Aggregate) -> Any:
    """Put the value of the latest event in the place of its number."""
    column = events[f"c_{aggregate.column}"]
    values = events.select(*(events[k] for k in view.keys), events.rank, found=number_or_text(column))
    values = values.rename({f"event_{k}": k for k in view.keys} | {"event_rank": "rank"})
    same = results["rank"] == values.event_rank
    for k in view.keys:
        same = same & (results[k] == values[f"event_{k}"])
    return results.inner_join(values, same).select(
        *(results[k] for k in view.keys), results.at, **{aggregate.name: values.found}
    )
