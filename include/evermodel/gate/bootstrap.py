"""Paired bootstrap: the interval of a metric, and of the difference of two models on the same rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evermodel.gate.metrics import Floats, Metric

_CELLS = 8_000_000  # weights held at once: resamples x rows, 64 MB


@dataclass(frozen=True)
class Interval:
    """A value with the bounds of its percentile interval."""

    value: float
    low: float
    high: float


def metric_interval(
    metric: Metric, labels: NDArray[Any], scores: Floats, *, confidence: float, resamples: int, seed: int
) -> Interval:
    """Return a metric with its two-sided bootstrap interval."""
    draws = _resample([metric.prepare(labels, scores)], len(labels), resamples, seed)[0]
    return _interval(metric(labels, scores), draws, confidence)


def paired_gain(
    metric: Metric,
    labels: NDArray[Any],
    challenger: Floats,
    champion: Floats,
    *,
    confidence: float,
    resamples: int,
    seed: int,
) -> Interval:
    """Return how much better the challenger is than the champion, with its two-sided interval.

    Both are scored on the same rows, and each resample draws the same rows for both, so that what the two share
    cancels out (Efron, Tibshirani: An Introduction to the Bootstrap, 1993, chapters 13 and 16).

    Parameters
    ----------
    labels, challenger, champion
        Arrays of one value a row: truth (0/1) and the two models' scores.
    confidence
        Of the interval, e.g. 0.95.

    Returns
    -------
    The gain on the metric's scale; positive is better whatever the metric's direction.
    """
    prepared = [metric.prepare(labels, challenger), metric.prepare(labels, champion)]
    draws = _resample(prepared, len(labels), resamples, seed)
    value = metric.gain(metric(labels, challenger), metric(labels, champion))
    return _interval(value, metric.gain(draws[0], draws[1]), confidence)


def _resample(prepared: list[Any], rows: int, resamples: int, seed: int) -> list[Floats]:
    generator = np.random.default_rng(seed)
    step = max(1, _CELLS // rows)
    values: list[list[Floats]] = [[] for _ in prepared]
    for start in range(0, resamples, step):
        count = min(step, resamples - start)
        drawn = generator.integers(0, rows, size=(count, rows), dtype=np.int32)
        weights = np.stack([np.bincount(row, minlength=rows) for row in drawn]).astype(np.float64)
        for position, metric in enumerate(prepared):
            values[position].append(metric(weights))
    return [np.concatenate(parts) for parts in values]


def _interval(value: float, draws: Floats, confidence: float) -> Interval:
    tail = (1 - confidence) / 2
    # The interval between two of n draws leaves out k / (n + 1) on a side; other quantile rules are too narrow.
    low, high = np.nanquantile(draws, [tail, 1 - tail], method="weibull")
    return Interval(float(value), float(low), float(high))
