"""The verdict on a window, as JSON-ready data."""

from __future__ import annotations

from dataclasses import dataclass

from evermodel.core.formats import JsonData
from evermodel.monitoring.problems import Problem, Severity
from evermodel.spec.drift import ColumnKind, DriftKind

RULE = "a rule"  # how a basis begins that is not learnt


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

    @property
    def by_rule(self) -> bool:
        """Tell whether a rule took the place of a history that does not exist yet: a warning at most, no retrain."""
        return self.basis.startswith(RULE)


@dataclass(frozen=True)
class Performance:
    """The primary metric of one version on labels that have matured, with its baseline; None if unknown.

    Parameters
    ----------
    rows
        Predictions of the version that have a label.
    value, low, high
        The metric on them with its 95 % interval; None where they are too few for a verdict.
    promised
        The baseline: the metric on the version's test rows.
    limit
        The baseline less the margin: what is beyond it by more than chance is a warning. None in verdicts of earlier releases.
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
    limit: float | None = None


@dataclass(frozen=True)
class PromotionEffect(JsonData):
    """The champion against the version that it replaced, on the same rows.

    Parameters
    ----------
    since
        When it was promoted, ISO 8601.
    days, rows
        Days that were compared, and their rows. Days with too few rows are joined.
    gain, low, high
        By how much the champion's metric is better on the mean day; each limit is passed wrongly, at all evaluations
        together, with a chance of at most ``level``. None if unknown.
    margin
        A loss that counts, in units of the metric.
    note
        Why it is unknown; empty if it is known.
    """

    version: str
    replaced: str
    metric: str
    since: str
    margin: float
    level: float
    days: int = 0
    rows: int = 0
    gain: float | None = None
    low: float | None = None
    high: float | None = None
    note: str = ""

    @property
    def hurt(self) -> bool:
        """Tell whether it is proved that the promotion lost more than the margin."""
        return self.high is not None and self.high < -self.margin

    def __str__(self) -> str:
        if self.gain is None:
            return f"version {self.version} against version {self.replaced}, which it replaced: {self.note}"
        limits = "" if self.low is None else f" ({self.low:+.3f} to {self.high:+.3f})"
        text = f"{self.metric} {self.gain:+.3f}{limits} against version {self.replaced} on the same rows, {self.days} days"
        return f"{text}: worse by more than {self.margin:.3f}" if self.hurt else text


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
    promotion
        The effect of the last promotion; None after its watch, and of earlier releases.
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
    promotion: PromotionEffect | None = None

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
