"""Metrics of each task, for many weightings of the same rows at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evermodel.spec.parts import Task
from evermodel.stats.ranking import average_precision, roc_auc

Floats = NDArray[np.float64]
# Takes an array of weights, resamples x rows, and returns one value for each resample.
WeightedMetric = Callable[[NDArray[Any]], Floats]


@dataclass(frozen=True)
class Metric:
    """One metric: its name, its direction, and how to prepare it for given labels and scores."""

    name: str
    higher_is_better: bool
    prepare: Callable[[NDArray[Any], Floats], WeightedMetric]

    def __call__(self, labels: NDArray[Any], scores: Floats) -> float:
        """Return the plain, unweighted value."""
        return float(self.prepare(labels, scores)(np.ones((1, len(labels))))[0])

    def gain(self, challenger: Any, champion: Any) -> Any:
        """Return how much better the challenger is; positive is better in either direction."""
        return challenger - champion if self.higher_is_better else champion - challenger


def _mean(values: Floats) -> WeightedMetric:
    return lambda weights: (weights @ values) / weights.sum(axis=1)


def _binary_log_loss(labels: NDArray[Any], scores: Floats) -> WeightedMetric:
    tiny = np.finfo(np.float64).eps
    clipped = np.clip(scores, tiny, 1 - tiny)
    return _mean(-np.where(np.asarray(labels, dtype=bool), np.log(clipped), np.log1p(-clipped)))


def _log_loss(labels: NDArray[Any], scores: Floats) -> WeightedMetric:
    """Mean of minus the logarithm of the true class's probability; labels are columns of the scores."""
    tiny = np.finfo(np.float64).eps
    return _mean(-np.log(np.clip(scores[np.arange(len(labels)), labels], tiny, 1.0)))


def _accuracy(labels: NDArray[Any], scores: Floats) -> WeightedMetric:
    return _mean((scores.argmax(axis=1) == labels).astype(np.float64))


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


def _squared_error(labels: NDArray[Any], scores: Floats) -> WeightedMetric:
    return _mean((scores - np.asarray(labels, dtype=np.float64)) ** 2)


def _rmse(labels: NDArray[Any], scores: Floats) -> WeightedMetric:
    mean_square = _squared_error(labels, scores)
    return lambda weights: np.sqrt(mean_square(weights))


def _mae(labels: NDArray[Any], scores: Floats) -> WeightedMetric:
    return _mean(np.abs(scores - labels.astype(np.float64)))


def _r2(labels: NDArray[Any], scores: Floats) -> WeightedMetric:
    """Share of the labels' variance that is explained."""
    truth = labels.astype(np.float64)
    mean_square, first, second = _squared_error(labels, scores), _mean(truth), _mean(truth**2)

    def value(weights: Floats) -> Floats:
        variance = second(weights) - first(weights) ** 2
        unknown = np.full(len(variance), np.nan)
        return np.asarray(1 - np.divide(mean_square(weights), variance, out=unknown, where=variance > 0))

    return value


def _by_name(*metrics: Metric) -> dict[str, Metric]:
    return {metric.name: metric for metric in metrics}


METRICS = _by_name(
    Metric("roc_auc", True, roc_auc),
    Metric("average_precision", True, average_precision),
    Metric("log_loss", False, _binary_log_loss),
    Metric("brier", False, _squared_error),
)
METRICS_BY_TASK: dict[Task, dict[str, Metric]] = {
    "binary": METRICS,
    "multiclass": _by_name(
        Metric("log_loss", False, _log_loss),
        Metric("accuracy", True, _accuracy),
        Metric("macro_f1", True, _macro_f1),
    ),
    "regression": _by_name(Metric("rmse", False, _rmse), Metric("mae", False, _mae), Metric("r2", True, _r2)),
}


def calibration_error(labels: NDArray[Any], scores: Floats, bins: int = 10) -> float:
    """Return the expected calibration error, a share between 0 and 1, over bins of equal size.

    The mean distance between the average score and the share of positives, weighted by the rows of each bin
    (Naeini, Cooper, Hauskrecht: Obtaining well calibrated probabilities using Bayesian binning, AAAI 2015; with
    equal-size instead of equal-width bins).
    """
    order = np.argsort(scores, kind="stable")
    truth = np.asarray(labels, dtype=np.float64)
    parts = [part for part in np.array_split(order, bins) if len(part)]
    return float(sum(len(p) * abs(scores[p].mean() - truth[p].mean()) for p in parts) / len(scores))
