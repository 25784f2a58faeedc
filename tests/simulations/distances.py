"""Exact distances between two samples, as Evidently and SciPy define them."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from scipy.special import xlogy

from evermodel.stats.sample import NumericSample

_LEAST_SPREAD = 0.001  # Evidently's floor of the standard deviation
_LARGEST = 1e150  # beyond it squares overflow: as good as infinite


def wasserstein(reference: NumericSample, window: NumericSample) -> float:
    """Return the first Wasserstein distance in standard deviations of the reference.

    Infinite values are left out, as by Evidently; 0.0 when a side has no other.
    """
    if not (_finite(reference) and _finite(window)):
        reference, window = _only_finite(reference), _only_finite(window)
    if len(reference.values) == 0 or len(window.values) == 0:
        return 0.0
    values = np.sort(np.concatenate([reference.values, window.values]))
    gaps = window.up_to(values[:-1]) / window.known - reference.up_to(values[:-1]) / reference.known
    distance = float(np.dot(np.abs(gaps), np.diff(values)))
    return distance / max(_spread(reference), _LEAST_SPREAD)


def kolmogorov_smirnov(reference: NumericSample, window: NumericSample) -> float:
    """Return the largest difference of the two distribution functions; 0.0 when a side has no value."""
    if len(reference.values) == 0 or len(window.values) == 0:
        return 0.0
    values = np.concatenate([reference.values, window.values])
    gaps = window.up_to(values) / window.known - reference.up_to(values) / reference.known
    return float(np.abs(gaps).max())


def jensen_shannon(reference: Mapping[str, float], window: Mapping[str, float]) -> float:
    """Return the Jensen-Shannon distance (natural logarithm) of two tallies; 0.0 when a side has no rows."""
    names = list(reference.keys() | window.keys())
    p, q = (np.array([side.get(name, 0.0) for name in names]) for side in (reference, window))
    return jensen_shannon_of_counts(p, q)


def jensen_shannon_of_counts(before: NDArray[np.float64], now: NDArray[np.float64]) -> float:
    """Return the Jensen-Shannon distance of two rows of counts; 0.0 when one is all zero."""
    if before.sum() == 0 or now.sum() == 0:
        return 0.0
    p, q = before / before.sum(), now / now.sum()
    middle = (p + q) / 2
    used = middle > 0
    p, q, middle = p[used], q[used], middle[used]
    divergence = float((xlogy(p, p / middle) + xlogy(q, q / middle)).sum()) / 2
    return math.sqrt(max(divergence, 0.0))


def _spread(side: NumericSample) -> float:
    if side.weights is None:
        return float(np.std(side.values))
    mean = np.average(side.values, weights=side.weights)
    return math.sqrt(float(np.average((side.values - mean) ** 2, weights=side.weights)))


def _finite(side: NumericSample) -> bool:
    return len(side.values) == 0 or bool((np.abs(side.values[[0, -1]]) < _LARGEST).all())


def _only_finite(side: NumericSample) -> NumericSample:
    kept = np.abs(side.values) < _LARGEST
    return NumericSample(
        side.values[kept], None if side.weights is None else side.weights[kept], side.missing
    )
