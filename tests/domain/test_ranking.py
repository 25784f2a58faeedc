from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evermodel.stats import bootstrap
from evermodel.stats.bootstrap import side_by_side
from evermodel.stats.metrics import METRICS

ROWS = st.lists(
    st.tuples(
        st.integers(0, 1),
        st.one_of(st.sampled_from([0.0, 0.25, 0.5, 1.0]), st.floats(0, 1)),
        st.one_of(st.sampled_from([0.0, 0.25, 1.0]), st.floats(0, 1)),
    ),
    min_size=2,
    max_size=30,
)


def _pairs_won(labels: np.ndarray, scores: np.ndarray) -> float:
    """Area under the ROC curve by looking at every pair."""
    up, down = scores[labels == 1], scores[labels == 0]
    if not len(up) or not len(down):
        return float("nan")
    return float(((up[:, None] > down) + 0.5 * (up[:, None] == down)).mean())


def _precision_at_each_step(labels: np.ndarray, scores: np.ndarray) -> float:
    if not labels.sum():
        return float("nan")
    value, before = 0.0, 0.0
    for cut in np.unique(scores)[::-1]:
        chosen = labels[scores >= cut]
        recall = chosen.sum() / labels.sum()
        value, before = value + (recall - before) * chosen.mean(), recall
    return value


@pytest.mark.parametrize(
    ("name", "slow"), [("roc_auc", _pairs_won), ("average_precision", _precision_at_each_step)]
)
@given(rows=ROWS, seed=st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None)
def test_weights_mean_the_same_as_repeated_rows(name: str, slow: Any, rows: list[Any], seed: int) -> None:
    labels, scores, _ = (np.array(part) for part in zip(*rows, strict=True))
    drawn = np.random.default_rng(seed).integers(0, len(labels), size=(4, len(labels)))
    weights = np.stack([np.bincount(draw, minlength=len(labels)) for draw in drawn]).astype(np.int32)

    fast = METRICS[name].prepare(labels, scores)(weights)

    assert fast == pytest.approx([slow(labels[d], scores[d]) for d in drawn], abs=1e-12, nan_ok=True)


@given(rows=ROWS, seed=st.integers(0, 1000))
@settings(max_examples=25, deadline=None)
def test_the_paired_interval_is_that_of_drawing_rows_one_by_one(rows: list[Any], seed: int) -> None:
    labels, one, other = (np.array(part) for part in zip(*[*rows, (0, 0.5, 0.1), (1, 0.4, 0.6)], strict=True))
    generator, gains = np.random.default_rng(seed), []
    for _ in range(200):
        drawn = generator.integers(0, len(labels), size=len(labels))
        gains.append(_pairs_won(labels[drawn], one[drawn]) - _pairs_won(labels[drawn], other[drawn]))

    gain = side_by_side([METRICS["roc_auc"]], labels, one, other, confidence=0.9, resamples=200, seed=seed)[
        0
    ].gain

    assert gain is not None
    expected = np.nanquantile(gains, [0.05, 0.95], method="weibull")
    assert (gain.low, gain.high) == pytest.approx(tuple(expected), abs=1e-12)


def test_memory_does_not_grow_with_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[int, ...]] = []
    metric = METRICS["brier"]

    def prepare(labels: np.ndarray, scores: np.ndarray) -> Any:
        inner = metric.prepare(labels, scores)
        return lambda weights: (seen.append(weights.shape), inner(weights))[1]

    watched = type(metric)("watched", False, prepare)
    labels = np.arange(3000) % 2
    side_by_side([watched], labels, labels * 0.5, None, confidence=0.95, resamples=500, seed=0)

    assert max(rows * columns for rows, columns in seen) <= bootstrap._CELLS
    assert sum(rows for rows, _ in seen[1:]) == 500


def test_metrics_measured_together_are_those_measured_alone() -> None:
    generator = np.random.default_rng(3)
    labels = generator.integers(0, 2, 200)
    one, other = generator.random((2, 200))
    draws: dict[str, Any] = {"confidence": 0.95, "resamples": 200, "seed": 5}

    together = side_by_side([METRICS["roc_auc"], METRICS["brier"]], labels, one, other, **draws)

    for found in together:
        assert found == side_by_side([found.metric], labels, one, other, **draws)[0]
