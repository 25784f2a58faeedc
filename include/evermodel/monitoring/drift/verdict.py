"""The verdict on a window, as JSON-ready data."""

from __future__ import annotations

from dataclasses import dataclass

from evermodel.core.formats import JsonData
from evermodel.monitoring.problems import Problem, Severity
from evermodel.spec.drift import ColumnKind, DriftKind


@dataclass(frozen=True)
class Bin:
    """One bin or category of a column, with its share on both sides."""

    label: str
    reference: float
    window: float


@dataclass(frozen=True, kw_only=True)
class ColumnDrift:
    """One test of one column (or pair of columns), and its verdict.

    Parameters
    ----------
    column, kind
        Name, and ``numeric`` or ``categorical``.
    what
        What was tested: the feature's distribution, that of the prediction or of the label, missing values, ...
    method
        ``calibrated``, or the name of one of Evidently's methods.
    measure
        Name of the effect, such as ``PSI``.
    effect, low, high
        How large the difference is, with a 95 % interval.
    calm
        The largest effect that is normal for this model, learnt from its quiet history; 0 when there is too little of it.
    threshold
        The effect from which it counts: the larger of the spec's band and ``calm``.
    p_value
        Two-sample test that both sides come from one distribution, not corrected for the number of tests.
    bins
        Shares by bin, for plots.
    basis
        Where ``calm`` comes from, as text: learnt from quiet windows, or a rule.
    """

    column: str
    kind: ColumnKind
    what: DriftKind
    method: str = "calibrated"
    measure: str
    effect: float
    low: float
    high: float
    calm: float = 0.0
    threshold: float
    p_value: float
    reference: str
    severity: Severity = "none"
    summary: str
    bins: tuple[Bin, ...] = ()
    basis: str = ""


@dataclass(frozen=True)
class Performance:
    """The primary metric on labels that have matured, with the baseline at promotion; None if unknown.

    Parameters
    ----------
    estimated, estimated_low, estimated_high
        The metric of the current window as estimated before its labels are known.
    """

    metric: str
    rows: int
    value: float | None = None
    low: float | None = None
    high: float | None = None
    promised: float | None = None
    estimated: float | None = None
    estimated_low: float | None = None
    estimated_high: float | None = None


@dataclass(frozen=True)
class DriftVerdict(JsonData):
    """The verdict on a model in one window.

    Parameters
    ----------
    model, version
        Model, and the champion's version whose training data is the reference.
    start, end
        The window, as ISO dates or times; the end is exclusive.
    problems
        One per kind, also without a problem.
    columns
        Every test, worst first.
    """

    model: str
    version: str
    start: str
    end: str
    reference: str
    reference_rows: int
    window_rows: int
    false_alarm_rate: float
    severity: Severity
    reason: str
    problems: tuple[Problem, ...]
    performance: Performance
    columns: tuple[ColumnDrift, ...]

    @property
    def drifting(self) -> tuple[ColumnDrift, ...]:
        """The columns with a severity, worst first."""
        return tuple(column for column in self.columns if column.severity != "none")

    def problem(self, kind: str) -> Problem | None:
        """Return the state of one kind of problem."""
        return next((problem for problem in self.problems if problem.kind == kind), None)

    @property
    def quality(self) -> tuple[str, ...]:
        """The data quality problem; it blocks an automatic retrain."""
        problem = self.problem("quality")
        return problem.details if problem and problem.severity != "none" else ()
