from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from evermodel.monitoring.performance.concept import WARNING, concept_findings
from evermodel.monitoring.performance.estimate import calibrate, estimate_metric
from evermodel.monitoring.performance.monitor import evaluate_performance
from evermodel.stats.metrics import METRICS
from support.performance_log import START, PerformanceWorlds, drawn, logistic
from support.small_spec import small_spec


def _past_and_window(seed: int, rows: int) -> tuple[np.ndarray, ...]:
    """Scores that are too sure of themselves; the window's rows come from elsewhere, the meaning stays."""
    generator = np.random.default_rng(seed)
    past, now = generator.normal(0, 1.2, 800), generator.normal(0.4, 1.2, rows)
    labels = [generator.random(len(z)) < logistic(z) for z in (past, now)]
    return logistic(1.8 * past), labels[0], logistic(1.8 * now), labels[1]


@pytest.mark.parametrize("name", sorted(METRICS))
def test_the_interval_holds_the_value_that_the_labels_show_later(name: str) -> None:
    metric, held, errors = METRICS[name], 0, []
    for seed in range(24):
        past, labels, scores, truth = _past_and_window(seed, 400)
        found = estimate_metric(metric, scores, past, labels, seed=seed)
        assert found is not None
        value = metric(truth, scores)
        held += found.low <= value <= found.high
        errors.append(found.value - value)

    assert held >= 19  # 23 expected; fewer than 19 in one of 200
    assert abs(np.mean(errors)) < 3 * np.std(errors) / np.sqrt(24) + 0.005
    uncalibrated = estimate_metric(METRICS["log_loss"], scores, past[:50], labels[:50], seed=1)
    assert uncalibrated is not None
    assert uncalibrated.calibrated_on == 0


def test_the_estimate_is_blind_to_concept_drift_which_is_why_the_labels_are_waited_for() -> None:
    past, now = drawn(2000, 1), drawn(2000, 2, concept=1.0)
    metric = METRICS["roc_auc"]

    found = estimate_metric(metric, now["score"], past["score"], past["label"], seed=0)

    assert found is not None
    assert found.value > 0.75
    assert metric(now["label"], now["score"]) < 0.55


@pytest.mark.slow
def test_days_that_differ_by_themselves_are_no_news() -> None:
    """Every day has its own weather, which no feature knows: on two different weeks nothing has changed."""
    spec, found = small_spec(), []
    for trial in range(60):
        sides = []
        for side in (0, 1):
            table = pa.table(drawn(1400, 1000 * trial + side))
            generator = np.random.default_rng(5000 + 2 * trial + side)
            day = np.repeat(np.arange(7), 200)
            shift = generator.normal(0, 0.15, 7)[day]
            scores = np.asarray(table["score"])
            label = (generator.random(1400) < np.clip(scores + shift, 0, 1)).astype(float)
            stamps = pa.array(day * 86_400_000_000, pa.int64()).cast(pa.timestamp("us", tz="UTC"))
            table = table.set_column(table.column_names.index("label"), "label", pa.array(label))
            sides.append(_timed(table, spec.time_column if side == 0 else "event_time", stamps))
        found.append(min(f.drift.p_value for f in concept_findings(spec, *sides, "test rows")))
    # Three tests or so share each look; without the days more than half of them would be below 0.01.
    assert np.mean(np.array(found) < 0.01) <= 0.1


def _timed(table: pa.Table, name: str, stamps: pa.Array) -> pa.Table:
    names = [other for other in table.column_names if other not in ("event_time", name)]
    return table.select(names).append_column(name, stamps)


def test_calibration_gives_back_what_scores_mean() -> None:
    past, labels, scores, _ = _past_and_window(3, 400)
    meaning = logistic(np.log(scores / (1 - scores)) / 1.8)
    found = calibrate(past, labels.astype(float))(scores)
    assert np.abs(found - meaning).mean() < 0.04 < np.abs(scores - meaning).mean()


def test_a_look_estimates_the_window_whose_labels_are_not_due(performance_world: PerformanceWorlds) -> None:
    from datetime import timedelta

    world = performance_world(label={"column": "late", "delay": "10d"})
    rows = world.predict(range(21))
    world.label(rows)

    look = evaluate_performance(world.spec, world.lake, START + timedelta(days=21), world.promise())

    assert look.report.estimate is not None
    assert (look.report.estimate.rows, look.report.estimate.calibrated_on) == (700, 2000 + 1100)
    assert look.performance.estimated_low < 0.8 < look.performance.estimated_high  # type: ignore[operator]
    assert look.report.proxies is not None
    scores = np.asarray(rows["score"])[-700:]
    assert look.report.proxies.over_threshold == pytest.approx((scores >= 0.5).mean())
    assert look.report.proxies.quantiles["p95"] == pytest.approx(np.quantile(scores, 0.95))


def test_a_regression_has_no_estimate_and_the_report_says_why(performance_world: PerformanceWorlds) -> None:
    from datetime import timedelta

    world = performance_world(task="regression")
    world.label(world.predict(range(9)))

    look = evaluate_performance(world.spec, world.lake, START + timedelta(days=9), world.promise())

    assert look.report.estimate is None
    assert look.report.notes == (
        "no estimate before labels: predictions of a regression carry no uncertainty",
    )
    assert look.report.proxies is not None
    assert look.report.proxies.over_threshold is None


def _p_values(runs: int, **drawing: float) -> list[list[float]]:
    spec = small_spec()
    found = []
    for seed in range(runs):
        reference, window = (
            pa.table(drawn(800, 1000 * side + seed, **d)) for side, d in ((1, {}), (2, drawing))
        )
        found.append([f.drift.p_value for f in concept_findings(spec, reference, window, "test rows")])
    return found


@pytest.mark.parametrize("shift", [0.0, 1.0])
@pytest.mark.slow
def test_rows_from_elsewhere_are_no_concept_drift(shift: float) -> None:
    alarms = sum(min(values) * len(values) <= 0.1 for values in _p_values(40, shift=shift))
    assert alarms <= 10  # at most 4 expected; more than 10 in one of 500


def test_another_meaning_of_the_same_rows_is_concept_drift() -> None:
    assert all(min(values) < 1e-3 for values in _p_values(5, concept=0.7))

    spec = small_spec()
    found = concept_findings(spec, pa.table(drawn(800, 1)), pa.table(drawn(800, 2, concept=1.0)), "test rows")
    drifts = {finding.drift.column: finding.drift for finding in found}
    assert set(drifts) == {"late", "amount", "age", "colour"}
    assert drifts["amount"].p_value < drifts["age"].p_value < 0.01 < drifts["colour"].p_value
    assert drifts["amount"].low > WARNING
    assert sum(finding.weight for finding in found) == pytest.approx(1)


def test_concept_drift_is_not_judged_on_few_rows_or_features_that_say_nothing() -> None:
    spec = small_spec()
    few = concept_findings(spec, pa.table(drawn(800, 1)), pa.table(drawn(100, 2)), "test rows")
    assert [finding.decided for finding in few] == ["none"]

    data = {
        **drawn(800, 1),
        "amount": np.full(800, np.nan),
        "age": np.ones(800),
        "colour": pa.nulls(800, pa.string()),
    }
    found = concept_findings(spec, pa.table(data), pa.table(data), "test rows")
    assert all(finding.drift.p_value > 0.5 for finding in found)
