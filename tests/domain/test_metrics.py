from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from evermodel.stats.decisions import ThresholdRule
from evermodel.stats.metrics import METRICS, MetricParameters, metrics_by_name

PEERS = {
    "roc_auc": sk.roc_auc_score,
    "average_precision": sk.average_precision_score,
    "log_loss": lambda y, p, sample_weight=None: sk.log_loss(
        y, p, sample_weight=sample_weight, labels=[0, 1]
    ),
    "brier": sk.brier_score_loss,
}
# Few distinct scores, so that ties are common; 0 and 1 included, where the log loss has to be clipped.
ROW = st.tuples(
    st.integers(0, 1), st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.5000001, 0.9, 1.0]), st.integers(0, 3)
)
ROWS = st.lists(ROW, min_size=1, max_size=40).map(lambda rows: [*rows, (0, 0.5, 1), (1, 0.25, 2)])


@pytest.mark.parametrize("name", sorted(METRICS))
@given(rows=ROWS)
@settings(max_examples=80, deadline=None)
def test_a_metric_equals_that_of_scikit_learn_with_ties_and_weights(name: str, rows: list[Any]) -> None:
    labels, scores, weights = (np.array(part) for part in zip(*rows, strict=True))

    plain = METRICS[name](labels, scores)
    weighted = METRICS[name].prepare(labels, scores)(np.stack([weights, weights * 2.5]).astype(float))

    assert plain == pytest.approx(PEERS[name](labels, scores), abs=1e-12)
    expected = PEERS[name](labels, scores, sample_weight=weights)
    assert weighted == pytest.approx([expected, expected], abs=1e-12)


COST = {"true_negative": 0.5, "false_positive": 1.0, "false_negative": 7.0, "true_positive": -2.0}
PARAMETERS = MetricParameters(beta=2.0, precision=0.6, k=2, quantile=0.8, power=1.3, cost=COST)
DECISIONS = {
    "accuracy": sk.accuracy_score,
    "balanced_accuracy": sk.balanced_accuracy_score,
    "precision": partial(sk.precision_score, zero_division=0),
    "recall": sk.recall_score,
    "f_beta": partial(sk.fbeta_score, beta=2.0, zero_division=0),
    "cost": lambda y, d, sample_weight=None: np.average(
        np.array(list(COST.values()))[2 * y + d.astype(int)], weights=sample_weight
    ),
}


@pytest.mark.parametrize("name", DECISIONS)
@given(rows=ROWS)
@settings(max_examples=60, deadline=None)
def test_a_metric_of_decisions_equals_that_of_scikit_learn(name: str, rows: list[Any]) -> None:
    labels, scores, weights = (np.array(part) for part in zip(*rows, strict=True))
    metric = metrics_by_name("binary", PARAMETERS)[name]
    decisions = metric.answers(scores, 0.25)

    assert decisions.tolist() == (scores >= 0.25).tolist()
    weighted = metric.prepare(labels, decisions)(np.stack([weights, weights * 2.5]).astype(float))
    assert metric(labels, decisions) == pytest.approx(DECISIONS[name](labels, decisions), abs=1e-12)
    expected = DECISIONS[name](labels, decisions, sample_weight=weights)
    assert weighted == pytest.approx([expected, expected], abs=1e-12)


@given(rows=ROWS, least=st.sampled_from([0.1, 0.5, 0.6, 0.9, 1.0]))
@settings(max_examples=80, deadline=None)
def test_recall_at_a_precision_equals_that_of_scikit_learns_curve(rows: list[Any], least: float) -> None:
    labels, scores, weights = (np.array(part) for part in zip(*rows, strict=True))
    metric = metrics_by_name("binary", MetricParameters(precision=least))["recall_at_precision"]

    for given_weights in (np.ones(len(labels)), weights.astype(float)):
        precision, recall, _ = sk.precision_recall_curve(labels, scores, sample_weight=given_weights)
        found = metric.prepare(labels, scores)(given_weights[None])[0]
        assert found == pytest.approx(recall[precision >= least].max(), abs=1e-12)


MANY = {
    "balanced_accuracy": lambda y, p, w: sk.balanced_accuracy_score(y, p.argmax(axis=1), sample_weight=w),
    "weighted_f1": lambda y, p, w: sk.f1_score(y, p.argmax(axis=1), average="weighted", sample_weight=w),
    "top_k_accuracy": lambda y, p, w: sk.top_k_accuracy_score(y, p, k=2, sample_weight=w),
    "roc_auc_ovr": lambda y, p, w: sk.roc_auc_score(y, p, multi_class="ovr", sample_weight=w),
}
NUMBERS = {
    "mape": sk.mean_absolute_percentage_error,
    "pinball": partial(sk.mean_pinball_loss, alpha=0.8),
    "poisson_deviance": sk.mean_poisson_deviance,
    "tweedie_deviance": partial(sk.mean_tweedie_deviance, power=1.3),
}


@pytest.mark.parametrize("name", MANY)
@given(seed=st.integers(0, 10_000), ties=st.booleans())
@settings(max_examples=40, deadline=None)
def test_a_metric_of_many_classes_equals_that_of_scikit_learn(name: str, seed: int, ties: bool) -> None:
    rng = np.random.default_rng(seed)
    labels = np.concatenate([rng.integers(0, 4, 60), np.arange(4)])
    scores, weights = rng.dirichlet(np.ones(4), 64), rng.random(64) + 0.1
    if ties:
        scores[::2] = [0.1, 0.4, 0.4, 0.1]
    metric = metrics_by_name("multiclass", PARAMETERS)[name]

    assert metric(labels, scores) == pytest.approx(MANY[name](labels, scores, None), abs=1e-12)
    weighted = metric.prepare(labels, scores)(weights[None])[0]
    assert weighted == pytest.approx(MANY[name](labels, scores, weights), abs=1e-12)


@pytest.mark.parametrize("name", NUMBERS)
@given(seed=st.integers(0, 10_000))
@settings(max_examples=40, deadline=None)
def test_a_metric_of_numbers_equals_that_of_scikit_learn(name: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels, scores = rng.poisson(2.0, 50).astype(float), rng.gamma(2.0, size=50) + 1e-3
    weights = rng.random(50) + 0.1
    labels[0] = 0.0 if name != "mape" else 1.0
    labels = np.maximum(labels, 1.0) if name == "mape" else labels
    metric = metrics_by_name("regression", PARAMETERS)[name]

    assert metric(labels, scores) == pytest.approx(NUMBERS[name](labels, scores), rel=1e-12, abs=1e-12)
    weighted = metric.prepare(labels, scores)(weights[None])[0]
    assert weighted == pytest.approx(
        NUMBERS[name](labels, scores, sample_weight=weights), rel=1e-12, abs=1e-12
    )


def test_a_deviance_of_values_that_its_distribution_does_not_have_is_no_number() -> None:
    metrics = metrics_by_name("regression", PARAMETERS)

    assert np.isnan(metrics["poisson_deviance"](np.array([1.0, -1.0]), np.array([1.0, 1.0])))
    assert np.isnan(metrics["tweedie_deviance"](np.array([1.0, 2.0]), np.array([1.0, 0.0])))


@given(rows=ROWS, share=st.sampled_from([0.05, 0.2, 0.5, 1.0]))
@settings(max_examples=80, deadline=None)
def test_no_other_threshold_is_better_by_the_rule(rows: list[Any], share: float) -> None:
    labels, scores, _ = (np.array(part) for part in zip(*rows, strict=True))
    metrics = metrics_by_name("binary", PARAMETERS)
    every = [*np.unique(scores), 2.0]

    def at(name: str, threshold: float) -> float:
        return metrics[name](labels, (scores >= threshold).astype(float))

    cost = ThresholdRule("cost", cost=COST).choose(labels, scores)
    assert at("cost", cost) == pytest.approx(min(at("cost", t) for t in every))
    beta = ThresholdRule("f_beta", 2.0).choose(labels, scores)
    assert at("f_beta", beta) == pytest.approx(max(at("f_beta", t) for t in every))
    precise = ThresholdRule("precision", 0.6).choose(labels, scores)
    fine = [t for t in every[:-1] if at("precision", t) >= 0.6]
    if fine:
        assert at("recall", precise) == max(at("recall", t) for t in fine)
        assert at("precision", precise) >= 0.6
    else:
        assert at("precision", precise) == max(at("precision", t) for t in every)
    alerts = ThresholdRule("alert_rate", share).choose(labels, scores)
    rates = [(scores >= t).mean() for t in every]
    assert (scores >= alerts).mean() == max(rate for rate in rates if rate <= share)
    assert ThresholdRule("value", share).choose(labels, scores) == share


@pytest.mark.parametrize("name", ["roc_auc", "average_precision"])
def test_a_resample_without_positives_has_no_value(name: str) -> None:
    value = METRICS[name].prepare(np.array([0, 1, 0]), np.array([0.1, 0.9, 0.3]))

    assert np.isnan(value(np.array([[1.0, 0.0, 1.0]]))).all()


@pytest.mark.parametrize(
    ("name", "sign"), [("roc_auc", 1), ("average_precision", 1), ("log_loss", -1), ("brier", -1)]
)
def test_a_gain_is_positive_when_the_challenger_is_better(name: str, sign: int) -> None:
    assert METRICS[name].gain(0.8, 0.7) == pytest.approx(0.1 * sign)
