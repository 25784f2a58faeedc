"""In which interval between thresholds each number of a column lies."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

_CELLS = 4096


class Intervals:
    """Finds intervals as `numpy.searchsorted` does, many times as fast where the thresholds are spread well.

    The range of the thresholds is divided into cells of equal width. A number's cell says how many thresholds lie in
    earlier cells, which are all below it, because rounding keeps the order; those of its own cell are searched.

    Parameters
    ----------
    cuts
        Thresholds, ascending, the last one infinite.
    first
        Number of the first interval.
    """

    def __init__(self, cuts: NDArray[np.float64], first: int = 0) -> None:
        from evermodel.modeling.onnx import kernel

        self._cuts, self._first = np.ascontiguousarray(cuts), first
        self._low, high = (float(cuts[0]), float(cuts[-2])) if len(cuts) > 1 else (0.0, 0.0)
        scale = _CELLS / (high - self._low) if high > self._low else 0.0
        self._scale = scale if math.isfinite(scale) else 0.0  # 0: all in one cell
        cells = np.empty(len(cuts) - 1, np.int32)
        kernel.cells(self._cuts[:-1], self._low, self._scale, _CELLS, cells)
        self._before = np.searchsorted(cells, np.arange(_CELLS + 2)).astype(np.int32)

    def of(self, values: NDArray[np.float64]) -> NDArray[np.int32]:
        """Return the interval of each number; a number that is a threshold lies below it, a missing one in the last."""
        found = np.empty(len(values), np.int32)
        self.find(values, found)
        return found

    def find(self, values: NDArray[np.float64], found: NDArray[np.int32]) -> None:
        """Write the intervals, as `of` returns them."""
        from evermodel.modeling.onnx import kernel

        numbers = np.ascontiguousarray(values)
        kernel.places(numbers, self._cuts, self._before, self._low, self._scale, self._first, found)
