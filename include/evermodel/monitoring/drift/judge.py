"""Evaluation of a window: significant among all tests of the day, large enough, and above normal for the model."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from evermodel.core.errors import EmptyWindowError
from evermodel.monitoring.drift.family import DriftTest, MeasuredDifference, judge_family
from evermodel.monitoring.drift.history import QuietHistory
from evermodel.monitoring.drift.measure import measure
from evermodel.monitoring.drift.profiles import answers
from evermodel.monitoring.drift.reference_and_current import ColumnarRows, ExactRows
from evermodel.monitoring.drift.references import References
from evermodel.monitoring.drift.rows import LogRows
from evermodel.monitoring.drift.verdict import ColumnDrift
from evermodel.spec import ModelSpec

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
    model's quiet history or, before there is enough of it, than between stretches of the reference itself.

    Parameters
    ----------
    references
        References of the window.
    window
        Rows of the prediction log, such as an Arrow table.
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
    side = ExactRows(log, frozenset(spec.features.numeric) | log.numbers, seed=spec.seed)
    found = [*measure(references, side), *extra]
    tests = [one for one in found if isinstance(one, MeasuredDifference)]
    decided = [one for one in found if isinstance(one, DriftTest)]
    if window.num_rows < spec.drift.min_rows:
        why = f"{window.num_rows} rows, at least {spec.drift.min_rows}"
        findings = [*(_unjudged(_drift(one, 0.0, ""), why) for one in tests)]
        findings += [_unjudged(one.drift, why) for one in decided]
        return _told(judge_family(findings, spec.drift.false_alarm_rate))
    total = sum(one.weight for one in tests) + sum(one.weight for one in decided if one.decided is None)
    findings = [_finding(one, spec.drift.false_alarm_rate * one.weight / total, history) for one in tests]
    return _told(judge_family([*findings, *decided], spec.drift.false_alarm_rate))


def _finding(measured: MeasuredDifference, rate: float, history: QuietHistory | None) -> DriftTest:
    limit = history.limit(measured.key, measured.power, rate) if history else None
    calm, basis = (limit.effect, limit.words) if limit else (0.0, "")
    # The rule is slow, so it is computed only if it decides.
    if not (limit and limit.sure) and measured.effect >= max(measured.warning, calm):
        calm = max(calm, measured.rule())
        basis = basis or "a rule: what stretches of the reference show"
    drift = _drift(measured, calm, basis)
    return DriftTest(drift, max(measured.critical, drift.calm), measured.weight)


def _drift(measured: MeasuredDifference, calm: float, basis: str) -> ColumnDrift:
    return ColumnDrift(
        column=measured.column,
        kind=measured.kind,
        what=measured.what,
        method="calibrated",
        measure=measured.measure,
        effect=_short(measured.effect),
        low=_short(measured.low),
        high=_short(measured.high),
        calm=_short(calm),
        threshold=max(measured.warning, _short(calm)),
        p_value=measured.p_value,
        reference=measured.reference,
        severity="none",
        summary=measured.summary,
        bins=measured.bins,
        basis=basis,
    )


def _short(number: float) -> float:
    return float(f"{number:.6g}")


def _unjudged(drift: ColumnDrift, why: str) -> DriftTest:
    return DriftTest(replace(drift, summary=f"not evaluated: {why}"), drift.threshold, decided="none")


def _told(columns: tuple[ColumnDrift, ...]) -> tuple[ColumnDrift, ...]:
    """Drop most of the pairs without a change of correlation, because their number is quadratic."""
    calm_pairs = [c for c in columns if c.what == "correlation" and c.severity == "none"]
    dropped = {c.column for c in calm_pairs[MOST_QUIET_PAIRS:]}
    return tuple(c for c in columns if c.what != "correlation" or c.column not in dropped)
