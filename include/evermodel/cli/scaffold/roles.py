"""Guess what each column of a table is for, with the reason."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace

from evermodel.cli.scaffold.context import Context, guess_context
from evermodel.cli.scaffold.labels import Label, guess_label
from evermodel.cli.scaffold.readings import Reading
from evermodel.cli.scaffold.suspects import find_suspects, gone_since, missing_over_time
from evermodel.cli.scaffold.table import SourceTable, TableColumn
from evermodel.core.errors import SpecError
from evermodel.core.names import did_you_mean
from evermodel.data.validation.scan import name
from evermodel.spec.model import RESERVED

_MOST_CATEGORIES = 200
_WHOLE_CLASSES = 10
_NEARLY_UNIQUE = 0.95
_TIME_KNOWN = 0.95
_ID = re.compile(r"(^|[_\W])(id|key|uuid|guid|no|nr|number|rownames|index)$|Id$|ID$", re.IGNORECASE)
_CODE = re.compile(
    r"(^|[_\W])(id|code|key|zip|zipcode|plz|postcode|postal_code|type|class|category|sku|nr|no)$|(Id|ID|Code|Type)$",
    re.IGNORECASE,
)
_KNOWN_FIRST = re.compile(r"schedul|creat|order|open|start|begin|date|time", re.IGNORECASE)
_KNOWN_LATE = re.compile(
    r"updat|modif|clos|end|finish|deliver|complet|paid|resolv|load|insert|return|cancel|settl|ship",
    re.IGNORECASE,
)
# Known at the event, but of another moment than the event.
_PLANNED = re.compile(r"due|expir|valid|until|plan|promis|birth|dob|since|expect|deadline", re.IGNORECASE)
_HOUR = re.compile(r"hour|hr$|stunde|time|clock", re.IGNORECASE)
_CLOCKS = "['%H:%M:%S', '%H:%M', '%I:%M:%S %p', '%I:%M %p', '%I:%M%p']"
_LATER = 0.9


@dataclass(frozen=True)
class Roles:
    """What the columns are for; reasons are for people.

    Parameters
    ----------
    time, identity
        Column, or None if one has to be made.
    leaks, suspicious, left_out
        Reason by column. Suspicious ones are features nevertheless.
    later
        Column with the time at which the label was known.
    missing
        Largest share of missing values of a feature, in any tenth of the time.
    context
        What stays with the rows and is no feature.
    """

    label: Label
    time: str | None
    identity: str | None
    numeric: dict[str, str]
    categorical: dict[str, str]
    leaks: dict[str, str]
    left_out: dict[str, str]
    later: str | None = None
    suspicious: dict[str, str] = field(default_factory=dict)
    missing: dict[str, float] = field(default_factory=dict)
    context: Context = field(default_factory=Context)

    @property
    def features(self) -> list[str]:
        """All features, numbers first."""
        return [*self.numeric, *self.categorical]


@dataclass(frozen=True)
class Named:
    """What a person said of a table; None is guessed."""

    label: str
    time: str | None = None
    identity: str | None = None
    order: str | None = None
    positive: str | None = None
    shuffle: bool = False

    def require(self, table: SourceTable) -> None:
        """Raise `SpecError` where a column does not exist, or has two roles."""
        given = {"label": self.label, "time": self.time, "id": self.identity, "order": self.order}
        have = ", ".join([*table.columns][:50]) + (", …" if len(table.columns) > 50 else "")
        for role, named in given.items():
            if named is not None and named not in table.columns:
                hint = did_you_mean(named, list(table.columns))
                raise SpecError(
                    f"{table.origin.told}: no column {named} {'to order by' if role == 'order' else f'for the {role}'}{hint}",
                    f"it has: {have}",
                )
        roles = [n for n in (self.label, self.time, self.identity) if n is not None]
        for column in {n for n in roles if roles.count(n) > 1}:
            raise SpecError(
                f"{table.origin.told}: the column {column} is named for two roles",
                "label, time and id must be different columns",
            )


def guess_roles(table: SourceTable, named: Named) -> tuple[SourceTable, Roles]:
    """Guess the role of every column.

    Returns
    -------
    The table, in which a date may have been joined with its hour, and the roles.

    Raises
    ------
    SpecError
        A named column does not exist or cannot be what it is said to be, or nothing is left to learn from.
    """
    named.require(table)
    label = named.label
    target = guess_label(table, label, named.positive)
    time = _checked_time(table, named.time) or (
        None if named.order else guess_time(table, label, named.identity)
    )
    table, clock = _with_hour(table, time)
    identity = _checked_id(table, named.identity) or guess_id(table, label, time)
    numeric: dict[str, str] = {}
    categorical: dict[str, str] = {}
    left_out: dict[str, str] = {}
    context = guess_context(table, target, (time, identity))
    for each in table.columns.values():
        if each.name in (label, time, identity, *context.columns):
            continue
        kind, reason = kind_of(each)
        {"numeric": numeric, "categorical": categorical}.get(kind, left_out)[each.name] = reason
    if categorical.pop(clock, None) is not None:
        left_out[clock] = f"it is joined with {time}"
    left_out |= _after(table, time, [c for c in left_out if table.columns[c].is_time])
    parts = missing_over_time(table, time, [*numeric, *categorical]) if time else {}
    gone = {c: f"it has no values since {day}" for c, shares in parts.items() if (day := gone_since(shares))}
    suspects = find_suspects(
        table, target, [c for c in numeric if c not in gone], [c for c in categorical if c not in gone]
    )
    left_out |= gone
    for column in (*gone, *suspects.leaks):
        numeric.pop(column, None)
        categorical.pop(column, None)
    if not numeric and not categorical:
        raise SpecError(
            f"{table.origin.told}: no column is left to predict {label} from",
            "reasons by column: "
            + (
                "; ".join(f"{c}: {r}" for c, r in {**suspects.leaks, **left_out}.items())
                or "it has no other columns"
            ),
        )
    for column, why in suspects.suspicious.items():
        (numeric if column in numeric else categorical)[column] = (
            f"SUSPICIOUS: {why}; is it known at the event?"
        )
    return table, Roles(
        target if context.group is None else target.ranked(),
        time,
        identity,
        numeric,
        categorical,
        suspects.leaks,
        left_out,
        _later_time(table, time, label),
        suspects.suspicious,
        {c: max(share for _, share in shares) for c, shares in parts.items() if shares},
        context,
    )


def _checked_time(table: SourceTable, time: str | None) -> str | None:
    if time is not None and not table.columns[time].is_time:
        column = table.columns[time]
        values = ", ".join(repr(value) for value in [*table.values(time, 3)])
        raise SpecError(
            f"{table.origin.told}: {time} ({column.type}) cannot be read as a time; it holds {values}",
            "name another column with --time, or convert it in a file or view of your own",
        )
    return time


def _checked_id(table: SourceTable, identity: str | None) -> str | None:
    if identity is not None and not _is_unique(table, identity):
        raise SpecError(
            f"{table.origin.told}: {identity} is no id: it is missing or the same in several rows",
            "leave out --id, and each row is named by a hash of its values",
        )
    return identity


def _is_unique(table: SourceTable, column: str) -> bool:
    """Tell whether every row of the whole table has a value of its own."""
    if not table.columns[column].unique:
        return False
    if table.looked == table.rows:
        return True
    return int(table.whole([f"count(DISTINCT {table.raw(column)})"])[0]) == table.rows


def guess_time(table: SourceTable, label: str, identity: str | None = None) -> str | None:
    """Return the column that most likely tells when a row's features were known."""
    times = [
        c
        for c in table.columns.values()
        if c.is_time
        and c.name not in (label, identity)
        and c.known >= _TIME_KNOWN * c.rows
        and c.distinct > 1
    ]
    ranked = sorted(
        times,
        key=lambda c: (
            bool(_PLANNED.search(c.name)),
            bool(_KNOWN_LATE.search(c.name)),
            not _KNOWN_FIRST.search(c.name),
            c.low,
        ),
    )
    return ranked[0].name if ranked and not _PLANNED.search(ranked[0].name) else None


def _with_hour(table: SourceTable, time: str | None) -> tuple[SourceTable, str]:
    """Join a time that is always midnight with a column of hours, or of the time of day; return that column, too."""
    if time is None or not table.origin.speaks_duckdb:
        return table, ""
    moment = f"{name(time)}::TIMESTAMPTZ"
    if table.scan.row([f"count(*) FILTER ({moment} <> date_trunc('day', {moment}))"])[0]:
        return table, ""
    for column in table.columns.values():
        if column.name == time or not _HOUR.search(column.name) or (added := _of_day(table, column)) is None:
            continue
        raw = f"TRY_CAST({table.raw(time)} AS TIMESTAMPTZ)"
        old = table.columns[time].reading
        note = f"{old.note + '; ' if old else ''}joined with {column.name}"
        joined = replace(table.columns[time], reading=Reading("time", f"{raw} + {added}", note))
        return replace(table, columns=table.columns | {time: joined}), column.name
    return table, ""


def _of_day(table: SourceTable, column: TableColumn) -> str | None:
    """Return the SQL of the time since midnight that a column tells; None if it tells none."""
    raw = name(column.name)
    if column.is_whole and column.distinct > 1 and int(column.low) >= 0 and int(column.high) <= 23:
        return f"to_hours(coalesce({raw}, 0)::BIGINT)"
    if column.type not in ("VARCHAR", "TIME"):
        return None
    seconds = f"epoch(try_strptime(trim({raw}::VARCHAR), {_CLOCKS})::TIME)"
    known = table.scan.row([f"count({seconds})"])[0]
    return f"to_seconds(coalesce({seconds}, 0))" if known and known >= _TIME_KNOWN * column.known else None


def _after(table: SourceTable, time: str | None, others: list[str]) -> dict[str, str]:
    """Return a warning for each time that is later than the event."""
    if time is None or not others:
        return {}
    event = f"{name(time)}::TIMESTAMPTZ"
    shares = table.scan.row([f"avg(({name(c)}::TIMESTAMPTZ > {event})::INTEGER)" for c in others])
    return {
        c: f"a time after the event in {share:.0%} of its rows: what is derived from it may tell the label"
        for c, share in zip(others, shares, strict=True)
        if share is not None and share >= _LATER
    }


def _later_time(table: SourceTable, time: str | None, label: str) -> str | None:
    """Return the time at which the label was known, by its name: a date after the event may as well be a plan."""
    others = [
        c.name
        for c in table.columns.values()
        if c.is_time and c.name not in (time, label) and not _PLANNED.search(c.name)
    ]
    return next((c for c in others if _KNOWN_LATE.search(c)), None) if time else None


def guess_id(table: SourceTable, label: str, time: str | None) -> str | None:
    """Return a column with a value of its own in every row."""
    unique = [
        c
        for c in table.columns.values()
        if c.unique
        and c.name not in (label, time)
        and not c.is_time
        and (c.is_whole or c.type in ("VARCHAR", "UUID"))
    ]
    named = [c for c in unique if _ID.search(c.name)]
    texts = [c for c in unique if not c.is_whole]
    counts = [c for c in unique if c.is_whole and {int(c.low), int(c.high) - table.rows} <= {0, 1, -1}]
    return next((c.name for c in (*named, *counts, *texts) if _is_unique(table, c.name)), None)


def kind_of(column: TableColumn) -> tuple[str, str]:
    """Return numeric, categorical or left_out, and why."""
    if (reason := _useless(column)) is not None:
        return "left_out", reason
    note = column.reading.note if column.reading else ""
    if column.is_whole and _CODE.search(column.name):
        if column.distinct <= _MOST_CATEGORIES:
            return "categorical", "whole numbers that are codes, by their name"
        return (
            "left_out",
            f"{column.distinct} codes are too many for categories, and their order means nothing",
        )
    if column.is_number:
        return "numeric", note
    if column.type == "VARCHAR" and column.numbers == column.known:
        return "numeric", "text, but every value is a number"
    if column.type not in ("VARCHAR", "BOOLEAN") and not column.type.startswith("ENUM"):
        return "left_out", f"its type is {column.type}"
    if column.distinct >= _NEARLY_UNIQUE * column.known and column.distinct > _WHOLE_CLASSES:
        return "left_out", f"{column.distinct} different texts in {column.known} rows: it identifies the row"
    if column.distinct > _MOST_CATEGORIES:
        return "left_out", f"{column.distinct} different texts are too many for categories"
    return "categorical", note


def _useless(column: TableColumn) -> str | None:
    if column.name in RESERVED:
        return "the prediction log has a column with this name; rename it in your own view"
    if column.known == 0:
        return "it has no values"
    if column.distinct == 1:
        return f"it is {column.low!r} in every row"
    if column.is_time:
        return "a time; derive columns from it (hour, weekday)"
    if column.is_whole and column.unique and _ID.search(column.name):
        return "it identifies the row"
    return None
