"""Guess what each column of a table is for, with the reason."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from evermodel.cli.scaffold.table import SourceTable, TableColumn
from evermodel.core.errors import SpecError
from evermodel.data.validation.leakage_hints import LEAK, predictive_power
from evermodel.data.validation.scan import name, text
from evermodel.spec.model import RESERVED
from evermodel.spec.parts import Task

_MOST_CLASSES, _MOST_CATEGORIES = 50, 200
_WHOLE_CLASSES = 10
_NEARLY_UNIQUE = 0.95
_ID = re.compile(r"(^|[_\W])(id|key|uuid|guid|no|nr|number|rownames|index)$|Id$|ID$", re.IGNORECASE)
_KNOWN_FIRST = re.compile(r"schedul|creat|order|open|start|begin|date|time", re.IGNORECASE)
_KNOWN_LATE = re.compile(
    r"updat|modif|clos|end|finish|deliver|complet|paid|resolv|load|insert", re.IGNORECASE
)
_MEASURES: dict[Task, str] = {"binary": "ROC AUC", "multiclass": "accuracy", "regression": "R²"}


@dataclass(frozen=True)
class Label:
    """The label: its task, the SQL that makes it what the task needs, and what is known of it."""

    column: str
    task: Task
    expression: str | None
    note: str
    classes: dict[str, int] = field(default_factory=dict)
    sd: float = 0.0


@dataclass(frozen=True)
class Roles:
    """What the columns are for; reasons are for people.

    Parameters
    ----------
    time, identity
        Column, or None if one has to be made.
    leaks, left_out
        Reason by column.
    """

    label: Label
    time: str | None
    identity: str | None
    numeric: dict[str, str]
    categorical: dict[str, str]
    leaks: dict[str, str]
    left_out: dict[str, str]
    later: str | None = None

    @property
    def features(self) -> list[str]:
        """All features, numbers first."""
        return [*self.numeric, *self.categorical]


def guess_roles(table: SourceTable, label: str, time: str | None, identity: str | None) -> Roles:
    """Guess the role of every column.

    Parameters
    ----------
    label, time, identity
        Columns that a person named; time and identity are guessed if not.

    Raises
    ------
    SpecError
        A named column does not exist or cannot be what it is said to be, or nothing is left to learn from.
    """
    for role, named in (("label", label), ("time", time), ("id", identity)):
        if named is not None and named not in table.columns:
            raise SpecError(
                f"{table.origin.place}: no column {named} for the {role}",
                f"it has: {', '.join(table.columns)}",
            )
    target = guess_label(table, label)
    time = time or guess_time(table, label)
    identity = identity or guess_id(table, label, time)
    numeric: dict[str, str] = {}
    categorical: dict[str, str] = {}
    left_out: dict[str, str] = {}
    for column in table.columns.values():
        if column.name in (label, time, identity):
            continue
        kind, reason = kind_of(column)
        {"numeric": numeric, "categorical": categorical}.get(kind, left_out)[column.name] = reason
    leaks = _leaks(table, target, numeric, categorical)
    for leak in leaks:
        numeric.pop(leak, None)
        categorical.pop(leak, None)
    if not numeric and not categorical:
        raise SpecError(
            f"{table.origin.place}: no column is left to predict {label} from",
            "reasons by column: " + "; ".join(f"{c}: {r}" for c, r in {**leaks, **left_out}.items()),
        )
    return Roles(
        target, time, identity, numeric, categorical, leaks, left_out, _later_time(table, time, label)
    )


def guess_label(table: SourceTable, label: str) -> Label:
    """Guess the task from the label's values."""
    column, values = table.columns[label], table.values(label)
    if len(values) < 2:
        raise SpecError(
            f"the label {label} has {len(values)} different values", "choose a label with at least two values"
        )
    if len(values) == 2:
        return _binary(label, column, values)
    if column.is_number and (not column.is_whole or column.distinct > _WHOLE_CLASSES):
        number = f"{name(label)}::DOUBLE"
        sd = table.scan.row([f"stddev_pop({number}) FILTER (isfinite({number}))"])[0]
        return Label(label, "regression", None, "", sd=float(sd or 0.0))
    if column.distinct > _MOST_CLASSES:
        raise SpecError(
            f"the label {label} ({column.type}) has {column.distinct} different values, too many for classes",
            "group them in your own file or view, or choose a numeric label",
        )
    note = "whole numbers with few values are treated as classes; use regression for amounts"
    whole = column.is_whole or column.type == "VARCHAR"
    return Label(
        label,
        "multiclass",
        None if whole else f"{name(label)}::VARCHAR",
        note if column.is_whole else "",
        values,
    )


def _binary(label: str, column: TableColumn, values: dict[str, int]) -> Label:
    common, rare = values
    if {v.lower() for v in values} <= {"0", "1", "true", "false", "0.0", "1.0"}:
        positive = next(v for v in values if v.lower() in ("1", "true", "1.0"))
        classes = {"1": values[positive], "0": sum(values.values()) - values[positive]}
        return Label(label, "binary", None, "", classes)
    expression = f"{name(label)}::VARCHAR = {text(rare)}"
    note = f"true is {rare!r}, the rarer value; false is {common!r}"
    return Label(label, "binary", expression, note, {"1": values[rare], "0": values[common]})


def guess_time(table: SourceTable, label: str) -> str | None:
    """Guess the column of the time; None without one."""
    times = [c for c in table.columns.values() if c.is_time and c.name != label and c.known == c.rows]
    ranked = sorted(
        times,
        key=lambda c: (
            bool(_KNOWN_LATE.search(c.name)),
            not _KNOWN_FIRST.search(c.name),
            c.low,
        ),
    )
    return ranked[0].name if ranked else None


def _later_time(table: SourceTable, time: str | None, label: str) -> str | None:
    others = [c.name for c in table.columns.values() if c.is_time and c.name not in (time, label)]
    return next((c for c in others if _KNOWN_LATE.search(c)), None) if time else None


def guess_id(table: SourceTable, label: str, time: str | None) -> str | None:
    """Guess the column that identifies a row; None without one."""
    unique = [
        c
        for c in table.columns.values()
        if c.unique and c.name not in (label, time) and (c.is_whole or c.type in ("VARCHAR", "UUID"))
    ]
    named = [c for c in unique if _ID.search(c.name)]
    texts = [c for c in unique if not c.is_whole]
    counts = [c for c in unique if c.is_whole and {int(c.low), int(c.high) - c.rows} <= {0, 1, -1}]
    return next((c.name for c in (*named, *counts, *texts)), None)


def kind_of(column: TableColumn) -> tuple[str, str]:
    """Return numeric, categorical or left_out, and why."""
    if (reason := _useless(column)) is not None:
        return "left_out", reason
    if column.is_number:
        return "numeric", ""
    if column.type == "VARCHAR" and column.numbers == column.known:
        return "numeric", "text, but every value is a number"
    if column.type not in ("VARCHAR", "BOOLEAN") and not column.type.startswith("ENUM"):
        return "left_out", f"its type is {column.type}"
    if column.distinct >= _NEARLY_UNIQUE * column.known and column.distinct > _WHOLE_CLASSES:
        return "left_out", f"{column.distinct} different texts in {column.known} rows: it identifies the row"
    if column.distinct > _MOST_CATEGORIES:
        return "left_out", f"{column.distinct} different texts are too many for categories"
    return "categorical", ""


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


def _leaks(
    table: SourceTable, label: Label, numeric: dict[str, str], categorical: dict[str, str]
) -> dict[str, str]:
    target = label.expression or name(label.column)
    wanted = {
        "binary": f"({target})::INTEGER = 1",
        "multiclass": f"hash({target})",
        "regression": f"{target}::DOUBLE",
    }
    expressions = {label.column: wanted[label.task]}
    expressions |= {c: f"TRY_CAST({name(c)}::VARCHAR AS DOUBLE)" for c in numeric}
    expressions |= {c: f"hash({name(c)})" for c in categorical}
    sample = table.sample(expressions)
    power = predictive_power(label.task, label.column, [*numeric, *categorical], sample)
    return {
        column: f"{_MEASURES[label.task]} {value:.3f} from this column alone"
        for column, value in _strongest(power)
        if value >= LEAK
    }


def _strongest(power: dict[str, float]) -> Iterator[tuple[str, float]]:
    yield from sorted(power.items(), key=lambda item: -item[1])
