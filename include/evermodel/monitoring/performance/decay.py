"""Decay: is the metric on matured labels significantly below the baseline, overall or in a slice?"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from evermodel.evaluation.margin import in_units
from evermodel.monitoring.drift.columns import days_of
from evermodel.monitoring.drift.figures import measured
from evermodel.monitoring.performance.answers import (
    Level,
    clusters_in,
    enough,
    level,
    metric_to_watch,
    performance_metric,
    truth_and_scores,
)
from evermodel.monitoring.performance.baseline import Baseline
from evermodel.monitoring.performance.label_join import LabelJoin, versions_of
from evermodel.monitoring.performance.past_windows import FEWEST_FREEDOM, LEAST_FREEDOM, PastWindows
from evermodel.monitoring.performance.report import MetricStanding
from evermodel.monitoring.problems import Problem, worst_of
from evermodel.spec import ModelSpec
from evermodel.spec.gate import GateSpec
from evermodel.spec.parts import margin_share
from evermodel.stats.clusters import FEWEST
from evermodel.stats.successive import joint_freedom

if TYPE_CHECKING:
    import pyarrow as pa

_Keep = Callable[["pa.Table"], "pa.Table"]
ALL_ROWS = "all rows"
_QUARTILES = (0.25, 0.5, 0.75)
_MOST_VALUES = 20  # of a slice column, those with the most rows
_DEFAULT_MARGIN = 0.01


def margins(spec: ModelSpec, baseline: Baseline) -> tuple[float, float]:
    """Return the shortfalls that are a warning and critical, in units of the metric.

    A share, such as the gate's default of 5 %, refers to the gain over no skill on the baseline's test rows; without
    these rows it is taken as 0.01.
    """
    margin = spec.performance.margin
    if margin is None:
        margin = _gate_margin(spec, baseline)
    critical = 3 * margin if spec.performance.critical is None else spec.performance.critical
    return margin, max(margin, critical)


def _gate_margin(spec: ModelSpec, baseline: Baseline) -> float:
    metric, same = metric_to_watch(spec), performance_metric(spec) == spec.gate.metric
    declared = spec.gate.margin if same else GateSpec().margin
    if margin_share(declared) is None:
        return float(declared)
    if baseline.rows is None:
        return _DEFAULT_MARGIN
    truth, scores = truth_and_scores(spec, baseline.rows)
    return in_units(declared, metric, truth, scores)


def stand(
    spec: ModelSpec, rows: pa.Table, baseline: Baseline, past: PastWindows | None = None
) -> tuple[MetricStanding, ...]:
    """Compare the metric on matured rows with the baseline, overall and by slice.

    Both values are estimates, so both errors count, each with its clusters. The false-alarm rate is shared (Bonferroni,
    which holds however the tests depend on each other): half of it for all rows, half for the slices together, those that
    are searched included. Of these only the ones whose shortfall is beyond the margin are measured: no other can be an alarm.

    A shortfall has two explanations without a decay: chance within the windows, and windows that differ more from each
    other than their days do. It must be more than either. The second is a prediction interval by the windows before
    (Hahn, Meeker: Statistical Intervals, 1991, section 4.7), with the variance of successive windows.

    Parameters
    ----------
    baseline
        Of the champion. A slice is compared with the same slice of the baseline's test rows.
    past
        The windows before; without, the days alone decide.

    Returns
    -------
    All rows first; empty with too few rows or an unknown baseline.
    """
    if baseline.level is None or not enough(spec, rows):
        return ()
    limits, rate = margins(spec, baseline), spec.performance.false_alarm_rate
    candidates = list(_candidates(spec, rows, baseline))
    pairs = [pair for one in candidates if (pair := _leveled(spec, one, limits[0])) is not None]
    found = level(spec, rows, clusters=clusters_in(spec, rows))
    if found is None:
        return ()
    test = DecayTest(spec, limits, past, _windows_of(spec, baseline))
    whole = test.standing(ALL_ROWS, found, baseline.level, rate / 2 if candidates else rate)
    return whole, *(
        test.standing(name, found, promised, rate / 2 / len(candidates), keep)
        for name, found, promised, keep in pairs
    )


@dataclass(frozen=True)
class DecayTest:
    """Compares levels with their baselines.

    Parameters
    ----------
    limits
        Shortfalls that are a warning and critical.
    baseline_windows
        How many windows the baseline's test rows are worth.
    """

    spec: ModelSpec
    limits: tuple[float, float]
    past: PastWindows | None
    baseline_windows: float

    def standing(
        self, name: str, found: Level, promised: Level, rate: float, keep: _Keep | None = None
    ) -> MetricStanding:
        """Return the comparison of one level; ``keep`` picks the rows of its slice."""
        shortfall = float(metric_to_watch(self.spec).gain(promised.value, found.value))
        beyond = [shortfall - limit for limit in self.limits]
        error = math.hypot(found.error, promised.error)
        freedom = joint_freedom([found.error**2, promised.error**2], [found.freedom, promised.freedom])
        few = found.too_few or promised.too_few
        chances = [0.0 if few else _chance(one, error, freedom) for one in beyond]
        varied = None
        if self.past is not None and beyond[0] > 0 and chances[0] <= rate:
            varied = self.past.variance(keep, FEWEST_FREEDOM if few else LEAST_FREEDOM)
        if varied is not None:
            spread = math.sqrt(varied.variance * (1 + 1 / self.baseline_windows))
            by_windows = [_chance(one, spread, varied.freedom) for one in beyond]
            chances = [max(pair) for pair in zip(chances, by_windows, strict=True)]
        unknown = few and varied is None and beyond[0] > 0
        return MetricStanding(
            name=name,
            rows=found.rows,
            value=found.value,
            low=found.low,
            high=found.high,
            promised=promised.value,
            promised_error=promised.error,
            shortfall=shortfall,
            p_value=chances[0],
            p_critical=chances[1],
            rate=rate,
            clusters=found.clusters,
            windows=varied.values if varied else 0,
            spread=math.sqrt(varied.variance) if varied else None,
            judged=not unknown,
        )


def _chance(beyond: float, error: float, freedom: float) -> float:
    from scipy.special import ndtr, stdtr

    if error == 0:
        return 0.0 if beyond > 0 else 1.0
    return float(ndtr(-beyond / error) if math.isinf(freedom) else stdtr(freedom, -beyond / error))


def _windows_of(spec: ModelSpec, baseline: Baseline) -> float:
    """Return how many windows the baseline's test rows are worth, at least one."""
    if baseline.rows is None or spec.time_column not in baseline.rows.column_names:
        return 1.0
    days = len(np.unique(days_of(baseline.rows[spec.time_column])))
    return max(1.0, days / (spec.performance.window / timedelta(days=1)))


class _Candidate(NamedTuple):
    """A slice with enough rows: its name, its rows in the window and in the baseline, and what picks them."""

    name: str
    here: pa.Table
    there: pa.Table
    keep: _Keep
    searched: bool


def _candidates(spec: ModelSpec, rows: pa.Table, baseline: Baseline) -> Iterator[_Candidate]:
    """Yield the declared slices, then those of a search."""
    if baseline.rows is None:
        return
    declared = spec.performance.slices
    found = [(one, False) for column in declared for one in _values(column, rows)]
    if spec.performance.search:
        others = [name for name in spec.features.categorical if name not in declared]
        found += [(one, True) for column in others for one in _values(column, rows)]
        numbers = [name for name in spec.features.numeric if name not in declared]
        found += [(one, True) for column in numbers for one in _quarters(column, baseline.rows)]
    for (name, keep), searched in found:
        here, there = keep(rows), keep(baseline.rows)
        if enough(spec, here) and enough(spec, there):
            yield _Candidate(name, here, there, keep, searched)


def _leveled(spec: ModelSpec, one: _Candidate, margin: float) -> tuple[str, Level, Level, _Keep] | None:
    """Return a slice with its levels; None if the metric is undefined, or if a searched one is not worse."""
    metric = metric_to_watch(spec)
    if one.searched:
        values = [metric(*truth_and_scores(spec, rows)) for rows in (one.there, one.here)]
        if not metric.gain(*values) > margin:
            return None
    found, promised = (level(spec, t, clusters=clusters_in(spec, t)) for t in (one.here, one.there))
    return None if found is None or promised is None else (one.name, found, promised, one.keep)


def _values(column: str, rows: pa.Table) -> Iterator[tuple[str, _Keep]]:
    """Yield the slices of a column's commonest values."""
    import pyarrow as pa
    import pyarrow.compute as pc

    tally = pc.value_counts(rows[column].cast(pa.string()).drop_null()).to_pylist()
    for entry in sorted(tally, key=lambda e: (-e["counts"], e["values"]))[:_MOST_VALUES]:
        yield f"{column}={entry['values']}", partial(_slice_of, column, entry["values"])


def _quarters(column: str, rows: pa.Table) -> Iterator[tuple[str, _Keep]]:
    """Yield the slices between the quartiles that a column has in the baseline."""
    numbers = np.asarray(rows[column].drop_null(), dtype=np.float64)
    if not len(numbers):
        return
    edges = np.unique([-np.inf, *np.quantile(numbers, _QUARTILES), np.inf])
    for low, high in pairwise(edges.tolist()):
        name = f"{column}<{high:g}" if math.isinf(low) else f"{column}≥{low:g}"
        if not (math.isinf(low) or math.isinf(high)):
            name += f" and <{high:g}"
        yield name, partial(_range_of, column, low, high)


def _range_of(column: str, low: float, high: float, rows: pa.Table) -> pa.Table:
    import pyarrow.compute as pc

    values = rows[column]
    inside = pc.and_(pc.greater_equal(values, low), pc.less(values, high))
    return rows.filter(pc.fill_null(inside, False))


def _slice_of(column: str, value: str, rows: pa.Table) -> pa.Table:
    import pyarrow as pa
    import pyarrow.compute as pc

    return rows.filter(pc.equal(rows[column].cast(pa.string()), value))


def problem_of(
    spec: ModelSpec,
    joined: LabelJoin,
    own: pa.Table,
    baseline: Baseline,
    standings: tuple[MetricStanding, ...],
) -> Problem:
    """Return the model's performance as a problem.

    Parameters
    ----------
    own
        The joined rows that the champion itself has scored; a version is compared with its own baseline only.
    """
    metric, state = performance_metric(spec), joined.state
    if not standings:
        return Problem("performance", "none", _unknown(spec, joined, own, baseline), known=False)
    whole, *slices = standings
    if not any(one.judged for one in standings):
        return Problem("performance", "none", _too_few(metric, whole), known=False)
    severity = worst_of(one.severity for one in standings)
    bad = [one for one in slices if one.severity != "none"]
    sentence = (
        f"{metric} {measured(whole.value, whole.low, whole.high)} on {whole.rows:,} labels{_of(whole)}, "
        f"baseline {whole.promised:.3f} ± {1.96 * whole.promised_error:.3f}"
    )
    if whole.spread is not None:
        sentence += f"; {whole.windows} windows before differ by {whole.spread:.3f} (standard deviation)"
    shares = ", ".join(f"{name}: {share:.0%}" for name, share in versions_of(joined.rows))
    details = [
        f"{one.name}: {measured(one.value, one.low, one.high)}, baseline {one.promised:.3f}"
        for one in sorted(bad, key=lambda one: -one.shortfall)
    ]
    details += [
        f"predictions by version: {shares}",
        f"{state.labelled:,} of {state.predictions:,} labels have arrived",
    ]
    cause = ""
    if bad and whole.severity == "none":
        cause = f"one slice: {bad[0].name}" if len(bad) == 1 else f"{len(bad)} slices"
    elif bad and spec.performance.search:
        worst = max(bad, key=lambda one: one.rows * one.shortfall)
        cause = f"most of the loss: {worst.name} ({worst.rows / whole.rows:.0%} of the rows)"
    return Problem("performance", severity, sentence, cause, tuple(details))


def _of(standing: MetricStanding) -> str:
    return f" of {standing.clusters}" if standing.clusters else ""


def _too_few(metric: str, whole: MetricStanding) -> str:
    return (
        f"{metric} {whole.value:.3f} on {whole.rows:,} labels{_of(whole)}, baseline {whole.promised:.3f}: not enough "
        f"evidence for a verdict; it needs at least {FEWEST} clusters of about equal size (longer `performance.window` and "
        "`split.test`), or a history of several windows"
    )


def _unknown(spec: ModelSpec, joined: LabelJoin, own: pa.Table, baseline: Baseline) -> str:
    state = joined.state
    if baseline.level is None:
        return f"version {baseline.version} has no baseline {performance_metric(spec)} to compare with"
    if own.num_rows < min(spec.performance.min_rows, joined.rows.num_rows):
        return (
            f"{own.num_rows:,} of {joined.rows.num_rows:,} labels belong to predictions of version {baseline.version}, too few for a "
            f"verdict (at least {spec.performance.min_rows:,})"
        )
    if enough(spec, own):
        return "all labels have one value, so the metric is undefined"
    if state.labelled >= spec.performance.min_rows:
        return f"of {state.labelled:,} labels, one class has too few for a verdict"
    return (
        f"{state.labelled:,} of {state.predictions:,} due labels have arrived, too few for a verdict "
        f"(at least {spec.performance.min_rows:,})"
    )
