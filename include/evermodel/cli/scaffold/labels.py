"""Guess a label's task from its values, and which value is the positive class."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Literal

from evermodel.cli.scaffold.readings import MISSING
from evermodel.cli.scaffold.table import SourceTable, TableColumn
from evermodel.core.errors import SpecError
from evermodel.core.names import did_you_mean
from evermodel.data.validation.scan import name, text
from evermodel.spec.parts import Task

_MOST_CLASSES, _WHOLE_CLASSES = 50, 10
_LARGEST_COUNT, _SKEWED = 100, 1.5  # means of counts; a mean in medians
_COUNTED = re.compile(
    r"(^|[_\W])(n|num|number|count|cnt|quantity|qty|visits?|claims?|purchases|orders|calls|clicks|tickets|times)($|[_\W])",
    re.IGNORECASE,
)
_TAIL, _THIN = 5, 0.1  # values of a count, and the share of its last one in its most frequent one
_YES = frozenset(
    [
        "1",
        "yes",
        "y",
        "true",
        "t",
        "ja",
        "j",
        "oui",
        "o",
        "si",
        "sí",
        "s",
        "positive",
        "pos",
        "bad",
        "churn",
        "churned",
        "fraud",
        "default",
        "defaulted",
        "failed",
        "fail",
        "failure",
        "returned",
        "late",
        "cancelled",
        "canceled",
        "dead",
        "malignant",
        "spam",
        "abnormal",
        "anomaly",
        "delayed",
    ]
)
_NO = frozenset(
    [
        "0",
        "-1",
        "no",
        "n",
        "false",
        "f",
        "nein",
        "non",
        "negative",
        "neg",
        "good",
        "ok",
        "normal",
        "legit",
        "paid",
        "active",
        "alive",
        "benign",
        "ham",
        "success",
        "retained",
        "stayed",
        "kept",
        "ontime",
    ]
)


@dataclass(frozen=True)
class Label:
    """The label: its task, the SQL that makes it what the task needs, and what is known of it.

    Parameters
    ----------
    classes
        Rows by class, of the sample.
    kind, level
        Of a number: ``amount``, ``count`` (whole, not negative, small) or ``skewed`` (not negative, and a few are large);
        and what the best constant reaches by the metric of that kind.
    meaning
        What true and false stand for, of two classes.
    """

    column: str
    task: Task
    expression: str | None
    note: str
    classes: dict[str, int] = field(default_factory=dict)
    kind: Literal["amount", "count", "skewed"] = "amount"
    level: float = 0.0
    meaning: str = ""

    @property
    def rarest(self) -> float:
        """Share of the rarest class; 1 of a number."""
        return min(self.classes.values()) / sum(self.classes.values()) if self.classes else 1.0

    def ranked(self) -> Label:
        """Return the label as the grades of a ranking."""
        return replace(
            self,
            task="ranking",
            expression=None,
            classes={},
            meaning="",
            note="the label grades the rows of each list",
        )


def guess_label(table: SourceTable, label: str, positive: str | None = None) -> Label:
    """Guess the task from the label's values.

    Parameters
    ----------
    positive
        The value that is true, if a person named it; every other one is false then.

    Raises
    ------
    SpecError
        The values are no label, or none of them is ``positive``.
    """
    column = table.columns[label]
    if column.is_time:
        raise SpecError(
            f"the label {label} is a time",
            "choose the column to predict, or make a number of it in a view of your own",
        )
    values = {
        v: n for v, n in table.values(label).items() if column.is_number or v.strip().lower() not in MISSING
    }
    groups: Counter[str] = Counter()
    for value, n in values.items():
        groups[value.strip().lower()] += n
    if len(groups) < 2:
        only = f", {next(iter(values))!r}" if values else ""
        raise SpecError(
            f"the label {label} has {len(groups)} different values{only}",
            "choose a label with at least two values",
        )
    if len(groups) == 2 or positive is not None:
        return _binary(label, column, groups, positive)
    if column.is_number and (
        not column.is_whole or column.distinct > _WHOLE_CLASSES or _counts(column, values)
    ):
        return _number(table, label, column)
    if column.distinct > _MOST_CLASSES:
        raise SpecError(
            f"the label {label} ({column.type}) has {column.distinct} different values, too many for classes",
            "group them in your own file or view, choose a numeric label, or name one value with --positive",
        )
    return _multiclass(label, column, values)


def _counts(column: TableColumn, values: dict[str, int]) -> bool:
    """Tell whether few whole numbers are counts: from 0 on, named so, or with a tail that only gets thinner."""
    if column.low != "0":
        return False
    rows = [n for _, n in sorted(values.items(), key=lambda item: float(item[0]))]
    tail = rows[rows.index(max(rows)) :]
    thinner = len(rows) >= _TAIL and len(tail) >= _TAIL - 1 and tail == sorted(tail, reverse=True)
    return bool(_COUNTED.search(column.name)) or (thinner and tail[-1] < _THIN * tail[0])


def _number(table: SourceTable, label: str, column: TableColumn) -> Label:
    value = f"{name(label)}::DOUBLE"
    known = f"FILTER (isfinite({value}))"
    asked = [f"{function}({value}) {known}" for function in ("stddev_pop", "min", "avg", "median")]
    sd, low, mean, median = (float(found or 0.0) for found in table.scan.row(asked))
    if low >= 0 and column.is_whole and 0 < mean <= _LARGEST_COUNT:
        deviance = f"CASE WHEN {value} > 0 THEN 2 * {value} * ln({value} / {mean}) ELSE 0 END"
        level, note = f"avg({deviance}) {known}", "counts, by the look of it: small whole numbers"
        return Label(label, "regression", None, note, kind="count", level=float(table.scan.row([level])[0]))
    if low >= 0 and mean > _SKEWED * median > 0:
        level, note = (
            f"avg(abs({value} - {median})) {known}",
            f"a few values are large: the mean is {mean:.4g}, the median {median:.4g}",
        )
        return Label(label, "regression", None, note, kind="skewed", level=float(table.scan.row([level])[0]))
    return Label(label, "regression", None, "", level=sd)


def _multiclass(label: str, column: TableColumn, values: dict[str, int]) -> Label:
    note = "whole numbers with few values are treated as classes; use regression for amounts"
    plain = f"{name(label)}::VARCHAR"
    expression = None if column.is_whole or column.type == "VARCHAR" else plain
    if sum(values.values()) < column.known:
        words = ", ".join(text(word) for word in sorted(MISSING))
        expression = f"CASE WHEN lower(trim({plain})) NOT IN ({words}) THEN {plain} END"
    return Label(label, "multiclass", expression, note if column.is_whole else "", values)


def _binary(label: str, column: TableColumn, groups: Counter[str], positive: str | None) -> Label:
    true, why = _positive(label, groups, positive)
    others = [value for value in groups if value != true]
    classes = {"1": groups[true], "0": sum(groups[value] for value in others)}
    is_plain = len(others) == 1 and sum(groups.values()) == column.known
    if is_plain and (true, others[0]) in (("1", "0"), ("1.0", "0.0")):
        return Label(label, "binary", None, "", classes, meaning=f"{label} is 1")
    if is_plain and (true, others[0]) == ("true", "false") and column.type == "BOOLEAN":
        return Label(label, "binary", None, "", classes, meaning=f"{label} is true")
    lowered = f"lower(trim({name(label)}::VARCHAR))"
    false = ", ".join(text(value) for value in sorted(others))
    expression = f"CASE WHEN {lowered} = {text(true)} THEN true WHEN {lowered} IN ({false}) THEN false END"
    if positive is not None and len(others) > 1:
        words = ", ".join(text(word) for word in sorted(MISSING))
        expression = f"CASE WHEN {lowered} NOT IN ({words}) THEN {lowered} = {text(true)} END"
    rest = repr(others[0]) if len(others) == 1 else "every other value"
    note = f"true is {true!r}, {why}; false is {rest}"
    return Label(label, "binary", expression, note, classes, meaning=note)


def _positive(label: str, groups: Counter[str], positive: str | None) -> tuple[str, str]:
    if positive is not None:
        wanted = positive.strip().lower()
        if wanted not in groups:
            hint = did_you_mean(wanted, list(groups))
            raise SpecError(
                f"the label {label} has no value {positive!r}{hint}",
                f"it has: {', '.join(sorted(groups)[:20])}",
            )
        return wanted, "as --positive says"
    (_, _), (rare, _) = groups.most_common(2)
    first, second = groups
    for one, other in ((first, second), (second, first)):
        if _word(one) in _YES and _word(other) in _NO:
            return one, "by its name" if rare != one else "by its name and the rarer value"
    return rare, "the rarer value"


def _word(value: str) -> str:
    return "".join(c for c in value.removesuffix(".0") if c.isalnum() or c == "-")
