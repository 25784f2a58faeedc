"""Problems of a model: the kinds that become incidents."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from evermodel.core.severity import Severity

ProblemKind = Literal["drift", "quality", "performance", "serving"]
KINDS: tuple[ProblemKind, ...] = ("drift", "quality", "performance", "serving")


@dataclass(frozen=True)
class Problem:
    """The state of one kind of problem in one window; severity ``none`` means no problem.

    Parameters
    ----------
    kind
        Kind of problem; each kind has its own incident.
    severity
        The severity.
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

    def to_json(self) -> dict[str, Any]:
        """Return plain data, ready for JSON."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Problem:
        """Read what `to_json` wrote."""
        return cls(**{**data, "details": tuple(data["details"])})
