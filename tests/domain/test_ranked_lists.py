"""Metrics of ranked lists against scikit-learn and against counting by hand."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import permutations
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import ndcg_score

from evermodel.stats import ranked_lists
from evermodel.stats.bootstrap import side_by_side
from evermodel.stats.clusters import Clusters
from evermodel.stats.metrics import Metric


def lists(seed: int, ties: bool = False) -> tuple[Any, Any, list[Any]]:
    """Rows of lists of 2 to 12 rows in mixed order, and the rows of each list."""
    generator = np.random.default_rng(seed)
    names = np.repeat(np.arange(30), generator.integers(2, 13, 30))
    generator.shuffle(names)
    relevance = generator.integers(0, 4, len(names)) * (names % 7 > 0)
    scores = generator.integers(0, 3, len(names)) / 1.0 if ties else generator.normal(size=len(names))
    labels = ranked_lists.pairs(relevance, names.astype(str))
    return labels, scores, [np.flatnonzero(names == name) for name in range(30)]


def value(prepare: Callable[..., Any], labels: Any, scores: Any) -> float:
    return float(prepare(labels, scores)(np.ones((1, len(labels))))[0])


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("k", [1, 3, 20])
def test_ndcg_is_that_of_scikit_learn(k: int, ties: bool) -> None:
    labels, scores, rows = lists(k, ties)
    by_hand = [ndcg_score([labels[r, 0]], [scores[r]], k=k) for r in rows]
    assert value(partial(ranked_lists.ndcg, k=k), labels, scores) == pytest.approx(
        np.mean(by_hand), abs=1e-12
    )


def _at_k(relevant: Any, k: int) -> tuple[float, float, float]:
    found = relevant[:k].sum()
    first = 1 / (1 + relevant.argmax()) if relevant.any() else 0.0
    return found / k, found / max(relevant.sum(), 1), first


@pytest.mark.parametrize("k", [1, 3])
def test_precision_recall_and_reciprocal_rank_are_those_of_counting(k: int) -> None:
    labels, scores, rows = lists(7)
    by_hand = np.mean([_at_k(labels[r[np.argsort(-scores[r])], 0] > 0, k) for r in rows], axis=0)
    found = [
        value(partial(ranked_lists.precision_at_k, k=k), labels, scores),
        value(partial(ranked_lists.recall_at_k, k=k), labels, scores),
        value(ranked_lists.mrr, labels, scores),
    ]
    np.testing.assert_allclose(found, by_hand, atol=1e-12)


def test_ties_count_as_the_mean_over_their_orders() -> None:
    relevance, scores = np.array([0, 1, 0, 2, 0]), np.array([9.0, 5.0, 5.0, 5.0, 1.0])
    labels = ranked_lists.pairs(relevance, np.array(["a"] * 5))
    orders = [[0, *order, 4] for order in permutations([1, 2, 3])]
    by_hand = np.mean([_at_k(relevance[order] > 0, 2) for order in orders], axis=0)
    found = [
        value(partial(ranked_lists.precision_at_k, k=2), labels, scores),
        value(partial(ranked_lists.recall_at_k, k=2), labels, scores),
        value(ranked_lists.mrr, labels, scores),
    ]
    np.testing.assert_allclose(found, by_hand, atol=1e-12)


def test_a_group_is_drawn_whole_and_a_constant_is_a_random_order() -> None:
    labels, scores, rows = lists(3)
    metric = Metric("ndcg", True, partial(ranked_lists.ndcg, k=5))
    weights = np.zeros((1, len(labels)))
    for chosen, times in ((4, 2), (9, 1)):
        weights[0, rows[chosen]] = times
    of_each = [metric(labels[r], scores[r]) for r in rows]
    assert metric.prepare(labels, scores)(weights)[0] == pytest.approx((2 * of_each[4] + of_each[9]) / 3)

    shuffled = [metric(labels, np.random.default_rng(n).normal(size=len(labels))) for n in range(200)]
    assert metric(labels, np.zeros(len(labels))) == pytest.approx(np.mean(shuffled), abs=0.01)


def test_the_interval_is_that_of_a_bootstrap_of_groups() -> None:
    labels, scores, _ = lists(5)
    metric = Metric("mrr", True, ranked_lists.mrr)
    groups = Clusters.of(labels[:, 1])
    (measured,) = side_by_side(
        [metric], labels, scores, None, confidence=0.9, resamples=2000, seed=0, clusters=groups
    )
    of_each = np.array(
        [metric(labels[groups.codes == n], scores[groups.codes == n]) for n in range(groups.count)]
    )
    error = of_each.std(ddof=1) / np.sqrt(groups.count)
    assert (measured.own.high - measured.own.low) == pytest.approx(2 * 1.7 * error, rel=0.1)


def test_a_sample_takes_whole_groups_whatever_their_order() -> None:
    labels, _, rows = lists(1)
    kept = ranked_lists.whole_groups(labels, 60, seed=0)
    assert 40 <= len(kept) <= 60
    assert {len(set(r) & set(kept)) / len(r) for r in map(list, rows)} == {0.0, 1.0}


def test_groups_of_the_same_name_meet_across_tables() -> None:
    one, other = (ranked_lists.pairs(np.zeros(2), np.array(names)) for names in (["a", "b"], ["b", "c"]))
    assert one[1, 1] == other[0, 1] != other[1, 1] != one[0, 1]
