from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline

from evermodel.core.errors import TrainingError
from evermodel.spec.training import TrainingSpec
from evermodel.stats.weights import fit_arguments, sample_weights

DAYS = np.datetime64("2026-01-01", "us") + np.arange(100) * np.timedelta64(1, "D")
LABELS = (np.arange(100) % 10 == 0).astype(int)


def test_without_weights_every_row_counts_the_same() -> None:
    assert sample_weights(TrainingSpec(), LABELS, DAYS) is None


def test_balanced_classes_have_the_same_total_weight() -> None:
    weights = sample_weights(TrainingSpec(class_weight="balanced"), LABELS, DAYS)

    assert weights is not None
    assert weights[LABELS == 1].sum() == pytest.approx(50)
    assert weights[LABELS == 0].sum() == pytest.approx(50)


def test_a_row_counts_half_for_each_half_life_and_the_mean_stays_one() -> None:
    weights = sample_weights(TrainingSpec(recency_half_life=timedelta(days=10)), LABELS, DAYS)

    assert weights is not None
    assert weights.mean() == pytest.approx(1)
    assert weights[-1] / weights[-11] == pytest.approx(2)
    assert weights[-1] / weights[-31] == pytest.approx(8)


def test_both_weights_together_balance_the_recent_rows() -> None:
    training = TrainingSpec(class_weight="balanced", recency_half_life=timedelta(days=10))
    weights = sample_weights(training, LABELS, DAYS)

    assert weights is not None
    assert weights[LABELS == 1].sum() == pytest.approx(weights[LABELS == 0].sum())
    assert weights[90] / weights[80] == pytest.approx(2)


def test_weights_go_to_the_last_step_or_the_estimator_is_named() -> None:
    weights = np.ones(3)
    pipeline = make_pipeline(LogisticRegression())

    assert fit_arguments("a", pipeline, weights) == {"logisticregression__sample_weight": weights}
    assert fit_arguments("a", pipeline, None) == {}
    with pytest.raises(TrainingError, match="candidate a: KNeighborsClassifier takes no sample weights"):
        fit_arguments("a", make_pipeline(KNeighborsClassifier()), weights)
