"""Category variants: values that differ from a known one only in white space or case."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

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


def _form(value: str) -> str:
    return " ".join(value.casefold().split())
