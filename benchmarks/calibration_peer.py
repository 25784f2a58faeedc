"""What Evidently 0.7 would say about a simulated column by default: its own functions, and its statistics on counts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tests.simulations.distances import jensen_shannon_of_counts, kolmogorov_smirnov, wasserstein

from evermodel.stats.sample import NumericSample

Array = NDArray[np.float64]
SMALL_REFERENCE = 1000  # up to here Evidently takes p-values, beyond it distances


def says_drift(reference: Array, window: Array, numeric: bool) -> bool:
    """Ask Evidently itself, with the method and threshold that it chooses."""
    import pandas as pd
    from evidently.legacy.calculations.stattests.registry import get_stattest
    from evidently.legacy.core import ColumnType

    kind = ColumnType.Numerical if numeric else ColumnType.Categorical
    sides = [pd.Series(side if numeric else _codes(side)) for side in (reference, window)]
    with np.errstate(all="ignore"):
        result: Any = get_stattest(*sides, kind, None)(*sides, kind, None)
    return bool(result.drifted)


def statistic(
    reference_rows: int, numeric: bool, categories: int
) -> tuple[str, Callable[[Array, Array], float]]:
    """Return the name and the statistic (larger is more drift) of Evidently's default method.

    Its p-values fall as these statistics rise, so a threshold on either is the same test. The distances are those of
    this package, which its tests hold equal to Evidently's.
    """
    if numeric:
        if reference_rows <= SMALL_REFERENCE:
            return "KS", lambda before, now: kolmogorov_smirnov(NumericSample(before), NumericSample(now))
        return "Wasserstein", lambda before, now: wasserstein(NumericSample(before), NumericSample(now))
    if reference_rows > SMALL_REFERENCE:
        return "Jensen-Shannon", jensen_shannon_of_counts
    return ("z-test", _z) if categories == 2 else ("chi-square", _chi_square)


def _codes(counts: Array) -> NDArray[np.intp]:
    return np.repeat(np.arange(len(counts)), counts.astype(np.intp))


def _chi_square(before: Array, now: Array) -> float:
    used = (before + now) > 0
    expected = before[used] * now.sum() / before.sum()
    with np.errstate(divide="ignore"):
        return float(((now[used] - expected) ** 2 / expected).sum())


def _z(before: Array, now: Array) -> float:
    p, q = before[0] / before.sum(), now[0] / now.sum()
    both = (before[0] + now[0]) / (before.sum() + now.sum())
    spread = both * (1 - both) * (1 / before.sum() + 1 / now.sum())
    return float(abs(p - q) / np.sqrt(spread)) if spread > 0 else 0.0
