"""How far probabilities are from the shares of what happened, with an interval."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evermodel.stats.bootstrap import ConfidenceInterval
from evermodel.stats.clusters import Clusters

Floats = NDArray[np.float64]
_BINS = 10


def calibration_error(labels: NDArray[Any], scores: Floats, bins: int = _BINS) -> float:
    """Return the expected calibration error, a share between 0 and 1, over bins of equal size.

    The mean distance between the average score and the share of positives, weighted by the rows of each bin
    (Naeini, Cooper, Hauskrecht: Obtaining well calibrated probabilities using Bayesian binning, AAAI 2015; with
    equal-size instead of equal-width bins). Rows of one score share a bin, so that their order says nothing.

    >>> round(calibration_error(np.array([0, 1, 1, 1]), np.array([0.3, 0.3, 0.8, 0.9]), bins=2), 3)
    0.175
    """
    place = _bins(scores, bins)
    apart = np.bincount(place, weights=scores - np.asarray(labels, dtype=np.float64))
    return float(np.abs(apart).sum() / max(len(scores), 1))


def calibration_interval(
    labels: NDArray[Any], scores: Floats, clusters: Clusters, confidence: float
) -> ConfidenceInterval:
    """Return the calibration error of these bins with a two-sided interval.

    In samples the error is too large, most of all where it is none, so that it cannot be judged as it is. With the sign of
    each bin given it is a sum of differences, which has an error of its own, by cluster (Liang, Zeger: Longitudinal data
    analysis using generalized linear models, Biometrika 73, 1986) with Student's t. The error is at least the sum under any
    signs: the lower end is the largest one with at most one change of sign (probabilities all too high or low, or too extreme
    or not enough) less its error, simultaneously for all of these (Bonferroni). The upper end adds the largest error that any
    signs have.

    Parameters
    ----------
    clusters
        Rows that belong together are drawn together.
    confidence
        Of the interval, e.g. 0.95.

    Examples
    --------
    >>> scores = np.linspace(0.05, 0.95, 2000)
    >>> happened = (np.random.default_rng(0).random(2000) < scores).astype(int)
    >>> rows = Clusters(np.arange(2000), "rows")
    >>> right, high = (calibration_interval(happened, found, rows, 0.95) for found in (scores, np.sqrt(scores)))
    >>> round(right.low, 2), 0.01 < right.value < right.high, round(high.low, 2), round(high.value, 2)
    (0.0, True, 0.15, 0.18)
    """
    from scipy.special import stdtrit

    value = calibration_error(labels, scores)
    if not len(scores) or clusters.count < 2:
        return ConfidenceInterval(value, 0.0, 1.0)
    place, apart = _bins(scores, _BINS), scores - np.asarray(labels, dtype=np.float64)
    rows = np.bincount(place, minlength=_BINS)
    means = np.bincount(place, weights=apart, minlength=_BINS) / np.maximum(rows, 1)
    sums = np.bincount(
        clusters.codes * _BINS + place, weights=apart - means[place], minlength=clusters.count * _BINS
    ).reshape(-1, _BINS)
    spread = sums.T @ sums / len(scores) ** 2 * clusters.count / (clusters.count - 1)
    freedom, tail = max(clusters.effective - 1, 1.0), (1 - confidence) / 2
    parts = means * rows / len(scores)

    def errors(signs: Floats) -> Floats:
        found: Floats = np.sqrt(((signs @ spread) * signs).sum(axis=1).clip(0.0))
        return found

    steps = np.where(np.arange(_BINS) < np.arange(_BINS)[:, None], -1.0, 1.0)
    steps = np.vstack([steps, -steps])
    low = steps @ parts - stdtrit(freedom, 1 - tail / len(steps)) * errors(steps)
    every = np.array([(1.0, *others) for others in product((-1.0, 1.0), repeat=_BINS - 1)])
    high = value + stdtrit(freedom, 1 - tail) * errors(every).max()
    return ConfidenceInterval(value, max(float(low.max()), 0.0), min(float(high), 1.0))


def _bins(scores: Floats, bins: int) -> NDArray[np.intp]:
    """Return the bin of each row: that of the first one of its score."""
    ordered = np.sort(scores)
    sizes = [len(part) for part in np.array_split(ordered, bins)]
    found: NDArray[np.intp] = np.repeat(np.arange(bins), sizes)[np.searchsorted(ordered, scores, "left")]
    return found
