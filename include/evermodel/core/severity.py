"""Severities: three words in order."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

Severity = Literal["none", "warning", "critical"]
RANK: dict[str, int] = {"none": 0, "warning": 1, "critical": 2}


def worst_of(severities: Iterable[Severity]) -> Severity:
    """Return the worst of some severities; none of no severities.

    >>> worst_of(["none", "critical", "warning"])
    'critical'
    """
    return max(severities, key=RANK.__getitem__, default="none")
