"""The result of a two-sample comparison: p-value, size and bins."""

from __future__ import annotations

from dataclasses import dataclass

from evermodel.monitoring.drift.verdict import Bin


@dataclass(frozen=True)
class ColumnComparison:
    """A window's column compared with the reference's.

    Parameters
    ----------
    p_value
        Of the two-sample test that both sides come from one distribution, both being samples.
    psi, low, high
        Population stability index with a 95 % interval.
    distance
        Wasserstein distance in standard deviations of the reference (numbers), Jensen-Shannon distance (categories).
    summary
        What changed, in a few words.
    bins
        Shares by bin, for plots.
    """

    p_value: float
    psi: float
    low: float
    high: float
    distance: float
    summary: str
    bins: tuple[Bin, ...]
