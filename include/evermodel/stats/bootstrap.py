"""Paired bootstrap: the interval of a metric, and of the difference of two models on the same rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evermodel.stats.clusters import Clusters
from evermodel.stats.metrics import Floats, Metric, WeightedMetric

_CELLS = 131_072  # weights held at once, resamples x rows: what a core's own cache takes


@dataclass(frozen=True)
class ConfidenceInterval:
    """A value with the bounds of its percentile interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class MeasuredMetric:
    """One metric of two models on the same rows; ``theirs`` and ``gain`` are None without a second model.

    Parameters
    ----------
    clusters
        What was drawn; None if the rows were drawn one by one.
    """

    metric: Metric
    own: ConfidenceInterval
    theirs: ConfidenceInterval | None
    gain: ConfidenceInterval | None
    clusters: Clusters | None = field(default=None, compare=False)


def side_by_side(
    metrics: Sequence[Metric],
    labels: NDArray[Any],
    challenger: Floats,
    champion: Floats | None,
    *,
    confidence: float,
    resamples: int,
    seed: int,
    clusters: Clusters | None = None,
    thresholds: tuple[float, float] = (0.5, 0.5),
) -> list[MeasuredMetric]:
    """Measure one model, or two of them, by several metrics on one set of resamples.

    Each resample draws the same rows for both models, so that what the two share cancels out of the gain (Efron,
    Tibshirani: An Introduction to the Bootstrap, 1993, chapters 13 and 16).

    Parameters
    ----------
    labels, challenger, champion
        One label a row and what the models answer for it; None for the champion if there is none.
    confidence
        Of the two-sided intervals, e.g. 0.95.
    resamples, seed
        How many resamples, and what they are drawn from; equal seeds give equal answers.
    clusters
        Rows that belong together are drawn together, and the intervals are widened as the number of clusters requires
        (see `Clusters`). Without, each row is taken for independent of the others.
    thresholds
        From which on the challenger's and the champion's answers are decided positive, for metrics of decisions.

    Returns
    -------
    One entry for each metric; a gain is positive where the challenger is better, whatever the metric's direction. Without a
    row nothing is a number.

    Examples
    --------
    >>> from evermodel.stats.metrics import METRICS
    >>> labels = np.arange(400) % 2
    >>> good, poor = (labels + spread * np.random.default_rng(0).normal(size=400) for spread in (0.5, 2.0))
    >>> [area] = side_by_side([METRICS["roc_auc"]], labels, good, poor, confidence=0.95, resamples=100, seed=0)
    >>> area.own.low > area.theirs.high, area.gain.low > 0.2
    (True, True)
    """
    models = [challenger] if champion is None else [challenger, champion]
    whole = np.ones((1, len(labels)), dtype=np.int32)
    # Answers may be enormous; NaN is reported by the verdict, not by a warning of numpy.
    with np.errstate(over="ignore", invalid="ignore"):
        prepared = [
            metric.prepare(labels, metric.answers(scores, threshold))
            for metric in metrics
            for scores, threshold in zip(models, thresholds, strict=False)
        ]
        values = [float(value(whole)[0]) for value in prepared]
        draws = _resample(prepared, len(labels), resamples, seed, clusters)
        width = 1.0 if clusters is None else clusters.widening(confidence)
        found = []
        for position, metric in enumerate(metrics):
            own = position * len(models)
            intervals = [
                _interval(values[i], draws[i], confidence, width) for i in range(own, own + len(models))
            ]
            gain = None
            if champion is not None:
                differences = metric.gain(draws[own], draws[own + 1])
                gain = _interval(metric.gain(values[own], values[own + 1]), differences, confidence, width)
            found.append(
                MeasuredMetric(
                    metric, intervals[0], intervals[1] if len(intervals) > 1 else None, gain, clusters
                )
            )
    return found


def metric_interval(
    metric: Metric,
    labels: NDArray[Any],
    scores: Floats,
    *,
    confidence: float,
    resamples: int,
    seed: int,
    clusters: Clusters | None = None,
) -> ConfidenceInterval:
    """Return a metric with its two-sided bootstrap interval; see `side_by_side`.

    Efron: Bootstrap methods, another look at the jackknife, Annals of Statistics 7, 1979.

    >>> from evermodel.stats.metrics import METRICS
    >>> labels, scores = np.arange(100) % 2, np.full(100, 0.5)
    >>> metric_interval(METRICS["brier"], labels, scores, confidence=0.95, resamples=20, seed=0)
    ConfidenceInterval(value=0.25, low=0.25, high=0.25)
    """
    return side_by_side(
        [metric], labels, scores, None,
        confidence=confidence, resamples=resamples, seed=seed, clusters=clusters,
    )[0].own  # fmt: skip


def paired_gain(
    metric: Metric,
    labels: NDArray[Any],
    challenger: Floats,
    champion: Floats,
    *,
    confidence: float,
    resamples: int,
    seed: int,
    clusters: Clusters | None = None,
) -> ConfidenceInterval:
    """Return how much better the challenger is than the champion, with its two-sided interval; see `side_by_side`.

    Efron, Tibshirani: An Introduction to the Bootstrap, 1993, chapter 16.

    >>> from evermodel.stats.metrics import METRICS
    >>> labels = np.arange(100) % 2
    >>> wrong, even = np.where(labels, 0.2, 0.8), np.full(100, 0.5)
    >>> gain = paired_gain(METRICS["brier"], labels, wrong, even, confidence=0.95, resamples=20, seed=0)
    >>> round(gain.value, 2), round(gain.high, 2)
    (-0.39, -0.39)
    """
    measured = side_by_side(
        [metric], labels, challenger, champion,
        confidence=confidence, resamples=resamples, seed=seed, clusters=clusters,
    )[0]  # fmt: skip
    assert measured.gain is not None
    return measured.gain


def _resample(
    prepared: Sequence[WeightedMetric], rows: int, resamples: int, seed: int, clusters: Clusters | None
) -> list[Floats]:
    generator = np.random.default_rng(seed)
    if not rows:
        return [np.full(resamples, np.nan) for _ in prepared]
    step, units = max(1, _CELLS // rows), rows if clusters is None else clusters.count
    values: list[list[Floats]] = [[] for _ in prepared]
    for start in range(0, resamples, step):
        weights = np.empty((min(step, resamples - start), rows), dtype=np.int32)
        for resample in weights:
            drawn = np.bincount(generator.integers(0, units, size=units), minlength=units)
            resample[:] = drawn if clusters is None else drawn[clusters.codes]
        for position, metric in enumerate(prepared):
            values[position].append(metric(weights))
    return [np.concatenate(parts) for parts in values]


def _interval(value: float, draws: Floats, confidence: float, width: float) -> ConfidenceInterval:
    if np.isnan(draws).all() or not np.isfinite(width):
        return ConfidenceInterval(float(value), float("nan"), float("nan"))
    tail = (1 - confidence) / 2
    # The interval between two of n draws leaves out k / (n + 1) on a side; other quantile rules are too narrow.
    low, high = np.nanquantile(draws, [tail, 1 - tail], method="weibull")
    if width != 1.0:
        low, high = value + width * (low - value), value + width * (high - value)
    return ConfidenceInterval(float(value), float(low), float(high))
