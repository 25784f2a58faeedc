"""In which interval between thresholds each number of a column lies."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

_CELLS = 4096
_MOST_STEPS = 4


class Intervals:
    """Finds intervals as `numpy.searchsorted` does, several times as fast where the thresholds are spread well.

    The range of the thresholds is divided into cells of equal width. A number's cell says how many thresholds lie in
    earlier cells, which are all below it, because rounding keeps the order; those of its own cell are compared. Where
    many thresholds fall into one cell, NumPy searches.

    Parameters
    ----------
    cuts
        Thresholds, ascending, the last one infinite.
    """

    def __init__(self, cuts: NDArray[np.float64]) -> None:
        self.cuts = cuts
        self._low, self._high = (float(cuts[0]), float(cuts[-2])) if len(cuts) > 1 else (0.0, 0.0)
        width = self._high - self._low
        self._scale = _CELLS / width if width > 0 else math.inf
        self._steps = _MOST_STEPS + 1
        if math.isfinite(width) and math.isfinite(self._scale):
            cells = self._cells(cuts[:-1])
            self._steps = int(np.bincount(cells).max())
            self._before = np.searchsorted(cells, np.arange(_CELLS + 2))

    def __len__(self) -> int:
        """Return the number of intervals, that of missing values (the last one) included."""
        return len(self.cuts) + 1

    def of(self, values: NDArray[np.float64]) -> NDArray[np.intp]:
        """Return the interval of each number; a number that is a threshold lies below it."""
        if self._steps > _MOST_STEPS:
            return np.searchsorted(self.cuts, values)  # NumPy sorts a missing value behind infinity
        found = self._before.take(self._cells(values))
        for _ in range(self._steps):
            found += self.cuts.take(found) < values
        found[np.isnan(values)] = len(self.cuts)
        return found

    def _cells(self, values: NDArray[np.float64]) -> NDArray[np.intp]:
        within = np.fmax(values, self._low)  # a missing value goes to the first cell
        np.fmin(within, self._high, out=within)
        np.subtract(within, self._low, out=within)
        np.multiply(within, self._scale, out=within)
        return within.astype(np.intp)
