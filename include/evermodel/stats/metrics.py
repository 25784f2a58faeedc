"""Metrics of a binary classifier, each for many weightings of the same rows at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

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


def _log_loss(labels: NDArray[Any], scores: Floats) -> WeightedMetric:
    tiny = np.finfo(np.float64).eps
    clipped = np.clip(scores, tiny, 1 - tiny)
    losses = -np.where(np.asarray(labels, dtype=bool), np.log(clipped), np.log1p(-clipped))
    return lambda weights: (weights @ losses) / weights.sum(axis=1)


def _brier(labels: NDArray[Any], scores: Floats) -> WeightedMetric:
    losses = (scores - np.asarray(labels, dtype=np.float64)) ** 2
    return lambda weights: (weights @ losses) / weights.sum(axis=1)


METRICS = {
    metric.name: metric
    for metric in (
        Metric("roc_auc", True, roc_auc),
        Metric("average_precision", True, average_precision),
        Metric("log_loss", False, _log_loss),
        Metric("brier", False, _brier),
    )
}


def calibration_error(labels: NDArray[Any], scores: Floats, bins: int = 10) -> float:
    """Return the expected calibration error over bins of equal size.

    The mean distance between the average score and the share of positives, weighted by the rows of each bin
    (Naeini, Cooper, Hauskrecht: Obtaining well calibrated probabilities using Bayesian binning, AAAI 2015; with
    equal-size instead of equal-width bins).

    Returns
    -------
    A share between 0 and 1.
    """
    order = np.argsort(scores, kind="stable")
    truth = np.asarray(labels, dtype=np.float64)
    parts = [part for part in np.array_split(order, bins) if len(part)]
    return float(sum(len(p) * abs(scores[p].mean() - truth[p].mean()) for p in parts) / len(scores))
