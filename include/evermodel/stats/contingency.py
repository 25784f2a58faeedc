"""Tests of two rows of counts, conditional on all totals: both sides are samples."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import erfc, gammaincc, gammaln, xlogy

Array = NDArray[np.float64]
_POINTS = 49
_SAME = 1e-9


@dataclass(frozen=True)
class Contingency:
    """A 2 x k table whose margins are held fixed, as under a permutation of the rows between both sides.

    Each count of the window is then hypergeometric. Its probabilities are laid out on a grid of at most 49 points
    (all of its values, or evenly spaced ones where it is wide and so all but normal), once for each distinct total.

    Parameters
    ----------
    before, now
        Rows by cell of the reference and of the window; cells that are empty on both sides are left out.
    """

    before: Array
    now: Array

    @classmethod
    def of(cls, before: Array, now: Array) -> Contingency:
        """Make a table of the cells that are in use."""
        used = (before + now) > 0
        return cls(np.asarray(before, dtype=np.float64)[used], np.asarray(now, dtype=np.float64)[used])

    def without(self, cell: int) -> Contingency:
        """Return the table of all other cells."""
        return Contingency(np.delete(self.before, cell), np.delete(self.now, cell))

    @property
    def testable(self) -> bool:
        """Whether the table allows a test: two cells, and rows on both sides."""
        return len(self.before) > 1 and self.before.sum() > 0 and self.now.sum() > 0

    @cached_property
    def totals(self) -> Array:
        """Rows by cell on both sides together."""
        return self.before + self.now

    @cached_property
    def rows(self) -> float:
        """Rows in all."""
        return float(self.totals.sum())

    @cached_property
    def window(self) -> float:
        """Rows of the window."""
        return float(self.now.sum())

    @cached_property
    def expected(self) -> Array:
        """Expected rows of the window by cell."""
        return self.totals * (self.window / self.rows)

    @cached_property
    def variance(self) -> Array:
        """Variance of the window's rows by cell."""
        share = self.window / self.rows
        spread: Array = self.totals * share * (1 - share) * (self.rows - self.totals) / max(self.rows - 1, 1)
        return spread

    @cached_property
    def grid(self) -> tuple[NDArray[np.intp], Array, Array, Array, NDArray[np.bool_]]:
        """Which distinct total each cell has, those totals, their points and chances, and whether all points are there."""
        totals, which = np.unique(self.totals, return_inverse=True)
        return which, totals, *_lay_out(totals, self.window, self.rows)

    def average(self, function: Callable[[Array, Array], Array]) -> float:
        """Return the mean, over all ways to deal the rows, of a sum over cells.

        Parameters
        ----------
        function
            Takes rows of the reference and rows of the window in one cell.
        """
        which, totals, points, weights, _ = self.grid
        values = function(totals[:, None] - points, points)
        return float(np.bincount(which) @ (weights * values).sum(axis=1))

    def omnibus(self) -> float:
        """Return the p-value of the likelihood ratio, its null distribution matched by three moments.

        ``2 sum O ln(O / E)`` over both sides has a chi-square distribution only where no expected count is small. Its
        conditional moments are known whatever the counts: a sum over cells of a function of hypergeometric counts
        whose own sum is fixed (Morris: Central limit theorems for multinomial sums, Annals of Statistics 3, 1975;
        for Pearson's statistic Haldane: Biometrika 31, 1940). The tail is that of a gamma distribution with the same
        mean, variance and skewness.

        >>> same, moved = (Contingency.of(np.array([30.0, 30, 40]), now) for now in np.array([[9.0, 9, 12], [2, 9, 19]]))
        >>> round(same.omnibus(), 2), round(moved.omnibus(), 3)
        (1.0, 0.012)
        """
        if not self.testable:
            return 1.0
        which, totals, points, weights, _ = self.grid
        many = np.bincount(which).astype(np.float64)
        shares = totals / self.rows
        share = self.window / self.rows
        values = _deviance(totals[:, None], points, share)
        means = (weights * values).sum(axis=1)
        around = points - (weights * points).sum(axis=1, keepdims=True)
        spread = (weights * around**2).sum(axis=1)
        slopes = (weights * around * values).sum(axis=1) / np.where(spread > 0, spread, 1)
        # The window's counts add up to its rows, so a multiple of them may be taken off without a change of the sum:
        # the one that leaves no covariance between a cell and the rest. Division by 1 - share stands for what remains.
        rest = values - means[:, None] - float(many @ (slopes * shares)) * around
        second = weights * rest**2
        variance = float(many @ (second.sum(axis=1) / (1 - shares)))
        third = float(many @ ((second * rest).sum(axis=1) / (1 - shares) ** 2))
        observed, mean = float(_deviance(self.totals, self.now, share).sum()), float(many @ means)
        if variance <= _SAME * mean:  # as of values that all occur once: what differs is rounding
            return 1.0
        return gamma_tail(observed, mean, variance, third)

    def one_cell(self, cell: int = 0) -> float:
        """Return the two-sided p-value of one cell against all others.

        Mid-p of the hypergeometric distribution (Lancaster: Significance tests in discrete distributions, JASA 56, 1961).

        >>> round(Contingency.of(np.array([30.0, 70]), np.array([2.0, 28])).one_cell(), 3)
        0.007
        """
        if not self.testable:
            return 1.0
        chosen = slice(cell, cell + 1)
        return float(parts_of_rows(self.totals[chosen], self.now[chosen], self.window, self.rows)[0])

    def largest_cell(self) -> float:
        """Return the p-value of the cell that differs most from its expectation.

        The smallest two-sided p-value of all cells, and how many cells would go below it by chance: each with the
        chance that its own counts allow, which for a rare category is often none at all (Tarone: A modified Bonferroni
        method for discrete data, Biometrics 46, 1990).

        >>> round(Contingency.of(np.array([100.0, 100, 100, 0]), np.array([33.0, 33, 29, 5])).largest_cell(), 4)
        0.0063
        """
        if not self.testable:
            return 1.0
        which, _, points, weights, complete = self.grid
        above = np.cumsum(weights[:, ::-1], axis=1)[:, ::-1]
        tails = np.minimum(1, 2 * np.minimum(np.cumsum(weights, axis=1), above))
        at = np.argmax(points[which] >= self.now[:, None], axis=1)
        spread = np.sqrt(np.where(self.variance > 0, self.variance, 1))
        normal = erfc(np.abs(self.now - self.expected) / spread / math.sqrt(2))
        smallest = float(np.where(complete[which], tails[which, at], normal).min())
        chances = np.where(complete, (weights * (tails <= smallest * (1 + 1e-9))).sum(axis=1), smallest)
        return min(1.0, float(chances @ np.bincount(which)))

    def trend(self, scores: Array) -> float:
        """Return the two-sided p-value of the sum of scores over the window's rows.

        Mantel: Chi-square tests with one degree of freedom, JASA 58, 1963.

        >>> round(Contingency.of(np.array([50.0, 30, 20]), np.array([9.0, 10, 11])).trend(np.arange(3.0)), 3)
        0.029
        """
        if not self.testable:
            return 1.0
        centre = float(self.totals @ scores) / self.rows
        around = scores - centre
        share = self.window / self.rows
        variance = share * (1 - share) * self.rows / (self.rows - 1) * float(self.totals @ around**2)
        if variance <= 0:
            return 1.0
        return float(erfc(abs(float(self.now @ around)) / math.sqrt(2 * variance)))


def gamma_tail(observed: float, mean: float, variance: float, third: float) -> float:
    """Return the upper tail of the gamma distribution (shifted) with these cumulants.

    For a sum of squares with weights: Pearson: Note on an approximation to the distribution of non-central chi-squared,
    Biometrika 46, 1959.

    >>> round(gamma_tail(11.0705, mean=5, variance=10, third=40), 4)
    0.05
    """
    if variance <= 0:
        return 1.0
    z, skew = (observed - mean) / math.sqrt(variance), third / variance**1.5
    if skew < 1e-3:
        return float(erfc(z / math.sqrt(2)) / 2)
    return float(gammaincc(4 / skew**2, max(0.0, 4 / skew**2 + 2 * z / skew)))


def parts_of_rows(totals: Array, now: Array, window: float, rows: float) -> Array:
    """Return for each part of the rows the two-sided p-value that both sides have the same share of it.

    Twice the smaller tail with half of the observed count's own chance (mid-p: Lancaster: Significance tests in discrete
    distributions, JASA 56, 1961), or normal where counts are large.

    Parameters
    ----------
    totals, now
        Rows of each part on both sides, and in the window; parts may overlap.
    window, rows
        Rows of the window and of both sides.

    >>> parts_of_rows(np.array([32.0, 98]), np.array([2.0, 28]), window=30, rows=130).round(3).tolist()
    [0.007, 0.007]
    """
    points, weights, complete = _lay_out(totals, window, rows)
    below = (weights * (points < now[:, None])).sum(axis=1)
    above = (weights * (points > now[:, None])).sum(axis=1)
    exact = 2 * np.minimum(below, above) + (weights * (points == now[:, None])).sum(axis=1)
    share = window / rows
    variance = totals * share * (1 - share) * (rows - totals) / max(rows - 1, 1)
    away = np.abs(now - totals * share) / np.sqrt(np.where(variance > 0, variance, 1))
    found: Array = np.minimum(1, np.where(complete, exact, erfc(away / math.sqrt(2))))
    return found


def _lay_out(totals: Array, window: float, rows: float) -> tuple[Array, Array, NDArray[np.bool_]]:
    """Return points that the window's share of some totals may take, their chances, and whether these are all."""
    mean = totals * window / rows
    spread = np.sqrt(mean * (1 - window / rows) * (rows - totals) / max(rows - 1, 1))
    low = np.maximum(np.maximum(0, window + totals - rows), np.floor(mean - 9 * spread - 1))
    high = np.minimum(np.minimum(totals, window), np.ceil(mean + 9 * spread + 12))
    stride = np.maximum(1, np.ceil((high - low) / (_POINTS - 1)))
    points = low[:, None] + stride[:, None] * np.arange(_POINTS)
    inside = points <= high[:, None]
    points = np.minimum(points, high[:, None])
    logs = (
        _choose(totals[:, None], points)
        + _choose(rows - totals[:, None], window - points)
        - _choose(np.array([[rows]]), np.array([[window]]))
    )
    weights = np.where(inside, np.exp(logs), 0)
    weights /= weights.sum(axis=1, keepdims=True)
    return points, weights, stride == 1


def _deviance(totals: Array, counts: Array, share: float) -> Array:
    """Return the part of a cell, both sides of it, in the likelihood ratio."""
    others = totals - counts
    found: Array = 2 * (
        xlogy(counts, counts / (totals * share)) + xlogy(others, others / (totals * (1 - share)))
    )
    return found


def _choose(totals: Array, chosen: Array) -> Array:
    found: Array = gammaln(totals + 1) - gammaln(chosen + 1) - gammaln(totals - chosen + 1)
    return found


_STEPS = 100


def quadratic_tail(observed: float, weights: NDArray[np.floating[Any]]) -> float:
    """Return the probability that the sum exceeds the observed value.

    Lugannani and Rice's saddlepoint formula, whose relative error stays small far into the tail (Kuonen: Saddlepoint
    approximations for distributions of quadratic forms in normal variables, Biometrika 86, 1999).

    Parameters
    ----------
    weights
        Weights of the squares, at least one of them positive; negative ones, which are rounding errors, count as 0.

    >>> round(quadratic_tail(11.0705, np.ones(5)), 3)
    0.05
    """
    used = weights[weights > 1e-10 * weights.max()]
    scaled, x = used / used.max(), observed / used.max()
    mean = float(scaled.sum())
    if x <= 0:
        return 1.0
    if abs(x - mean) < 1e-3 * mean:
        x = mean * (1 + 1e-3)  # the formula has a removable gap at the mean
    point = _saddlepoint(x, scaled)
    logs = float(np.log1p(-2 * point * scaled).sum())
    w = math.copysign(math.sqrt(max(2 * point * x + logs, 0)), point)
    v = point * math.sqrt(float(np.sum(2 * (scaled / (1 - 2 * point * scaled)) ** 2)))
    if w == 0 or v == 0:
        return 0.5
    z = w + math.log(v / w) / w
    return min(1.0, max(0.0, float(erfc(z / math.sqrt(2))) / 2))


def _saddlepoint(x: float, weights: NDArray[np.floating[Any]]) -> float:
    """Find the point where the derivative of the cumulant function is ``x``; it rises without bound up to 1/2."""
    low, high = -len(weights) / (2 * x), 0.5
    point = 0.0
    for _ in range(_STEPS):
        terms = weights / (1 - 2 * point * weights)
        away = float(terms.sum()) - x
        if abs(away) < 1e-10 * x:
            break
        low, high = (point, high) if away < 0 else (low, point)
        point -= away / (2 * float(terms @ terms))  # Newton's step, halving when it leaves the bracket
        if not low < point < high:
            point = (low + high) / 2
    return point
