"""Evaluation of a window: significant among all tests of the day, large enough, and above normal for the model."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace

from evermodel.core.errors import EmptyWindowError
from evermodel.monitoring.drift.family import DriftTest, judge_family
from evermodel.monitoring.drift.history import QuietHistory
from evermodel.monitoring.drift.measure import measure, measure_together
from evermodel.monitoring.drift.profiles import answers
from evermodel.monitoring.drift.reference_and_current import ColumnarRows, ExactRows
from evermodel.monitoring.drift.references import References
from evermodel.monitoring.drift.rows import LogRows, ParquetRows
from evermodel.monitoring.drift.verdict import RULE, ColumnDrift
from evermodel.spec import ModelSpec
from evermodel.spec.parts import BY_ROW

MOST_QUIET_PAIRS = 5  # reported pairs without a change of correlation


def judge_window(
    spec: ModelSpec,
    references: References,
    window: ColumnarRows,
    *,
    history: QuietHistory | None = None,
    extra: Iterable[DriftTest] = (),
) -> tuple[ColumnDrift, ...]:
    """Evaluate every kind of drift of a window, worst first.

    A test alarms when three things hold: it is significant at the spec's false-alarm rate, which all tests of the day
    share; its effect reaches a band of the spec; and the effect is larger than what is normal, as learnt from the
    model's quiet history or, before there is enough of it, than between stretches of the reference itself. Until then
    significance also counts days and clusters as draws, and a finding is a warning at most (`cluster: row` has neither).

    Parameters
    ----------
    history
        The past of the model, after `QuietHistory.learn`.
    extra
        Findings of other parts, such as those about labels, which join the family of tests.

    Raises
    ------
    EmptyWindowError
        The window has no row.
    """
    if window.num_rows == 0:
        raise EmptyWindowError(
            f"model {spec.name}: no row in {references.window}, so drift cannot be evaluated",
            "check that predictions are logged, then run this again",
        )
    log = LogRows(window, answers(spec))
    side = _side(spec, log)
    found, rate = [*measure(references, side), *extra], spec.drift.false_alarm_rate
    if window.num_rows < spec.drift.min_rows:
        why = f"{window.num_rows} rows, at least {spec.drift.min_rows}"
        findings = [_unjudged(one if one.rule is None else _limited(one, 0.0), why) for one in found]
    else:
        others = sum(one.weight for one in found if one.decided is None) or 1.0  # none is left to test
        whole = measure_together(references, side, others)
        found += [whole] if whole else []
        total = others + (whole.weight if whole else 0.0)
        findings = [
            _above_normal(one, rate * one.weight / total, history, spec.cluster == BY_ROW) for one in found
        ]
    return _without_quiet_pairs(judge_family(findings, rate))


def _side(spec: ModelSpec, log: LogRows) -> ExactRows:
    numeric = frozenset(spec.features.numeric) | log.numbers
    if spec.drift.engine == "spark" and isinstance(log.rows, ParquetRows):
        from evermodel.modeling.scoring.spark import session_of
        from evermodel.monitoring.drift.spark import SparkRows

        session = session_of(f"drift_{spec.name}", spec.drift.spark)
        return SparkRows(log, numeric, "event_time", spec.seed, session=session)
    return ExactRows(log, numeric, "event_time", spec.seed)


def _above_normal(test: DriftTest, rate: float, history: QuietHistory | None, rows_alone: bool) -> DriftTest:
    """Raise the bands of a test to what is normal for the model; a rule warns at most where days are the draws."""
    if test.rule is None:
        return test
    limit = history.limit(test.key, test.power, rate) if history else None
    calm, basis = (limit.effect, limit.words) if limit else (0.0, "")
    # The rule is slow, so it is computed only if it decides.
    if not (limit and limit.sure) and test.drift.effect >= max(test.drift.threshold, calm):
        calm = max(calm, test.rule())
        basis = basis or f"{RULE}: what stretches of the reference show"
        test = _by_clusters(test) if rows_alone else replace(_by_clusters(test), critical=math.inf)
    return _limited(test, calm, basis)


def _by_clusters(test: DriftTest) -> DriftTest:
    """Have a test count days and clusters where no history says yet how much windows differ."""
    found = test.clustered() if test.clustered else None
    if found is None or found <= test.drift.p_value:
        return test
    return replace(test, drift=replace(test.drift, p_value=found))


def _limited(test: DriftTest, calm: float, basis: str = "") -> DriftTest:
    effect, low, high, calm = map(_short, (test.drift.effect, test.drift.low, test.drift.high, calm))
    threshold = max(test.drift.threshold, calm)
    drift = replace(
        test.drift, effect=effect, low=low, high=high, calm=calm, threshold=threshold, basis=basis
    )
    return replace(test, drift=drift, critical=max(test.critical, calm))


def _short(number: float) -> float:
    return float(f"{number:.6g}")


def _unjudged(test: DriftTest, why: str) -> DriftTest:
    return replace(test, drift=replace(test.drift, summary=f"not evaluated: {why}"), decided="none")


def _without_quiet_pairs(columns: tuple[ColumnDrift, ...]) -> tuple[ColumnDrift, ...]:
    """Drop most of the pairs without a change of correlation, because their number is quadratic."""
    calm_pairs = [c for c in columns if c.what == "correlation" and c.severity == "none"]
    dropped = {c.column for c in calm_pairs[MOST_QUIET_PAIRS:]}
    return tuple(c for c in columns if c.what != "correlation" or c.column not in dropped)
