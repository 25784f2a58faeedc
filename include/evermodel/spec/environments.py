"""Overrides of a spec for one environment, such as staging, merged before the spec is checked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

SECTION = "environments"
Place = tuple[str | int, ...]


def in_environment(data: Mapping[str, Any], environment: str) -> dict[str, Any]:
    """Return a spec's data for an environment; mappings are merged, anything else is replaced.

    Parameters
    ----------
    data
        The spec as written; a section that is no mapping of mappings stays, so that the check names it.

    >>> in_environment({"a": {"b": 1, "c": 2}, "environments": {"prod": {"a": {"c": 3}}}}, "prod")
    {'a': {'b': 1, 'c': 3}}
    """
    declared = data.get(SECTION)
    if not isinstance(declared, Mapping) or not all(isinstance(part, Mapping) for part in declared.values()):
        return dict(data)
    rest = {key: value for key, value in data.items() if key != SECTION}
    return _laid_over(rest, declared.get(environment, {}))


def places_in(lines: Mapping[Place, int], environment: str) -> dict[Place, int]:
    """Return the line of each field for an environment: in its own section, or in the rest."""
    prefix = (SECTION, environment)
    own = {place[2:]: line for place, line in lines.items() if place[:2] == prefix and len(place) > 2}
    return {**lines, **own}


def _laid_over(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(under)
    for key, value in over.items():
        below = merged.get(key)
        both = isinstance(below, Mapping) and isinstance(value, Mapping)
        merged[key] = _laid_over(below, value) if both else value  # type: ignore[arg-type]
    return merged
