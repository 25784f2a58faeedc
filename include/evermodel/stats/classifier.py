"""Two samples of whole rows before a classifier: what no column shows alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import logit, ndtr, ndtri

from evermodel.stats.boosted_trees import BINS, BoostedTrees, Codes

Floats = NDArray[np.float64]
Rule = Callable[[Floats], Floats]
_BLOCKS = 3
_CODES = 30  # commonest values of a category that trees tell apart
_ROWS, _CELLS = 6_000, 1_200_000  # of one side
_RIDGE = 1.0


@dataclass(frozen=True)
class ClassifierTest:
    """What a classifier that learnt from some rows said about others.

    Parameters
    ----------
    apart
        By how many standard deviations the held-out scores of the second sample are larger; 0 where nothing tells the
        samples apart.
    error
        Its standard error without a difference, rows being the draws.
    scores, window, groups
        Of each held-out row the logistic quantile of its score's rank within its block; whether it is of the second sample;
        and its group.
    """

    apart: float
    error: float
    scores: Floats
    window: NDArray[np.bool_]
    groups: NDArray[Any]
    rows: Floats
    rule: Rule

    @property
    def p_value(self) -> float:
        """Of the hypothesis that both samples come from one distribution, rows being the draws."""
        return float(ndtr(-self.apart / self.error)) if self.error > 0 else 1.0

    @cached_property
    def used(self) -> Floats:
        """By how much less the samples are apart when the held-out values of each column are shuffled.

        Breiman: Random forests, Machine Learning 45, 2001.
        """
        generator = np.random.default_rng(0)
        rows, side = self.rows, self.window[-len(self.rows) :]
        found, whole = np.empty(rows.shape[1]), _gap(_ranks(self.rule(rows)), side)
        for column in range(rows.shape[1]):
            shuffled = rows.copy()
            shuffled[:, column] = generator.permutation(rows[:, column])
            found[column] = whole - _gap(_ranks(self.rule(shuffled)), side)
        return found


def classifier_test(
    before: Floats,
    now: Floats,
    categories: Sequence[int] = (),
    *,
    groups: tuple[NDArray[Any], NDArray[Any]] | None = None,
    seed: int = 0,
) -> ClassifierTest | None:
    """Tell two samples of whole rows apart by a classifier that is judged on rows it has not seen.

    Lopez-Paz, Oquab: Revisiting classifier two-sample tests, ICLR 2017. The rows are dealt into three blocks: boosted
    trees and a linear rule learn from the first and score the second, learn from both and score the third. Each block is
    scored by a rule that was fixed before, so the blocks' differences are uncorrelated, as prequential forecasts are (Dawid:
    Statistical theory, the prequential approach, JRSS A 147, 1984); folds that learn from each other's rows are not. The
    rule that was better on the second block is the one that scores the third. Scores count as logistic quantiles
    of their ranks: a twentieth of the rows that differs for sure weighs half as much again as by the area under the curve.

    Parameters
    ----------
    before, now
        Rows x columns, not-a-number where a value is missing; at most 6,000 of a side are used, fewer of wide tables.
    categories
        Places of the columns whose numbers are names.
    groups
        Of each row of both sides, such as days: those of one group are all learnt from, or all judged.

    Returns
    -------
    None where a side has too few rows, or groups, to learn from some and judge others.

    Examples
    --------
    Two numbers whose distributions stay while the dependence between them breaks:

    >>> generator = np.random.default_rng(0)
    >>> now = generator.normal(size=(600, 2))
    >>> before = now @ [[1, 0.8], [0, 0.6]]
    >>> classifier_test(before, now).p_value < 1e-4 < 0.01 < classifier_test(before[::2], before[1::2]).p_value
    True
    """
    if not (len(before) and len(now)):
        return None
    generator = np.random.default_rng(seed)
    most = max(200, min(_ROWS, _CELLS // max(before.shape[1], 1)))
    kept = [np.sort(generator.permutation(len(side))[:most]) for side in (before, now)]
    rows = np.vstack([before[kept[0]], now[kept[1]]])
    window = np.arange(len(rows)) >= len(kept[0])
    own = np.arange(len(rows))
    if groups is not None:
        own = np.concatenate([side[some] for side, some in zip(groups, kept, strict=True)])
    blocks = _dealt(own, window, generator)
    if any(np.bincount(blocks[side], minlength=_BLOCKS).min() < 2 for side in (window, ~window)):
        return None
    return _judged(_Columns.of(rows, frozenset(categories)), window, own, blocks)


def _judged(
    columns: _Columns, window: NDArray[np.bool_], own: NDArray[Any], blocks: NDArray[np.intp]
) -> ClassifierTest:
    order, scores, squares, total = [], [], 0.0, 0.0
    credit = {"trees": 0.0, "linear": 0.0}
    for block in range(1, _BLOCKS):
        seen, held = blocks < block, np.flatnonzero(blocks == block)
        rules = {"trees": columns.trees(seen, window[seen]), "linear": columns.linear(seen, window[seen])}
        trusted = [name for name in rules if credit[name] == max(credit.values())]
        rule = _sum([rules[name] for name in trusted])
        ranks = _ranks(rule(columns.rows[held]))
        for name in rules:
            credit[name] += _gap(_ranks(rules[name](columns.rows[held])), window[held])
        weight = len(held) / len(window)
        sizes = window[held].sum(), (~window[held]).sum()
        total += weight * _gap(ranks, window[held])
        squares += weight**2 * float(ranks.var(ddof=1)) * (1 / sizes[0] + 1 / sizes[1])
        order.append(held)
        scores.append(ranks)
    share = sum(map(len, order)) / len(window)
    places = np.concatenate(order)
    return ClassifierTest(
        apart=total / share,
        error=float(np.sqrt(squares)) / share,
        scores=np.concatenate(scores),
        window=window[places],
        groups=own[places],
        rows=columns.rows[order[-1]],
        rule=rule,
    )


@dataclass(frozen=True)
class _Columns:
    """Rows for both rules, encoded without a look at which side they are of."""

    rows: Floats
    categories: tuple[int, ...]
    sorted: tuple[Floats, ...]

    @classmethod
    def of(cls, rows: Floats, categories: frozenset[int]) -> _Columns:
        coded = rows.copy()
        for place in categories:
            coded[:, place] = _commonest(rows[:, place])
        return cls(coded, tuple(sorted(categories)), tuple(np.sort(_known(column)) for column in coded.T))

    def trees(self, seen: NDArray[np.bool_], window: NDArray[np.bool_]) -> Rule:
        """Fit boosted trees."""
        model = BoostedTrees().fit(self._binned(self.rows[seen]), window)
        return lambda rows: model.score(self._binned(rows))

    def _binned(self, rows: Floats) -> Codes:
        """Return the bin of each value: among all rows' quantiles, or the category's number; 0 where it is missing."""
        found = np.zeros(rows.shape, dtype=np.uint8)
        for place, known in enumerate(self.sorted):
            if place in self.categories:
                found[:, place] = np.nan_to_num(rows[:, place] + 1)
            elif len(known):
                cuts = known[(np.arange(1, BINS - 1) * (len(known) / (BINS - 1))).astype(np.intp)]
                bins = 1 + np.searchsorted(np.unique(cuts), rows[:, place], "right")
                found[:, place] = np.where(np.isnan(rows[:, place]), 0, bins)
        return found

    def linear(self, seen: NDArray[np.bool_], window: NDArray[np.bool_]) -> Rule:
        """Fit Fisher's linear discriminant on normal scores: many columns that each move a little move together."""
        design = self._design(self.rows[seen])
        sides = np.where(window, 1 / window.sum(), -1 / (~window).sum())
        centred = design - design.mean(axis=0)
        around = centred.T @ centred / len(design) + _RIDGE * len(design.T) / len(design) * np.eye(
            design.shape[1]
        )
        weights = np.linalg.solve(around, centred.T @ sides)
        return lambda rows: self._design(rows) @ weights

    def _design(self, rows: Floats) -> Floats:
        """Return normal scores of the numbers, and each common category and missing value as a column."""
        found = []
        for place, known in enumerate(self.sorted):
            column = rows[:, place]
            missing = np.isnan(column)
            if place in self.categories:
                found += [column == code for code in range(min(_CODES, int(known[-1:].sum()) + 1))]
            elif len(known):
                middle = np.searchsorted(known, column, "left") + np.searchsorted(known, column, "right")
                found.append(np.where(missing, 0.0, ndtri((middle / 2 + 0.5) / (len(known) + 1))))
            if len(known) < len(self.rows):
                found.append(missing)
        return np.column_stack([*found, np.zeros(len(rows))]).astype(np.float64)


def _dealt(
    groups: NDArray[Any], window: NDArray[np.bool_], generator: np.random.Generator
) -> NDArray[np.intp]:
    """Deal groups into blocks, those of the second sample first, so that each block has as many of both."""
    _, codes = np.unique(groups, return_inverse=True)
    count = int(codes.max()) + 1
    shuffled = generator.permutation(count)
    ours = np.bincount(codes[window], minlength=count) > 0
    dealt = np.empty(count, dtype=np.intp)
    for side in (ours, ~ours):
        some = shuffled[side[shuffled]]
        dealt[some] = np.arange(len(some)) % _BLOCKS
    found: NDArray[np.intp] = dealt[codes]
    return found


def _commonest(column: Floats) -> Floats:
    """Number the commonest values of a column; the others share a number."""
    names, codes, counts = np.unique(_known(column), return_inverse=True, return_counts=True)
    place = np.empty(len(names))
    place[np.argsort(-counts, kind="stable")] = np.arange(len(names))
    found = np.full(len(column), np.nan)
    found[~np.isnan(column)] = np.minimum(place[codes], _CODES)
    return found


def _known(column: Floats) -> Floats:
    return column[~np.isnan(column)]


def _sum(rules: Sequence[Rule]) -> Rule:
    return (
        rules[0] if len(rules) == 1 else lambda rows: sum((_ranks(rule(rows)) for rule in rules), np.zeros(1))
    )


def _ranks(scores: Floats) -> Floats:
    """Return scores of unit variance that depend on the order alone."""
    _, codes, counts = np.unique(scores, return_inverse=True, return_counts=True)
    middle = (np.cumsum(counts) - counts / 2) / len(scores)
    found: Floats = logit(middle)[codes] * (math.sqrt(3) / math.pi)
    return found


def _gap(ranks: Floats, window: NDArray[np.bool_]) -> float:
    """Return by how much the scores of the second sample are larger."""
    return float(ranks[window].mean() - ranks[~window].mean())
