"""Statistics of two rows of counts: how large a difference is, and whether chance could make it."""

from __future__ import annotations

import numpy as np

from evermodel.drift.counts import Counts


def psi(reference: Counts, window: Counts) -> float:
    """Return the population stability index of a window against a reference.

    The sum over bins of ``(q - p) ln(q / p)``, with half a row added to each bin so that an empty one stays finite.
    Bins that are empty on both sides are left out. 0.1 and 0.25 are the usual bands (Siddiqi: Credit Risk
    Scorecards, 2006).

    >>> round(psi(np.array([50.0, 50.0]), np.array([500.0, 500.0])), 6)
    0.0
    """
    used = (reference + window) > 0
    if not used.any() or reference.sum() == 0 or window.sum() == 0:
        return 0.0
    p, q = reference[used] + 0.5, window[used] + 0.5
    p, q = p / p.sum(), q / q.sum()
    return float(((q - p) * np.log(q / p)).sum())


def two_sample_p_value(reference: Counts, window: Counts, least_expected: float = 5.0) -> float:
    """Return the p-value of Pearson's test that both sides come from one distribution.

    Both sides are samples (a 2 x k contingency table), not the reference as exact shares. Bins with fewer than
    ``least_expected`` expected rows on a side are pooled (Cochran: Some methods for strengthening the common
    chi-square tests, Biometrics 10, 1954).
    """
    from scipy.stats import chi2

    table = _pool_rare(np.stack([reference, window]), least_expected)
    if table.shape[1] < 2 or (table.sum(axis=1) == 0).any():
        return 1.0
    expected = np.outer(table.sum(axis=1), table.sum(axis=0)) / table.sum()
    statistic = float(((table - expected) ** 2 / expected).sum())
    return float(chi2.sf(statistic, table.shape[1] - 1))


def natural_variation(days: Counts, length: int) -> float:
    """Return the largest index that a stretch of days shows against the rest of the reference.

    Rows of one day resemble each other, so a window differs from a long reference even when nothing changed. How much
    is normal is read off the reference itself: every stretch of the window's length is held against the other days.

    Parameters
    ----------
    days
        Counts of the reference, days x bins.
    length
        Length of the window in days.

    Returns
    -------
    0.0 when the reference is shorter than three windows, too short to tell.
    """
    if len(days) < 3 * length:
        return 0.0
    total = days.sum(axis=0)
    sums = np.cumsum(np.vstack([np.zeros_like(total), days]), axis=0)
    stretches = sums[length:] - sums[:-length]
    return max(psi(total - stretch, stretch) for stretch in stretches if stretch.sum() > 0)


def _pool_rare(table: Counts, least: float) -> Counts:
    total = table.sum()
    if total == 0:
        return table[:, :0]
    smaller_side = table.sum(axis=1).min() / total
    expected = table.sum(axis=0) * smaller_side
    rare = expected < least
    if not rare.any():
        return table
    pooled = table[:, rare].sum(axis=1, keepdims=True)
    kept = table[:, ~rare]
    return np.hstack([kept, pooled]) if pooled.sum() > 0 else kept
