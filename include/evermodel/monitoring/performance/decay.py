"""Decay: is the metric on matured labels significantly below the baseline, overall or in a slice?"""

from __future__ import annotations

import math
from collections.abc import Iterator
from statistics import NormalDist
from typing import TYPE_CHECKING

from evermodel.evaluation.margin import in_units
from evermodel.monitoring.performance.answers import (
    Level,
    enough,
    level,
    metric_to_watch,
    performance_metric,
    truth_and_scores,
)
from evermodel.monitoring.performance.baseline import Baseline
from evermodel.monitoring.performance.label_join import LabelJoin, versions_of
from evermodel.monitoring.performance.report import MetricStanding
from evermodel.monitoring.problems import Problem, worst_of
from evermodel.spec import ModelSpec
from evermodel.spec.gate import GateSpec
from evermodel.spec.parts import margin_share

if TYPE_CHECKING:
    import pyarrow as pa

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


def stand(spec: ModelSpec, rows: pa.Table, baseline: Baseline) -> tuple[MetricStanding, ...]:
    """Compare the metric on matured rows with the baseline, overall and by slice.

    Both values are estimates, so both errors count. The false-alarm rate is shared (Bonferroni, which holds however
    the tests depend on each other): half of it for all rows, half for the slices together.

    Parameters
    ----------
    baseline
        Of the champion. A slice is compared with the same slice of the baseline's test rows.

    Returns
    -------
    All rows first; empty with too few rows or an unknown baseline.
    """
    if baseline.level is None or not enough(spec, rows):
        return ()
    pairs = list(_slices(spec, rows, baseline))
    rate = spec.performance.false_alarm_rate
    found = level(spec, rows)
    if found is None:
        return ()
    limits = margins(spec, baseline)
    whole = _standing(spec, ALL_ROWS, found, baseline.level, rate / 2 if pairs else rate, limits)
    return whole, *(_standing(spec, *pair, rate / 2 / len(pairs), limits) for pair in pairs)


def _standing(
    spec: ModelSpec, name: str, found: Level, promised: Level, rate: float, limits: tuple[float, float]
) -> MetricStanding:
    margin, critical = limits
    shortfall = float(metric_to_watch(spec).gain(promised.value, found.value))
    error = math.hypot(found.error, promised.error)
    return MetricStanding(
        name=name,
        rows=found.rows,
        value=found.value,
        low=found.low,
        high=found.high,
        promised=promised.value,
        promised_error=promised.error,
        shortfall=shortfall,
        p_value=_chance(shortfall - margin, error),
        p_critical=_chance(shortfall - critical, error),
        rate=rate,
    )


def _chance(beyond: float, error: float) -> float:
    if error == 0:
        return 0.0 if beyond > 0 else 1.0
    return NormalDist().cdf(-beyond / error)


def _slices(spec: ModelSpec, rows: pa.Table, baseline: Baseline) -> Iterator[tuple[str, Level, Level]]:
    import pyarrow as pa
    import pyarrow.compute as pc

    if baseline.rows is None:
        return
    for column in spec.performance.slices:
        now, then = rows[column].cast(pa.string()), baseline.rows[column].cast(pa.string())
        tally = pc.value_counts(now.drop_null()).to_pylist()
        for entry in sorted(tally, key=lambda e: (-e["counts"], e["values"]))[:_MOST_VALUES]:
            value = entry["values"]
            here, there = rows.filter(pc.equal(now, value)), baseline.rows.filter(pc.equal(then, value))
            if not (enough(spec, here) and enough(spec, there)):
                continue
            found, promised = level(spec, here), level(spec, there)
            if found is not None and promised is not None:
                yield f"{column}={value}", found, promised


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
    severity = worst_of(one.severity for one in standings)
    bad = [one for one in slices if one.severity != "none"]
    sentence = (
        f"{metric} {whole.value:.3f} ({whole.low:.3f} to {whole.high:.3f}) on {whole.rows:,} labels, "
        f"baseline {whole.promised:.3f} ± {1.96 * whole.promised_error:.3f}"
    )
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
