"""Two numeric samples laid into one order, and cut into bins by pooled rank."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from evermodel.stats.contingency import Contingency
from evermodel.stats.sample import Array, NumericSample, smallest

_FINE, _COARSE = 48, 10
_RARE = 1e-4  # chance of the shortest tail that can speak: all of it from one side


@dataclass(frozen=True)
class Pooled:
    """The known values of both sides in one ascending order, of which only counts are asked."""

    reference: NumericSample
    window: NumericSample

    @cached_property
    def total(self) -> tuple[float, float]:
        """Rows of both sides together and of the window."""
        return self.reference.known + self.window.known, self.window.known

    @property
    def testable(self) -> bool:
        """Whether both sides have rows."""
        return 0 < self.total[1] < self.total[0]

    def fine(self) -> Contingency:
        """Count in about fifty bins of equal pooled share, halved repeatedly towards both ends.

        Bins of equal share are those of Mann, Wald: On the choice of the number of class intervals in the application of the
        chi square test, Annals of Mathematical Statistics 13, 1942.

        >>> before, now = (NumericSample(np.arange(count) + 0.5) for count in (2000, 1000))
        >>> Pooled(before, now).fine().omnibus() < 1e-9
        True
        """
        total, _ = self.total
        even = total * np.arange(1, _FINE) / _FINE
        ends = total / _FINE * 0.5 ** np.arange(1, 4)
        return self._table(np.concatenate([even, ends, total - ends]), total / _FINE)

    def coarse(self) -> Contingency:
        """Count in ten bins of equal pooled share; a value with a twentieth of the rows has its own bin.

        Few bins find what moves all values better than many do (Mann, Wald, 1942; see `fine`).

        >>> before, now = NumericSample(np.arange(0.0, 90)), NumericSample(np.arange(0.0, 90, 9))
        >>> Pooled(before, now).coarse().now.astype(int).tolist()
        [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]
        """
        total, _ = self.total
        return self._table(total * np.arange(1, _COARSE) / _COARSE, total / _COARSE / 2)

    def tails(self) -> list[tuple[float, float]]:
        """Return rows and window's rows of tails: from the shortest informative one to a hundredth of all rows.

        How many of the most extreme rows are the window's is hypergeometric (Epstein: Tables for the distribution of the
        number of exceedances, Annals of Mathematical Statistics 25, 1954).

        >>> before, now = NumericSample(np.arange(0.0, 900)), NumericSample(np.arange(-100.0, 0))
        >>> Pooled(before, now).tails()[0]
        (4.0, 4.0)
        """
        total, window = self.total
        longest = total / 100
        sizes = {longest}
        for side in (window, total - window):
            shortest = math.ceil(math.log(_RARE) / math.log(side / total))
            sizes |= {float(shortest), math.sqrt(shortest * max(longest, shortest))}
        ends = np.array(sorted({size for size in sizes if size <= total / 10}))
        _, (rows, now) = self._ends(ends)
        (above, now_above), _ = self._ends(total - ends)
        found = {*zip(rows.tolist(), now.tolist(), strict=True)}
        found |= {*zip((total - above).tolist(), (window - now_above).tolist(), strict=True)}
        return sorted(f for f in found if 0 < f[0] < total)

    def atom(self) -> tuple[float, float] | None:
        """Return rows and window's rows of the commonest value if it has a twentieth of all rows.

        Its share is compared by itself, as in two-part tests of values with many zeros (Lachenbruch: Comparisons of two-part
        models with competitors, Statistics in Medicine 20, 2001).

        >>> before, now = NumericSample(np.arange(1.0, 91)), NumericSample(np.append(np.zeros(6), np.arange(1.0, 5)))
        >>> Pooled(before, now).atom()
        (6.0, 6.0)
        """
        total, _ = self.total
        (before, now_before), (rows, now) = self._ends(total * np.arange(1, 40) / 40)
        size = rows - before
        most = int(np.argmax(size))
        if size[most] < total / 20 or size[most] == total:
            return None
        return float(size[most]), float(now[most] - now_before[most])

    def _ends(self, ranks: Array) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
        """Return the rows of both sides, and of the window, before the values at these ranks, and up to them."""
        found = smallest([self.reference, self.window], ranks)
        now_before, now = self.window.below(found), self.window.up_to(found)
        return (
            (self.reference.below(found) + now_before, now_before),
            (self.reference.up_to(found) + now, now),
        )

    def _table(self, ranks: Array, atom: float) -> Contingency:
        (before, now_before), (rows, now) = self._ends(ranks)
        heavy = rows - before >= max(atom, 2)
        cuts, first = np.unique(
            np.concatenate([[0.0], before[heavy], rows, [self.total[0]]]), return_index=True
        )
        window = np.diff(np.concatenate([[0.0], now_before[heavy], now, [self.total[1]]])[first])
        return Contingency.of(np.diff(cuts) - window, window)
