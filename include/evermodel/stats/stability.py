"""The population stability index of two rows of counts, with its interval."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import chndtrinc, ndtri

from evermodel.stats.contingency import Contingency

Array = NDArray[np.float64]
_NOTHING = 1e-9
_TAIL = 0.025  # on each side of the 95 % interval


@dataclass(frozen=True)
class Stability:
    """The distance of two distributions over bins.

    Parameters
    ----------
    psi
        Population stability index, less what samples of this size show on average when nothing changed.
    low, high
        95 % interval.
    """

    psi: float
    low: float
    high: float


def stability(reference: Array, window: Array, interval_from: float = 0.0) -> Stability:
    """Estimate the population stability index of a window against a reference.

    The sum over bins of ``(q - p) ln(q / p)`` (Siddiqi: Credit Risk Scorecards, 2006), with half a row added to each
    bin so that an empty one stays finite. Bins that are empty on both sides are left out. In samples the sum is too
    large, in full bins by about ``(bins - 1) (1 / n + 1 / m)`` (Yurdakul and Naranjo: Statistical properties of the
    population stability index, Journal of Risk Model Validation 14, 2020); its mean when the rows of both sides are
    dealt at random is taken off. The interval inverts a scaled
    noncentral chi-square distribution whose variance is that of the delta method.

    Parameters
    ----------
    interval_from
        Index from which the interval is wanted; below it both ends are the index.

    >>> stability(np.array([50.0, 50.0]), np.array([500.0, 500.0])).psi
    0.0
    """
    table = Contingency.of(reference, window)
    if not table.testable:
        return Stability(0.0, 0.0, 0.0)
    bins, rows, now_rows = len(table.totals), float(reference.sum()), float(window.sum())

    def part(before: Array, now: Array) -> Array:
        p, q = (before + 0.5) / (rows + bins / 2), (now + 0.5) / (now_rows + bins / 2)
        found: Array = (q - p) * np.log(q / p)
        return found

    p, q = (table.before + 0.5) / (rows + bins / 2), (table.now + 0.5) / (now_rows + bins / 2)
    raw, bias = float(part(table.before, table.now).sum()), table.average(part)
    index = max(raw - bias, 0.0)
    if index < interval_from:
        return Stability(index, index, index)
    logs, noise = np.log(q / p), 1 / rows + 1 / now_rows
    # Gradients by each side's shares; 4 psi (1/m + 1/n) when both are close.
    variance = _variance(p, -logs + 1 - q / p) / rows + _variance(q, logs + 1 - p / q) / now_rows
    scale = max(noise, variance / (4 * index)) if index > bias else noise
    low, high = _interval(raw / scale, bias / scale)
    return Stability(index, min(low * scale, index), max(high * scale, index))


def _variance(shares: Array, gradient: Array) -> float:
    centre = float(shares @ gradient)
    return float(shares @ (gradient - centre) ** 2)


def _interval(observed: float, degrees: float) -> tuple[float, float]:
    """Return the noncentralities that leave half of the rest on each side of the observed value."""
    if observed > 1e4:
        away = -float(ndtri(_TAIL))
        centre = observed - degrees
        half = away * math.sqrt(max(4 * centre + 2 * degrees, 0.0))
        return max(centre - half, 0.0), centre + half + away**2
    low, high = (float(chndtrinc(observed, degrees, share)) for share in (1 - _TAIL, _TAIL))
    return _noncentrality(low), _noncentrality(high)


def _noncentrality(found: float) -> float:
    """Return 0 for a value near 0, or for none found because even 0 leaves too little."""
    return found if found > _NOTHING and math.isfinite(found) else 0.0
