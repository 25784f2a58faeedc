"""Estimate of the metric before labels arrive, from calibrated scores (confidence-based estimation)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evermodel.monitoring.performance.report import Estimate
from evermodel.stats.metrics import Floats, Metric

LEAST_TO_CALIBRATE = 300
_MOST_ROWS = 20_000
_DRAWS = 200
_REFITS = 40
Calibrator = Callable[[Floats], Floats]


def estimate_metric(
    metric: Metric | None,
    scores: Floats,
    past_scores: Floats,
    past_labels: NDArray[Any],
    *,
    seed: int,
    threshold: float = 0.5,
) -> Estimate | None:
    """Estimate a metric on rows without labels.

    Scores are calibrated on earlier rows with labels. If a row's label is 1 with the calibrated probability, the
    metric that the labels will show is a random number with a known distribution; its mean is the estimate (CBPE:
    Bialek, Kivimaki, Kuberski, Perrakis: Estimating model performance under covariate shift without labels, 2024).
    The interval holds the value to come with 95 %: it counts the chance in the labels to come (labels drawn from the
    probabilities) and in the calibration (fitted again on resamples). It assumes that the meaning of a score has not
    changed: the estimate is blind to concept drift.

    Parameters
    ----------
    metric
        One of a binary task; None for accuracy, where a score is the probability that the answer is right.
    scores
        Of the window.
    past_scores, past_labels
        Earlier rows; with fewer than 300 the scores are taken as they are.
    threshold
        From which on a score is decided positive, for a metric of decisions.

    Returns
    -------
    None when there are fewer than two usable scores, or when no label of the other class is to be expected.
    """
    scores = scores[np.isfinite(scores)]
    known = np.isfinite(past_scores)
    past_scores, past_labels = past_scores[known], np.asarray(past_labels[known], dtype=np.float64)
    rows, generator = len(scores), np.random.default_rng(seed)
    if rows < 2:
        return None
    if rows > _MOST_ROWS:
        scores = generator.choice(scores, _MOST_ROWS, replace=False)
    if len(past_scores) > _MOST_ROWS:
        chosen = generator.choice(len(past_scores), _MOST_ROWS, replace=False)
        past_scores, past_labels = past_scores[chosen], past_labels[chosen]
    fits = len(past_scores) >= LEAST_TO_CALIBRATE and len(np.unique(past_labels)) == 2
    chances = calibrate(past_scores, past_labels)(scores) if fits else np.clip(scores, 0, 1)
    measure = _accuracy if metric is None else _of(metric, threshold)
    drawn = np.array([measure(generator.random(len(scores)) < chances, scores) for _ in range(_DRAWS)])
    if np.isnan(drawn).all():
        return None
    value = float(np.nanmean(drawn))
    spread = float(np.nanstd(drawn)) * math.sqrt(len(scores) / rows)
    if fits:
        spread = math.hypot(spread, _doubt(measure, scores, past_scores, past_labels, generator))
    low, high = value - 1.96 * spread, value + 1.96 * spread
    return Estimate(rows, value, low, high, len(past_scores) if fits else 0)


def calibrate(scores: Floats, labels: Floats) -> Calibrator:
    """Return the rising function of the score that fits the labels best (isotonic regression), smooth between steps."""
    from scipy.optimize import isotonic_regression

    order = np.argsort(scores, kind="stable")
    fitted = isotonic_regression(labels[order]).x
    # One knot for each step, at the mean score of its rows: between steps the chance rises on a straight line.
    steps = np.concatenate([[0], np.cumsum(np.diff(fitted) > 0)])
    counts = np.bincount(steps)
    knots = np.bincount(steps, weights=scores[order]) / counts
    # Half a row of each outcome keeps a step of few rows from being sure.
    values = (np.bincount(steps, weights=labels[order]) + 0.5) / (counts + 1)
    return lambda new: np.interp(new, knots, np.maximum.accumulate(values))


def _of(metric: Metric, threshold: float) -> Callable[[NDArray[Any], Floats], float]:
    def measure(labels: NDArray[Any], scores: Floats) -> float:
        answers = metric.answers(scores, threshold)
        return metric(labels, answers) if 0 < labels.sum() < len(labels) else float("nan")

    return measure


def _accuracy(labels: NDArray[Any], scores: Floats) -> float:
    return float(labels.mean())


def _doubt(
    measure: Callable[[NDArray[Any], Floats], float],
    scores: Floats,
    past_scores: Floats,
    past_labels: Floats,
    generator: np.random.Generator,
) -> float:
    """Return how far the estimate moves when the calibration is fitted on other rows of the past."""
    dice = generator.random(len(scores))  # the same for all, so that only the calibration makes a difference
    values = []
    for _ in range(_REFITS):
        rows = generator.integers(0, len(past_scores), len(past_scores))
        chances = calibrate(past_scores[rows], past_labels[rows])(scores)
        values.append(measure(dice < chances, scores))
    return float(np.nanstd(values))
