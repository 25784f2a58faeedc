"""Metrics of ranked lists, as means over groups of rows, for many weightings of the same groups at once.

A label is a pair: how relevant the row is, and a code of its group. A group counts as often as its first row, so that it is
drawn whole. Rows of equal score share their places, so that a constant answer has what a random order has on average.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evermodel.stats.decisions import Weighted, mean

Floats = NDArray[np.float64]
_CODES = 2**52  # whole numbers that 64 bits hold


def pairs(relevance: NDArray[Any], groups: NDArray[Any]) -> Floats:
    """Return labels as these metrics take them; equal names of groups get equal codes, in whatever table they stand."""
    from pandas.util import hash_array

    codes = hash_array(np.asarray(groups, dtype=object), categorize=True) % _CODES
    return np.column_stack([np.asarray(relevance, dtype=np.float64), codes.astype(np.float64)])


def whole_groups(labels: Floats, rows: int, seed: int) -> NDArray[np.intp]:
    """Return the rows of randomly chosen groups, in their order: about so many."""
    _, codes = np.unique(labels[:, 1], return_inverse=True)
    order = np.random.default_rng(seed).permutation(int(codes.max()) + 1)
    sizes = np.bincount(codes)[order]
    kept = np.zeros(len(order), dtype=bool)
    kept[order[: max(1, int((np.cumsum(sizes) <= rows).sum()))]] = True
    return np.flatnonzero(kept[codes])


def ndcg(labels: Floats, scores: Floats, k: int) -> Weighted:
    """Prepare the normalized discounted cumulative gain of the first k places; 0 for a group without a relevant row.

    Järvelin, Kekäläinen: Cumulated gain-based evaluation of IR techniques, ACM TOIS 20(4), 2002, with the relevance as the
    gain, as `sklearn.metrics.ndcg_score`.
    """

    def discount(place: Floats) -> Floats:
        return np.where(place < k, 1 / np.log2(place + 2), 0.0)

    relevance = labels[:, 0]
    gained, best = (_sums(labels, order, discount, relevance) for order in (scores, relevance))
    return _mean_over_groups(labels, _share(gained, best))


def precision_at_k(labels: Floats, scores: Floats, k: int) -> Weighted:
    """Prepare the share of relevant rows among the first k places."""
    return _mean_over_groups(labels, _found(labels, scores, k) / k)


def recall_at_k(labels: Floats, scores: Floats, k: int) -> Weighted:
    """Prepare the share of a group's relevant rows that are among the first k places; 0 for a group without one."""
    relevant = _sums(labels, scores, np.ones_like, labels[:, 0] > 0)
    return _mean_over_groups(labels, _share(_found(labels, scores, k), relevant))


def mrr(labels: Floats, scores: Floats) -> Weighted:
    """Prepare the mean reciprocal rank of the first relevant row; 0 for a group without one."""
    order, starts, _ = _ordered(labels, scores)
    relevant, ends = (labels[:, 0] > 0)[order], np.append(starts[1:], len(order))
    ordered = scores[order]
    values = np.zeros(len(starts))
    for number, (start, end) in enumerate(zip(starts, ends, strict=True)):
        hits = np.flatnonzero(relevant[start:end])
        if len(hits):
            tied = np.flatnonzero(ordered[start:end] == ordered[start + hits[0]])
            values[number] = _reciprocal(int(tied[0]), len(tied), int(relevant[start:end][tied].sum()))
    return _mean_over_groups(labels, values)


def _reciprocal(before: int, tied: int, relevant: int) -> float:
    """Return the mean of 1 / rank of the first relevant row among tied ones, after so many rows, over their orders."""
    value, none_yet = 0.0, 1.0
    for place in range(tied - relevant + 1):
        value += none_yet * relevant / (tied - place) / (before + place + 1)
        none_yet *= 1 - relevant / (tied - place)
    return value


def _found(labels: Floats, scores: Floats, k: int) -> Floats:
    return _sums(labels, scores, lambda place: (place < k).astype(np.float64), labels[:, 0] > 0)


def _ordered(labels: Floats, scores: Floats) -> tuple[NDArray[np.intp], NDArray[np.intp], Floats]:
    """Return the rows by group and falling score, where each group starts, and each row's place in its group from 0."""
    order = np.lexsort((-scores, labels[:, 1]))
    groups = labels[order, 1]
    starts = np.flatnonzero(np.append(True, groups[1:] != groups[:-1]))
    sizes = np.diff(np.append(starts, len(order)))
    return order, starts, (np.arange(len(order)) - np.repeat(starts, sizes)).astype(np.float64)


def _sums(labels: Floats, scores: Floats, worth: Callable[[Floats], Floats], values: NDArray[Any]) -> Floats:
    """Return, for each group, the sum of a value of its rows times the worth of their places."""
    order, starts, places = _ordered(labels, scores)
    ordered, groups = scores[order], labels[order, 1]
    changes = (ordered[1:] != ordered[:-1]) | (groups[1:] != groups[:-1])
    block = np.concatenate([[0], np.cumsum(changes)])
    shared = np.bincount(block, worth(places)) / np.bincount(block)
    return np.asarray(np.add.reduceat(values[order] * shared[block], starts), dtype=np.float64)


def _share(part: Floats, whole: Floats) -> Floats:
    return np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)


def _mean_over_groups(labels: Floats, values: Floats) -> Weighted:
    _, first = np.unique(labels[:, 1], return_index=True)
    over_groups = mean(values)
    return lambda weights: over_groups(weights[:, first])
