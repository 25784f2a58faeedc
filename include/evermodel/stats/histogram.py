"""Quantiles from histogram buckets, cumulative as in Prometheus."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TypeVar

_Count = TypeVar("_Count", int, float)


def quantile(buckets: Mapping[str, float], share: float) -> float:
    """Return a quantile in seconds, on a straight line inside its bucket, as Prometheus' ``histogram_quantile`` does.

    Parameters
    ----------
    buckets
        Counts by the bound as Prometheus writes it (``+Inf`` last).

    Returns
    -------
    Infinity beyond the largest bound, NaN where nothing was counted.

    >>> round(quantile({"0.1": 50, "0.2": 100, "+Inf": 100}, 0.75), 9)
    0.15
    """
    edges = _sorted(buckets)
    if not edges or edges[-1][1] <= 0:
        return math.nan
    wanted, low, below_it = share * edges[-1][1], 0.0, 0.0
    for bound, count in edges:
        if count >= wanted and count > below_it:
            if math.isinf(bound):
                return math.inf
            return low + (bound - low) * (wanted - below_it) / (count - below_it)
        low, below_it = bound, count
    return math.inf


def slower_than(buckets: Mapping[str, int], seconds: float) -> tuple[int, int]:
    """Return the number of requests above a duration, and the total, by linear interpolation within a bucket.

    >>> slower_than({"0.1": 50, "0.2": 100, "+Inf": 110}, 0.15)
    (35, 110)
    """
    edges = _sorted(buckets)
    total, low, below_it = (edges[-1][1] if edges else 0), 0.0, 0
    for bound, count in edges:
        if seconds <= bound:
            part = 0.0 if math.isinf(bound) else (seconds - low) / (bound - low)
            return total - below_it - round(part * (count - below_it)), total
        low, below_it = bound, count
    return 0, total


def _sorted(buckets: Mapping[str, _Count]) -> list[tuple[float, _Count]]:
    return sorted((float(bound), count) for bound, count in buckets.items())
