"""Decay: is the metric on matured labels significantly below the baseline, overall or in a slice?"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from evermodel.evaluation.margin import in_units
from evermodel.monitoring.drift.columns import days_of
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
from evermodel.monitoring.performance.past_windows import PastWindows
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
    which holds however the tests depend on each other): half of it for all rows, half for the slices together.

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
    pairs = list(_slices(spec, rows, baseline))
    rate = spec.performance.false_alarm_rate
    found = level(spec, rows, clusters=clusters_in(spec, rows))
    if found is None:
        return ()
    test = DecayTest(spec, margins(spec, baseline), past, _windows_of(spec, baseline))
    whole = test.standing(ALL_ROWS, found, baseline.level, rate / 2 if pairs else rate)
    return whole, *(
        test.standing(name, found, promised, rate / 2 / len(pairs), keep)
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
            varied = self.past.variance(keep)
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


def _slices(spec: ModelSpec, rows: pa.Table, baseline: Baseline) -> Iterator[tuple[str, Level, Level, _Keep]]:
    import pyarrow as pa
    import pyarrow.compute as pc

    if baseline.rows is None:
        return
    for column in spec.performance.slices:
        tally = pc.value_counts(rows[column].cast(pa.string()).drop_null()).to_pylist()
        for entry in sorted(tally, key=lambda e: (-e["counts"], e["values"]))[:_MOST_VALUES]:
            keep = partial(_slice_of, column, entry["values"])
            here, there = keep(rows), keep(baseline.rows)
            if not (enough(spec, here) and enough(spec, there)):
                continue
            found, promised = (level(spec, t, clusters=clusters_in(spec, t)) for t in (here, there))
            if found is not None and promised is not None:
                yield f"{column}={entry['values']}", found, promised, keep


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
        f"{metric} {whole.value:.3f} ({whole.low:.3f} to {whole.high:.3f}) on {whole.rows:,} labels{_of(whole)}, "
        f"baseline {whole.promised:.3f} ± {1.96 * whole.promised_error:.3f}"
    )
    if whole.spread is not None:
        sentence += f"; {whole.windows} windows before differ by {whole.spread:.3f} (standard deviation)"
    shares = ", ".join(f"{name}: {share:.0%}" for name, share in versions_of(joined.rows))
    details = [
        f"{one.name}: {one.value:.3f} ({one.low:.3f} to {one.high:.3f}), baseline {one.promised:.3f}"
        for one in sorted(bad, key=lambda one: -one.shortfall)
    ]
    details += [
        f"predictions by version: {shares}",
        f"{state.labelled:,} of {state.predictions:,} labels have arrived",
    ]
    cause = ""
    if bad and whole.severity == "none":
        cause = f"one slice: {bad[0].name}" if len(bad) == 1 else f"{len(bad)} slices"
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
