"""Changes of the rank correlation between pairs of columns."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import erfc

_LEAST = 30  # rows with both values, below which a pair is not evaluated
_CAP = 0.999_9
_AT_ONCE = 4096  # rows that are multiplied at once
MOST_PAIRS = (
    5_000  # those of 100 columns; of more columns the pairs with the strongest correlation in the reference
)


@dataclass(frozen=True)
class PairChange:
    """The rank correlation of two columns on both sides.

    Parameters
    ----------
    before, now
        Spearman's correlation in the reference and in the window.
    low, high
        95 % interval of the absolute change.
    p_value
        Of the test that it has not changed, both sides being samples; times the share of the pairs that were chosen.
    """

    first: str
    second: str
    before: float
    now: float
    low: float
    high: float
    p_value: float

    @property
    def change(self) -> float:
        """How much it has changed, without a sign."""
        return abs(self.now - self.before)


@dataclass(frozen=True)
class Ranked:
    """Whole rows as ranks, with all pairs' correlations.

    Parameters
    ----------
    ranks
        Rows x columns, centred ranks between -1 and 1 (ties share the middle one); not-a-number if missing.
    correlations, rows
        Columns x columns, with the rows that have both values.
    """

    ranks: NDArray[np.float64]
    correlations: NDArray[np.float64]
    rows: NDArray[np.float64]
    spreads: dict[tuple[int, int], float] = field(default_factory=dict, compare=False, repr=False)
    _orders: dict[int, NDArray[np.intp]] = field(default_factory=dict, compare=False, repr=False)

    def order(self, column: int) -> NDArray[np.intp]:
        """Return the places of the rows of a column in ascending order, found once."""
        if column not in self._orders:
            self._orders[column] = np.argsort(self.ranks[:, column], kind="stable")
        return self._orders[column]


def ranked(values: NDArray[np.float64]) -> Ranked:
    """Rank whole rows; each column among its own known values."""
    ranks = np.column_stack([_ranks(column) for column in values.T]) if values.size else values
    rows, sums, squares, products = np.zeros((4, ranks.shape[1], ranks.shape[1]))
    for start in range(0, len(ranks), _AT_ONCE):
        some = ranks[start : start + _AT_ONCE]
        known = ~np.isnan(some)
        filled, mask = np.where(known, some, 0.0), known.astype(np.float64)
        rows += mask.T @ mask
        sums += filled.T @ mask
        squares += (filled**2).T @ mask
        products += filled.T @ filled
    least = np.maximum(rows, 1)
    means = sums / least
    squares = squares / least - means**2
    products = products / least - means * means.T
    scale = np.sqrt(np.maximum(squares * squares.T, 0))
    with np.errstate(invalid="ignore", divide="ignore"):
        found = np.where(scale > 1e-12, products / scale, np.nan)
    return Ranked(ranks, np.clip(found, -1, 1), rows)


def natural_changes(
    whole: Ranked, parts: Sequence[tuple[float, NDArray[np.float64]]], overlap: int = 2
) -> tuple[NDArray[np.float64], float]:
    """Return for each pair how far parts of some rows differ from the others (root mean square), and for how many.

    Parameters
    ----------
    parts
        Share and rows of each part. The whole differs from a part by the other rows' share of what these differ.
    overlap
        How many parts share each row, so that fewer are independent.
    """
    squares, counts = np.zeros_like(whole.correlations), np.zeros_like(whole.correlations)
    for share, rows in parts:
        part = ranked(rows)
        sure = (part.rows >= _LEAST) & np.isfinite(part.correlations) & np.isfinite(whole.correlations)
        change = (part.correlations - whole.correlations) / max(1 - share, 0.1)
        squares += np.where(sure, change, 0.0) ** 2
        counts += sure
    return np.sqrt(squares / np.maximum(counts, 1)), len(parts) / overlap


def pair_changes(
    names: Sequence[str], before: Ranked, now: Ranked, band: float, most: int = MOST_PAIRS
) -> tuple[list[PairChange], int]:
    """Compare the correlations of all pairs that both sides can tell, the largest change first.

    Of more than so many pairs those are compared whose correlation is strongest in the reference. As it is a sample, chance
    has a part in which these are: their p-values are multiplied as if each of the others had been tested, too (Bonferroni).

    Parameters
    ----------
    band
        Change from which a pair matters: smaller ones get the variance of normal data, which is cheap.

    Returns
    -------
    The changes, and the number of pairs that they were chosen from.
    """
    upper = np.triu(np.ones((len(names), len(names)), dtype=bool), k=1)
    places = np.argwhere(upper & _told(before))
    kept = places
    if len(places) > most:
        strength = np.abs(before.correlations[places[:, 0], places[:, 1]])
        kept = places[np.sort(np.argsort(-strength, kind="stable")[:most])]
    told, penalty = _told(now), len(places) / max(len(kept), 1)
    changes = [_pair(names, before, now, int(i), int(j), band) for i, j in kept if told[i, j]]
    if penalty > 1:
        changes = [replace(pair, p_value=min(1.0, pair.p_value * penalty)) for pair in changes]
    ordered = sorted(changes, key=lambda pair: (-pair.change, pair.first, pair.second))
    return ordered, round(len(changes) * penalty)


def _told(side: Ranked) -> NDArray[np.bool_]:
    """Tell which pairs have enough rows for a correlation."""
    return (side.rows >= _LEAST) & np.isfinite(side.correlations)


def significance(before: Ranked, now: Ranked, i: int, j: int, penalty: float) -> float:
    """Return the p-value that the correlation of two columns has not changed, from the rows' own variance."""
    return min(1.0, penalty * _pair([""] * len(before.rows), before, now, i, j, 0.0).p_value)


def _pair(names: Sequence[str], before: Ranked, now: Ranked, i: int, j: int, band: float) -> PairChange:
    old, new = float(before.correlations[i, j]), float(now.correlations[i, j])
    matters = abs(new - old) >= band
    variance = sum(_variance(side, i, j, matters) for side in (before, now))
    difference = _fisher(new) - _fisher(old)
    p_value = float(erfc(abs(difference) / math.sqrt(2 * variance)))
    # Back from Fisher's scale around the middle of both values.
    slope = 1 - math.tanh((_fisher(new) + _fisher(old)) / 2) ** 2
    half = 1.96 * math.sqrt(variance) * slope
    change = abs(new - old)
    return PairChange(names[i], names[j], old, new, max(0.0, change - half), min(2.0, change + half), p_value)


def _variance(side: Ranked, i: int, j: int, exactly: bool) -> float:
    """Return the variance of Fisher's z of a rank correlation.

    From the influence of each row on the coefficient: its own ranks and its part in the ranks of the others (Borkowf:
    Computing the nonnull asymptotic variance of Spearman's rank correlation, Computational Statistics and Data
    Analysis 39, 2002). Not below that of normal data (Bonett and Wright: Psychometrika 65, 2000), which is all there
    is when it need not be exact.
    """
    rows, r = float(side.rows[i, j]), min(abs(float(side.correlations[i, j])), _CAP)
    normal = 1 + r**2 / 2
    if not exactly:
        return normal / max(rows - 3, 1)
    if (i, j) not in side.spreads:
        side.spreads[i, j] = _spread(side, i, j, r)
    return max(side.spreads[i, j], normal) / max(rows - 3, 1)


def _spread(side: Ranked, i: int, j: int, r: float) -> float:
    both = ~np.isnan(side.ranks[:, i]) & ~np.isnan(side.ranks[:, j])
    (u, rank_u), (v, rank_v) = _side_of(side, i, both), _side_of(side, j, both)
    scale = math.sqrt(float((u**2).mean() * (v**2).mean()))
    if scale < 1e-12:  # of the rows that have both values, one is always the same
        return math.inf
    products = (u * v + _above(rank_u, v) + _above(rank_v, u)) / scale
    squares = (u**2 + 2 * _above(rank_u, u)) / (u**2).mean() + (v**2 + 2 * _above(rank_v, v)) / (v**2).mean()
    influence = products - float(side.correlations[i, j]) * squares / 2
    return float(influence.var()) / (1 - r**2) ** 2


def _side_of(
    side: Ranked, column: int, rows: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Return the centred ranks of some rows, and their places in ascending order."""
    places = np.cumsum(rows) - 1
    order = side.order(column)
    ranks = side.ranks[rows, column]
    return ranks - ranks.mean(), places[order[rows[order]]]


def _above(order: NDArray[np.intp], other: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return for each row how far it moves the other rows' ranks, weighted with their other value.

    A row adds to the rank of every row above it: twice the mean of ``other`` over those, as ranks go from -1 to 1.
    """
    sorted_other = other[order]
    tail = np.cumsum(sorted_other[::-1])[::-1]
    found = np.empty(len(order))
    found[order] = (2 * tail - sorted_other) / len(order)
    return found


def _ranks(column: NDArray[np.float64]) -> NDArray[np.float64]:
    known = ~np.isnan(column)
    found = np.full(len(column), np.nan)
    values, which, many = np.unique(column[known], return_inverse=True, return_counts=True)
    middle = np.cumsum(many) - (many - 1) / 2
    if len(values):
        found[known] = 2 * middle[which] / known.sum() - 1
    return found


def _fisher(correlation: float) -> float:
    return math.atanh(max(-_CAP, min(_CAP, correlation)))
