"""The profile of a snapshot: input of every check, and the reference of the next snapshot."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

_KEPT_VALUES = 500


@dataclass(frozen=True)
class ColumnProfile:
    """One column in numbers.

    Parameters
    ----------
    type
        The engine's name of its type.
    numeric
        True if it is read as numbers.
    nulls
        Missing values; not-a-number counts as missing.
    low, high, mean, sd
        Of the finite numbers.
    values
        Rows by value of a category, the commonest first.
    distinct
        Different values; an estimate above a thousand, None if not needed.
    """

    type: str
    numeric: bool
    nulls: int = 0
    infinite: int = 0
    not_numbers: int = 0
    low: float | None = None
    high: float | None = None
    mean: float | None = None
    sd: float | None = None
    values: Mapping[str, int] = field(default_factory=dict)
    distinct: int | None = None

    @property
    def listed(self) -> bool:
        """True if `values` holds every value."""
        return self.distinct is not None and len(self.values) == self.distinct


@dataclass(frozen=True)
class SnapshotProfile:
    """A whole snapshot in numbers; moments are ISO 8601.

    Parameters
    ----------
    ids
        Different ids.
    days
        Length of the window that it was taken for; 0 if that is not known.
    """

    rows: int
    ids: int
    oldest: str
    newest: str
    columns: Mapping[str, ColumnProfile]
    days: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """Return plain data with the commonest values only, ready for JSON."""
        kept = {
            name: replace(column, values=dict(list(column.values.items())[:_KEPT_VALUES]))
            for name, column in self.columns.items()
        }
        return asdict(replace(self, columns=kept))

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> SnapshotProfile:
        """Read what `to_json` wrote."""
        columns = {name: ColumnProfile(**column) for name, column in data["columns"].items()}
        return cls(**{**data, "columns": columns})


_MUCH_RARER = 10


def variants_of(values: Mapping[str, int], known: Iterable[str]) -> dict[str, str]:
    """Return the values that are variants of known ones.

    >>> variants_of({"UA": 90, " ua ": 3, "B6": 7}, ["UA", "B6"])
    {' ua ': 'UA'}
    """
    exact = set(known)
    forms = {_form(value): value for value in sorted(exact, reverse=True)}
    return {v: forms[_form(v)] for v in values if v not in exact and _form(v) in forms}


def split_variants(values: Mapping[str, int]) -> tuple[list[str], dict[str, str]]:
    """Part the values into those to be known and the variants of them that are much rarer.

    >>> split_variants({"UA": 90, "ua": 3, "Yes": 5, "yes": 4})
    (['UA', 'Yes', 'yes'], {'ua': 'UA'})
    """
    commonest: dict[str, str] = {}
    for value in values:
        other = commonest.get(_form(value))
        if other is None or values[value] > values[other]:
            commonest[_form(value)] = value
    variants = {
        value: commonest[_form(value)]
        for value, rows in values.items()
        if value != commonest[_form(value)] and rows * _MUCH_RARER <= values[commonest[_form(value)]]
    }
    return [value for value in values if value not in variants], variants


def spelling_change(value: str, known: str) -> str:
    """Tell how a value differs from the known one that it is a variant of.

    >>> [spelling_change(value, "UA") for value in ("UA ", " UA", "ua", "Ua", " ua ")]
    ['end in blanks', 'begin with blanks', 'are in lower case', 'are in other case', 'differ in case and blanks']
    """
    if value.casefold() == known.casefold():
        cases = {value.upper(): "are in upper case", value.lower(): "are in lower case"}
        return cases.get(value, "are in other case")
    if value.strip() != known:
        same = " ".join(value.split()) == " ".join(known.split())
        return "differ in blanks" if same else "differ in case and blanks"
    before, after = value != value.lstrip(), value != value.rstrip()
    if before and after:
        return "begin and end with blanks"
    return "begin with blanks" if before else "end in blanks"


def _form(value: str) -> str:
    return " ".join(value.casefold().split())
