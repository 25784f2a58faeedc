"""Metrics of multiclass classification and regression, and the table of metrics by task."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from evermodel.spec.parts import Task
from evermodel.stats.metrics import METRICS, Floats, Metric, WeightedMetric


def _log_loss(labels: NDArray[Any], scores: Floats) -> WeightedMetric:
    """Mean of minus the logarithm of the true class's probability; labels are columns of the scores."""
    tiny = np.finfo(np.float64).eps
    losses = -np.log(np.clip(scores[np.arange(len(labels)), labels], tiny, 1.0))
    return lambda weights: (weights @ losses) / weights.sum(axis=1)


def _accuracy(labels: NDArray[Any], scores: Floats) -> WeightedMetric:
    hits = (scores.argmax(axis=1) == labels).astype(np.float64)
    return lambda weights: (weights @ hits) / weights.sum(axis=1)


def _macro_f1(labels: NDArray[Any], scores: Floats) -> WeightedMetric:
    """Mean over the true classes of the harmonic mean of precision and recall."""
    guesses = scores.argmax(axis=1)
    present = np.unique(labels)
    truth = (labels[:, None] == present).astype(np.float64)
    guess = (guesses[:, None] == present).astype(np.float64)

    def value(weights: Floats) -> Floats:
        both, either = weights @ (truth * guess), weights @ (truth + guess)
        f1: Floats = np.divide(2 * both, either, out=np.zeros_like(both), where=either > 0)
        return np.asarray(f1.mean(axis=1))

    return value


def _mse(labels: NDArray[Any], scores: Floats) -> WeightedMetric:
    errors = (scores - labels.astype(np.float64)) ** 2
    return lambda weights: (weights @ errors) / weights.sum(axis=1)


def _rmse(labels: NDArray[Any], scores: Floats) -> WeightedMetric:
    mean_square = _mse(labels, scores)
    return lambda weights: np.sqrt(mean_square(weights))


def _mae(labels: NDArray[Any], scores: Floats) -> WeightedMetric:
    errors = np.abs(scores - labels.astype(np.float64))
    return lambda weights: (weights @ errors) / weights.sum(axis=1)


def _r2(labels: NDArray[Any], scores: Floats) -> WeightedMetric:
    """Share of the labels' variance that is explained."""
    truth = labels.astype(np.float64)
    mean_square = _mse(labels, scores)

    def value(weights: Floats) -> Floats:
        total = weights.sum(axis=1)
        mean = (weights @ truth) / total
        variance = (weights @ truth**2) / total - mean**2
        ratio = np.divide(mean_square(weights), variance, out=np.full(len(total), np.nan), where=variance > 0)
        return np.asarray(1 - ratio)

    return value


_MULTICLASS = (
    Metric("log_loss", False, _log_loss),
    Metric("accuracy", True, _accuracy),
    Metric("macro_f1", True, _macro_f1),
)
_REGRESSION = (Metric("rmse", False, _rmse), Metric("mae", False, _mae), Metric("r2", True, _r2))

METRICS_BY_TASK: dict[Task, dict[str, Metric]] = {
    "binary": METRICS,
    "multiclass": {metric.name: metric for metric in _MULTICLASS},
    "regression": {metric.name: metric for metric in _REGRESSION},
}
