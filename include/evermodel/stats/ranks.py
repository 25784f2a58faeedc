"""Two numeric samples laid into one order, and cut into bins by pooled rank."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evermodel.stats.contingency import Contingency
from evermodel.stats.sample import NumericSample

Array = NDArray[np.float64]
_FINE, _COARSE = 48, 10
_RARE = 1e-4  # chance of the shortest tail that can speak: all of it from one side


@dataclass(frozen=True)
class Pooled:
    """The known values of both sides in ascending order.

    Parameters
    ----------
    rows, window
        Rows of both sides together and of the window up to and including each value, a zero before the first: one
        longer than ``values``.
    """

    values: Array
    rows: Array
    window: Array

    @classmethod
    def of(cls, reference: NumericSample, window: NumericSample) -> Pooled:
        """Merge two sorted samples."""
        values = np.concatenate([reference.values, window.values])
        order = np.argsort(values, kind="stable")  # merges two sorted runs
        first = len(reference.values)
        mine = order >= first
        now = np.zeros(len(values) + 1)
        if reference.weights is None and window.weights is None:
            np.cumsum(mine, out=now[1:])
            return cls(values[order], np.arange(len(values) + 1.0), now)
        weights = np.concatenate([_weights(reference), _weights(window)])[order]
        np.cumsum(np.where(mine, weights, 0), out=now[1:])
        return cls(values[order], np.concatenate([[0.0], np.cumsum(weights)]), now)

    @property
    def testable(self) -> bool:
        """Whether both sides have rows."""
        return 0 < float(self.window[-1]) < float(self.rows[-1])

    def fine(self) -> Contingency:
        """Count in about fifty bins of equal pooled share, halved repeatedly towards both ends."""
        total = float(self.rows[-1])
        even = total * np.arange(1, _FINE) / _FINE
        ends = total / _FINE * 0.5 ** np.arange(1, 4)
        return self._table(np.concatenate([even, ends, total - ends]), total / _FINE)

    def coarse(self) -> Contingency:
        """Count in ten bins of equal pooled share; a value with a twentieth of the rows has its own bin."""
        total = float(self.rows[-1])
        return self._table(total * np.arange(1, _COARSE) / _COARSE, total / _COARSE / 2)

    def tails(self) -> list[tuple[float, float]]:
        """Return rows and window's rows of tails: from the shortest informative one to a hundredth of all rows."""
        total, window = float(self.rows[-1]), float(self.window[-1])
        longest = total / 100
        sizes = {longest}
        for side in (window, total - window):
            shortest = math.ceil(math.log(_RARE) / math.log(side / total))
            sizes |= {float(shortest), math.sqrt(shortest * max(longest, shortest))}
        sizes = {size for size in sizes if size <= total / 10}
        found = set()
        for size in sizes:
            low, high = self._ends(np.array([size]))[1][0], self._ends(np.array([total - size]))[0][0]
            found.add((float(self.rows[low]), float(self.window[low])))
            found.add((total - float(self.rows[high]), window - float(self.window[high])))
        return sorted(f for f in found if 0 < f[0] < total)

    def atom(self) -> tuple[float, float] | None:
        """Return rows and window's rows of the commonest value if it has a twentieth of all rows."""
        total = float(self.rows[-1])
        left, right = self._ends(total * np.arange(1, 40) / 40)
        size = self.rows[right] - self.rows[left]
        most = int(np.argmax(size))
        if size[most] < total / 20 or size[most] == total:
            return None
        return float(size[most]), float(self.window[right[most]] - self.window[left[most]])

    def _ends(self, ranks: Array) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Return the start and end positions of the values at these ranks."""
        at = np.searchsorted(self.rows[1:], ranks, side="left").clip(0, len(self.values) - 1)
        found = self.values[at]
        return np.searchsorted(self.values, found, side="left"), np.searchsorted(
            self.values, found, side="right"
        )

    def _table(self, ranks: Array, atom: float) -> Contingency:
        left, right = self._ends(ranks)
        heavy = self.rows[right] - self.rows[left] >= max(atom, 2)
        cuts = np.unique(np.concatenate([[0], left[heavy], right, [len(self.values)]]))
        now = np.diff(self.window[cuts])
        return Contingency.of(np.diff(self.rows[cuts]) - now, now)


def _weights(side: NumericSample) -> Array:
    return np.ones(len(side.values)) if side.weights is None else side.weights
