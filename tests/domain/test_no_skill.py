"""Every challenger has to predict better than a constant, whatever the metric, also without a champion."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from evermodel.evaluation.no_skill import best_constant
from evermodel.stats.metrics import MetricParameters, metrics_by_name
from support.gate_models import gate_of, judged, skilled

COST = {"true_negative": 0.0, "false_positive": 1.0, "false_negative": 5.0, "true_positive": 0.0}
ALL = {
    task: metrics_by_name(task, MetricParameters(quantile=0.9, cost=COST))
    for task in ("binary", "multiclass", "regression")
}


def _rare(rows: int = 4000, share: float = 0.012) -> tuple[pd.DataFrame, np.ndarray]:
    generator = np.random.default_rng(2)
    labels = (generator.random(rows) < share).astype(np.int8)
    amount = 2.5 * labels + generator.normal(size=rows)
    return pd.DataFrame({"amount": amount, "age": 30.0, "colour": "red"}), labels


def _constant(frame: pd.DataFrame) -> np.ndarray:
    return np.full(len(frame), 0.012)


@pytest.mark.parametrize("metric", ["brier", "log_loss", "roc_auc", "average_precision"])
def test_a_constant_never_ships_although_rare_events_make_it_look_good(metric: str) -> None:
    decision = judged(_constant, None, _rare(), metric=metric)

    assert decision.verdict == "cold_start"
    assert not decision.ship
    assert gate_of(decision, f"{metric} against no skill").verdict == "fail"


@pytest.mark.parametrize("metric", ["brier", "log_loss", "roc_auc", "average_precision"])
def test_a_model_of_rare_events_with_skill_passes(metric: str) -> None:
    def knows(frame: pd.DataFrame) -> np.ndarray:
        odds = 0.012 * np.exp(2.5 * frame["amount"] - 2.5**2 / 2)
        return np.asarray(odds / (1 + odds))

    decision = judged(knows, None, _rare(), metric=metric)

    gate = gate_of(decision, f"{metric} against no skill")
    assert gate.verdict == "pass", gate.detail
    assert "the best constant" in gate.detail


def test_two_days_prove_nothing() -> None:
    times = np.datetime64("2026-01-05") + np.arange(1200) % 2

    gate = gate_of(judged(skilled, times=times), "roc_auc against no skill")

    assert gate.verdict == "warn"
    assert gate.detail.endswith("2 days, at least 4 of about equal size are needed")


@pytest.mark.parametrize(
    ("metric", "value"),
    [("rmse", 4.0), ("r2", 4.0), ("mae", 2.0), ("mape", 1.0), ("pinball", 7.6), ("poisson_deviance", 4.0)],
)
def test_the_constant_is_the_one_that_the_metric_likes_best(metric: str, value: float) -> None:
    labels = np.array([1.0, 2.0, 9.0])

    assert best_constant(ALL["regression"][metric], labels, labels).tolist() == pytest.approx([value] * 3)


def test_of_many_classes_it_is_their_shares() -> None:
    constant = best_constant(ALL["multiclass"]["accuracy"], np.array([0, 0, 1, 0]), np.zeros((4, 3)))

    assert constant.tolist() == [[0.75, 0.25, 0.0]] * 4


@pytest.mark.parametrize("metric", ["mae", "mape", "pinball", "poisson_deviance", "tweedie_deviance", "rmse"])
def test_no_other_constant_has_less_loss(metric: str) -> None:
    labels = np.random.default_rng(3).gamma(2.0, size=501) + 0.01
    measured = ALL["regression"][metric]
    best = measured(labels, best_constant(measured, labels, labels))

    others = [measured(labels, np.full(501, other)) for other in np.linspace(0.02, 8, 400)]
    assert best <= min(others) + 1e-12


@pytest.mark.parametrize(
    ("metric", "constant"),
    [("accuracy", 0.0), ("cost", 1.0), ("f_beta", 1.0), ("precision", 0.2), ("recall", 0.2)],
)
def test_of_decisions_it_is_the_better_one_or_as_many_at_random(metric: str, constant: float) -> None:
    labels, chosen = np.array([1, 1, 0, 0, 0] * 4), np.array([1.0, 0.0, 0.0, 0.0, 0.0] * 4)

    assert best_constant(ALL["binary"][metric], labels, chosen).tolist() == [constant] * 20
    assert ALL["binary"]["recall"](labels, np.full(20, 0.2)) == pytest.approx(0.2)
    assert ALL["binary"]["precision"](labels, np.full(20, 0.2)) == pytest.approx(0.4)
