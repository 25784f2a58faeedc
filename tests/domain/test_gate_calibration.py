"""The calibration gate: the interval decides, days are the draws, and the order of rows says nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from evermodel.stats.calibration import calibration_error, calibration_interval
from evermodel.stats.clusters import Clusters
from support.gate_models import gate_of, judged, skilled, squashed, window


def _right(frame: pd.DataFrame) -> Any:
    """Answer what is true of `window`: log odds of .4 : .6, and a likelihood ratio of exp(amount - 1 / 2)."""
    return squashed(frame["amount"] - 0.5 + np.log(0.4 / 0.6))


@pytest.mark.parametrize(
    ("limit", "verdict"), [(0.01, "warn"), (0.2, "pass")], ids=["within the interval", "above the interval"]
)
def test_a_calibrated_model_never_fails(limit: float, verdict: str) -> None:
    gate = gate_of(judged(_right, max_calibration_error=limit), "calibration")

    assert gate.verdict == verdict
    assert "95% interval 0.0000 to 0.0" in gate.detail
    assert gate.detail.endswith(", 1200 rows")


def test_a_model_whose_answers_are_all_too_high_fails() -> None:
    decision = judged(lambda frame: np.sqrt(_right(frame)), max_calibration_error=0.1)

    assert decision.reason == "failed: calibration"
    assert gate_of(decision, "calibration").value == pytest.approx(0.2, abs=0.05)


def test_what_differs_by_day_is_no_proof_while_there_are_few() -> None:
    features, labels = window(2100)
    times = np.datetime64("2026-01-05") + np.arange(2100) // 300
    labels[:600] = 1  # two days of seven

    by_day, by_row = (
        gate_of(
            judged(skilled, None, (features, labels), sections, times=times, max_calibration_error=0.02),
            "calibration",
        )
        for sections in ({}, {"cluster": "row"})
    )

    assert by_day.verdict == "warn"
    assert by_day.detail.endswith("7 days")
    assert by_row.verdict == "fail"


def test_at_the_limit_days_that_differ_rarely_fail_and_the_interval_covers() -> None:
    """Answers .06 too high on average, limit .06: 2.5 % may fail."""
    draw, missed = np.random.default_rng(3), np.zeros(2)
    days = np.repeat(np.arange(8), 100)
    draws = Clusters.of(days), Clusters.of(np.arange(800))
    for _ in range(300):
        chances = draw.uniform(0.1, 0.9, 800)
        shares = chances + 0.7 * draw.normal(size=8)[days] * chances * (1 - chances)
        happened = draw.random(800) < shares
        found = [calibration_interval(happened, chances + 0.06, clusters, 0.95) for clusters in draws]
        missed += [not interval.low <= 0.06 <= interval.high for interval in found]

    assert missed[0] / 300 <= 0.05
    assert missed[1] / 300 > 0.1


def test_calibration_error_of_known_cases() -> None:
    labels = np.repeat([0, 1], [150, 50])

    assert calibration_error(labels, np.full(200, 0.25)) == pytest.approx(0)
    assert calibration_error(labels, np.full(200, 0.65)) == pytest.approx(0.4)

    two = np.repeat([0.2, 0.9], [100, 100])
    seen = np.concatenate([np.repeat([0, 1], [60, 40]), np.repeat([0, 1], [0, 100])])
    assert calibration_error(seen, two, bins=2) == pytest.approx((0.2 + 0.1) / 2)


def test_calibration_error_takes_fewer_rows_than_bins() -> None:
    assert calibration_error(np.array([1, 0]), np.array([0.9, 0.1])) == pytest.approx(0.1)
