"""What is wrong with a model right now: the kinds of problem that become incidents."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from evermodel.core.severity import Severity

ProblemKind = Literal["drift", "quality", "performance", "serving"]
KINDS: tuple[ProblemKind, ...] = ("drift", "quality", "performance", "serving")


@dataclass(frozen=True)
class Problem:
    """The state of one kind of problem in one window; severity ``none`` says that all is well.

    Parameters
    ----------
    kind
        What it is about; each kind has an incident of its own.
    severity
        How bad it is.
    reason
        One sentence that explains the severity, also when it is ``none``.
    cause
        The likely cause in a few words (one upstream column, every column, one slice, ...); empty if unknown.
    details
        Further lines, the most important first.
    known
        False when there was nothing to judge (no labels yet, too few rows): such a window neither opens nor resolves
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
