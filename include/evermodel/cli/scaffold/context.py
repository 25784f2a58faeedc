"""Guess which columns belong to a row without being features: whose row it is, protected attributes, a list to rank."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from evermodel.cli.scaffold.labels import Label
from evermodel.cli.scaffold.table import SourceTable, TableColumn
from evermodel.data.validation.scan import name

_NUMBERED = r"([_\W]?(id|no|nr|nbr|num|number|key|code|uuid|guid|hash))?$"
_WHOSE = re.compile(
    r"(^|[_\W])(customer|cust|client|user|account|acct|member|patient|subject|person|household|subscriber|visitor|employee|"
    r"student|driver|borrower|applicant|cardholder|policyholder|device|machine|vehicle)" + _NUMBERED,
    re.IGNORECASE,
)
_LIST = re.compile(
    r"(^|[_\W])(query|q|search|srch|session|list|request|impression|slate|board|auction)" + _NUMBERED,
    re.IGNORECASE,
)
_PROTECTED = re.compile(
    r"(^|[_\W])(gender|sex|race|ethnicity|ethnic_group|religion|nationality|citizenship|disability|disabled|marital_status|"
    r"sexual_orientation|age_(group|band|range))$",
    re.IGNORECASE,
)
_RELEVANCE = re.compile(r"relevan|grade", re.IGNORECASE)
_FEWEST_WHOSE, _MOST_GROUPS, _HIGHEST_GRADE = 20, 50, 10
_REPEATED = 1.2  # rows of one value, on average


@dataclass(frozen=True)
class Context:
    """Columns that stay with the rows and that no model sees, with the reason.

    Parameters
    ----------
    cluster
        The one whose rows belong together; None if every row stands for itself, or the day is what rows share.
    group
        The one whose equal values make a list to rank; None if nothing is ranked.
    """

    columns: dict[str, str] = field(default_factory=dict)
    cluster: str | None = None
    group: str | None = None


def guess_context(table: SourceTable, label: Label, taken: Iterable[str | None]) -> Context:
    """Guess the context of a table's rows by the names of its columns, and by how often their values repeat.

    Parameters
    ----------
    taken
        Columns that have a role already.
    """
    left = [column for column in table.columns.values() if column.name not in {*taken, label.column}]
    found: dict[str, str] = {}
    group = next((c.name for c in left if _is_list(table, label, c)), None)
    if group is not None:
        found[group] = "its equal values make one list to rank, by its name and the grades of the label"
    whose = next(
        (c for c in left if _WHOSE.search(c.name) and c.name != group and _is_shared(c, _FEWEST_WHOSE)), None
    )
    if whose is not None:
        each = whose.known / whose.distinct
        found[whose.name] = f"{whose.distinct:,} different ones, with {each:.1f} rows each"
    found |= {
        c.name: "a protected attribute, by its name; move it to features if the model may use it"
        for c in left
        if _PROTECTED.search(c.name) and 2 <= c.distinct <= _MOST_GROUPS
    }
    cluster = whose.name if whose is not None and group is None else None
    return Context(found, cluster, group)


def _is_shared(column: TableColumn, fewest: int) -> bool:
    return column.distinct >= fewest and column.known >= _REPEATED * column.distinct


def _is_list(table: SourceTable, label: Label, column: TableColumn) -> bool:
    """Tell whether a column's values make lists: by its name, a label with grades, and lists of rows of several grades."""
    graded = table.columns[label.column]
    if not (_LIST.search(column.name) and _is_shared(column, 2) and graded.is_whole and graded.low == "0"):
        return False
    if int(graded.high) > _HIGHEST_GRADE or not (graded.distinct > 2 or _RELEVANCE.search(label.column)):
        return False
    lists, value = f"hash({name(column.name)})", name(label.column)
    pairs, single = table.scan.row([f"count(DISTINCT hash({lists}, {value}))", f"count(DISTINCT {lists})"])
    return bool(pairs >= _REPEATED * single)
