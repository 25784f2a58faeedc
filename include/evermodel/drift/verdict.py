"""The verdict on a window, as data that travels as JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

Severity = Literal["none", "warning", "critical"]
RANK: dict[str, int] = {"none": 0, "warning": 1, "critical": 2}


@dataclass(frozen=True)
class Bin:
    """One bin or category of a column, with its share on both sides."""

    label: str
    reference: float
    window: float


@dataclass(frozen=True)
class ColumnDrift:
    """How one column differs from the reference.

    Parameters
    ----------
    column, kind
        Name, and ``numeric`` or ``categorical``.
    psi
        Population stability index of the window against the reference.
    natural
        Largest index that windows of the same length show *inside* the reference.
    p_value
        Two-sample test that both sides come from one distribution, not corrected for the number of columns.
    severity
        The verdict on this column.
    summary
        What changed, in a few words.
    bins
        Shares by bin, for plots.
    """

    column: str
    kind: Literal["numeric", "categorical"]
    psi: float
    natural: float
    p_value: float
    severity: Severity
    summary: str
    bins: tuple[Bin, ...]


@dataclass(frozen=True)
class DriftVerdict:
    """The verdict on a whole window.

    Parameters
    ----------
    model, version
        Model, and the champion's version whose training data is the reference.
    start, end
        The window, as ISO dates or times; the end is exclusive.
    severity
        The worst of the columns; ``none`` also when there are too few rows for a verdict.
    reason
        One sentence that explains the severity.
    quality
        Problems of the data itself (missing columns, nulls, ...); they veto an automatic retrain.
    metric, metric_value, metric_low, metric_high, metric_promised
        Performance on labels that have matured, with its interval, and the value at promotion; None if unknown.
    columns
        Every watched column, worst first.
    """

    model: str
    version: str
    start: str
    end: str
    reference_rows: int
    window_rows: int
    false_alarm_rate: float
    severity: Severity
    reason: str
    quality: tuple[str, ...]
    metric: str | None
    metric_value: float | None
    metric_low: float | None
    metric_high: float | None
    metric_promised: float | None
    columns: tuple[ColumnDrift, ...]

    @property
    def drifting(self) -> tuple[ColumnDrift, ...]:
        """The columns with a severity, worst first."""
        return tuple(column for column in self.columns if column.severity != "none")

    def to_json(self) -> dict[str, Any]:
        """Return plain data, ready for JSON."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> DriftVerdict:
        """Read what `to_json` wrote."""
        columns = tuple(
            ColumnDrift(**{**column, "bins": tuple(Bin(**b) for b in column["bins"])})
            for column in data["columns"]
        )
        return cls(**{**data, "columns": columns, "quality": tuple(data["quality"])})
