"""Problems of a model: their severities, three words in order, and the kinds that become incidents."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Severity = Literal["none", "warning", "critical"]
RANK: dict[str, int] = {"none": 0, "warning": 1, "critical": 2}
ProblemKind = Literal["drift", "quality", "performance", "serving", "skew"]
KINDS: tuple[ProblemKind, ...] = ("drift", "quality", "performance", "serving", "skew")


@dataclass(frozen=True)
class Problem:
    """The state of one kind of problem in one window; severity ``none`` means no problem.

    Parameters
    ----------
    reason
        One sentence that explains the severity, also when it is ``none``.
    cause
        The likely cause in a few words (one upstream column, every column, one slice, ...); empty if unknown.
    details
        Further lines, the most important first.
    known
        False if the window could not be evaluated (no labels yet, too few rows): it neither opens nor resolves
        an incident.
    """

    kind: ProblemKind
    severity: Severity
    reason: str
    cause: str = ""
    details: tuple[str, ...] = ()
    known: bool = True


def worst_of(severities: Iterable[Severity]) -> Severity:
    """Return the worst of some severities; none of no severities.

    >>> worst_of(["none", "critical", "warning"])
    'critical'
    """
    return max(severities, key=RANK.__getitem__, default="none")
