"""The normal size of an effect for a model, learnt from windows without problems."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from evermodel.monitoring.drift.verdict import RULE

LEAST_EFFECTIVE = 8.0  # independent windows, below which a limit would be so wide that it says nothing
_STRONGEST = 0.98


@dataclass(frozen=True)
class Limit:
    """The largest effect that is normal.

    Parameters
    ----------
    windows
        Quiet windows that it was learnt from.
    effective
        How many independent ones they are worth.
    sure
        Whether that is enough for a limit at the stated rate; else it is only the largest effect of a quiet window.
    """

    effect: float
    windows: int
    effective: float
    sure: bool

    @property
    def words(self) -> str:
        """Say where it comes from."""
        if not self.sure:
            return f"{RULE}: what stretches of the reference and {self.windows} quiet windows show"
        return f"learnt from {self.windows} quiet windows (worth {self.effective:.0f} independent ones)"


def learn_limit(
    effects: NDArray[np.float64], power: float, length: int, least: int, rate: float
) -> Limit | None:
    """Learn the largest normal effect from those of past quiet windows; None when there are too few.

    The upper prediction limit for one more window: effects are brought to an all but normal scale (the fourth root of
    a square; Hawkins and Wixley: A note on the transformation of chi-squared variables to normality, The American
    Statistician 40, 1986), and Student's t takes the number of independent windows that the overlapping,
    auto-correlated ones are worth. That number comes from the correlation between windows that do not overlap, which
    is corrected for its bias in short series (Marriott and Pope, Biometrika 41, 1954). No limit is below the largest
    effect of a quiet window: it counts as normal.

    Parameters
    ----------
    effects
        Of windows that end one day after the other, oldest first; not-a-number where a day was not quiet.
    power
        Exponent that makes an effect all but normal.
    length
        Days of a window.
    least
        Quiet windows that are needed.
    rate
        Chance that one more quiet window is above the limit.
    """
    known = ~np.isnan(effects)
    count = int(known.sum())
    if count < max(least, length + 2):
        return None
    values = np.where(known, np.abs(effects), np.nan) ** power
    mean, spread = float(np.nanmean(values)), float(np.nanvar(values))
    effective = _effective(values - mean, spread, count, length)
    largest = float(np.nanmax(np.abs(effects)))
    if effective < LEAST_EFFECTIVE:
        return Limit(largest, count, effective, sure=False)
    deviation = np.sqrt(spread / (1 - 1 / effective) * (1 + 1 / effective))
    top = mean + float(stdtrit(effective - 1, 1 - rate)) * float(deviation)
    return Limit(max(top ** (1 / power), largest), count, effective, sure=True)


def _effective(around: NDArray[np.float64], spread: float, count: int, length: int) -> float:
    """Return how many independent windows a series is worth."""
    if spread <= 0:
        return count / length
    products = around[length:] * around[:-length]
    pairs = int((~np.isnan(products)).sum())
    correlation = min(max(float(np.nansum(products)) / max(pairs, 1) / spread, 0.0), 1.0)
    bias = (1 + 3 * correlation) * length / count
    # Half a standard error more, as a correlation that is taken too small costs more than one taken too large.
    doubt = 0.5 * np.sqrt((1 - correlation**2) * length / count)
    correlation = min(correlation + bias + float(doubt), _STRONGEST)
    return count / length * (1 - correlation) / (1 + correlation)
