"""Rows that belong together count as one: what the gate says of equal models holds on days, too."""

from __future__ import annotations

import math

import numpy as np
import pytest

from evermodel.evaluation.decision import compare
from evermodel.stats.bootstrap import paired_gain
from evermodel.stats.clusters import Clusters
from evermodel.stats.metrics import METRICS
from support.gate_models import gate_of, judged, noisier, skilled, window

STATED = 0.025
BRIER = METRICS["brier"]


def _draw(generator: np.random.Generator, sizes: np.ndarray, spread: float) -> tuple[np.ndarray, ...]:
    """Labels and two models that are equally good over all clusters; in each one of them is ahead by chance."""
    codes = np.repeat(np.arange(len(sizes)), sizes)
    labels = generator.random(len(codes)) < 0.5
    noise = generator.normal(size=(2, len(codes)))
    ahead = spread * generator.normal(size=(2, len(sizes)))[:, codes]
    one, other = 1 / (1 + np.exp(-((2 * labels - 1) * (1 + ahead) + noise)))
    return codes, labels, one, other


def _better(times: int, sizes: np.ndarray, spread: float, seed: int, *, together: bool) -> float:
    generator, better = np.random.default_rng(seed), 0
    for _ in range(times):
        codes, labels, one, other = _draw(generator, sizes, spread)
        clusters = Clusters.of(codes) if together else None
        gain = paired_gain(
            BRIER, labels, one, other, confidence=0.95, resamples=200, seed=0, clusters=clusters
        )
        better += compare(gain.low, gain.high, 0.01) == "better"
    return better / times


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sizes", "spread"),
    [
        (np.full(7, 100), 0.5),
        (np.full(7, 100), 0.0),
        (np.array([150, 150, 150, 150, 150, 40, 40]), 0.5),
        (np.arange(5, 35), 0.7),
        (np.full(200, 5), 0.7),
    ],
)
def test_of_two_equal_models_one_is_called_better_no_more_often_than_stated(
    sizes: np.ndarray, spread: float
) -> None:
    times = 600

    rate = _better(times, sizes, spread, seed=3, together=True)

    assert rate <= STATED + 3 * math.sqrt(STATED * (1 - STATED) / times)


def test_rows_of_one_day_taken_for_independent_are_called_better_far_too_often() -> None:
    assert _better(100, np.full(7, 100), 0.5, seed=3, together=False) > 4 * STATED


def test_clusters_of_one_row_each_are_rows() -> None:
    generator = np.random.default_rng(0)
    _, labels, one, other = _draw(generator, np.ones(2000, dtype=int), 0.0)
    draws = {"confidence": 0.95, "resamples": 300, "seed": 4}

    plain = paired_gain(BRIER, labels, one, other, **draws)
    alone = paired_gain(BRIER, labels, one, other, **draws, clusters=Clusters.of(np.arange(2000)))

    assert (alone.low, alone.high) == pytest.approx((plain.low, plain.high), rel=2e-3)


def test_one_cluster_has_no_interval() -> None:
    generator = np.random.default_rng(0)
    codes, labels, one, other = _draw(generator, np.array([50]), 0.0)
    gain = paired_gain(
        BRIER, labels, one, other, confidence=0.95, resamples=20, seed=0, clusters=Clusters.of(codes)
    )

    assert math.isfinite(gain.value)
    assert math.isnan(gain.low)
    assert compare(gain.low, gain.high, 0.01) == "not_enough_evidence"


@pytest.mark.parametrize(("days", "verdict"), [(3, "not_enough_evidence"), (7, "better")])
def test_the_gate_counts_days_and_says_how_many(days: int, verdict: str) -> None:
    features, labels = window(2100)
    times = np.datetime64("2026-01-05") + np.arange(2100) // 300 % days

    decision = judged(skilled, noisier, (features, labels), times=times)

    assert decision.verdict == verdict
    gate = gate_of(decision, "roc_auc against the champion")
    assert f"{days} days" in gate.detail
    assert gate.verdict == ("pass" if days == 7 else "fail")


def test_a_slice_of_too_few_days_is_not_evaluated() -> None:
    features, labels = window(2100)
    times = np.datetime64("2026-01-05") + np.arange(2100) // 300
    features["colour"] = np.where(np.arange(2100) < 600, "red", "blue")

    decision = judged(
        skilled, noisier, (features, labels), times=times, slices=[{"column": "colour", "min_rows": 50}]
    )

    gate = gate_of(decision, "slice colour = red")
    assert (gate.verdict, gate.detail) == (
        "warn",
        "not evaluated: 600 rows of 2 days, at least 4 of about equal size needed",
    )


def test_a_feature_may_say_what_belongs_together() -> None:
    decision = judged(skilled, noisier, window(2000), {"cluster": "age"})

    assert "40 values of age" in gate_of(decision, "roc_auc against the champion").detail


def test_rows_may_be_declared_independent() -> None:
    times = np.datetime64("2026-01-05") + np.zeros(1200, dtype=int)

    decision = judged(skilled, noisier, window(), {"cluster": "row"}, times=times)

    assert decision.verdict == "better"
    assert "days" not in gate_of(decision, "roc_auc against the champion").detail


def test_an_unknown_cluster_is_refused() -> None:
    with pytest.raises(ValueError, match="cluster: customer is not a feature of this model"):
        judged(skilled, None, None, {"cluster": "customer"})
