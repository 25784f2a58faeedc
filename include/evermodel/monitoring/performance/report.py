"""The report on a model's performance, as JSON-ready data."""

from __future__ import annotations

from dataclasses import dataclass, field

from evermodel.core.formats import JsonData
from evermodel.monitoring.performance.label_join import LabelState
from evermodel.monitoring.problems import Severity


@dataclass(frozen=True)
class Period:
    """The metric on one day or week, with its 95 % interval; None where it does not exist.

    Parameters
    ----------
    start
        ISO date.
    rows
        Predictions with a label.
    """

    start: str
    rows: int
    value: float | None = None
    low: float | None = None
    high: float | None = None
    business: dict[str, float | None] = field(default_factory=dict)


@dataclass(frozen=True)
class MetricStanding:
    """One metric against the baseline.

    Parameters
    ----------
    name
        ``all rows``, or a slice such as ``origin=JFK``.
    shortfall
        Distance below the baseline; negative is better.
    p_value
        Chance of a shortfall this far beyond the margin if the true one were just the margin.
    p_critical
        The same for the critical margin.
    clusters
        What the interval was drawn from, such as "7 days"; empty for single rows.
    windows
        Past windows that say how much windows vary; 0 if none were needed, or there are too few.
    spread
        Standard deviation between windows.
    judged
        False if there is not enough evidence for a verdict.
    """

    name: str
    rows: int
    value: float
    low: float
    high: float
    promised: float
    promised_error: float
    shortfall: float
    p_value: float
    p_critical: float
    rate: float
    clusters: str = ""
    windows: int = 0
    spread: float | None = None
    judged: bool = True

    @property
    def severity(self) -> Severity:
        """The verdict on it."""
        if not self.judged:
            return "none"
        if self.p_critical <= self.rate:
            return "critical"
        return "warning" if self.p_value <= self.rate else "none"


@dataclass(frozen=True)
class Estimate:
    """The metric of a window as estimated before its labels are known, with a 95 % interval of the value to come.

    Parameters
    ----------
    calibrated_on
        Rows with labels that the scores were calibrated on; 0 when they were taken as they are.
    past_windows
        Windows whose labels have matured since, which set the width of the interval.
    """

    rows: int
    value: float
    low: float
    high: float
    calibrated_on: int
    past_windows: int = 0


@dataclass(frozen=True)
class Proxies:
    """Statistics of predictions without labels: mean and quantiles, and the share over the threshold."""

    rows: int
    mean: float
    quantiles: dict[str, float]
    over_threshold: float | None


@dataclass(frozen=True)
class PerformanceReport(JsonData):
    """The report of one evaluation.

    Parameters
    ----------
    start, end
        Interval of the evaluated predictions; the end is exclusive.
    standings
        All rows first, then the slices; empty without evaluated rows.
    versions
        Share of each model version among the evaluated rows.
    days, weeks
        The timeline, oldest first.
    """

    model: str
    version: str
    metric: str
    higher_is_better: bool
    as_of: str
    start: str
    end: str
    margin: float
    critical: float
    standings: tuple[MetricStanding, ...]
    labels: LabelState
    versions: tuple[tuple[str, float], ...]
    days: tuple[Period, ...]
    weeks: tuple[Period, ...]
    estimate: Estimate | None
    proxies: Proxies | None
    business: dict[str, float | None]
    notes: tuple[str, ...] = ()
