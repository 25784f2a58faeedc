from __future__ import annotations

import numpy as np
import pytest

from evermodel.stats import bootstrap
from evermodel.stats.bootstrap import metric_interval, paired_gain
from evermodel.stats.metrics import METRICS

DRAWS = {"confidence": 0.95, "resamples": 300, "seed": 7}


def _rows(count: int = 400) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    generator = np.random.default_rng(1)
    labels = generator.integers(0, 2, count)
    one, other = (np.clip(0.3 * labels + generator.random(count) * 0.7, 0, 1) for _ in range(2))
    return labels, one, other


def test_one_seed_gives_one_interval_and_another_seed_another() -> None:
    labels, one, other = _rows()

    first = paired_gain(METRICS["roc_auc"], labels, one, other, **DRAWS)

    assert paired_gain(METRICS["roc_auc"], labels, one, other, **DRAWS) == first
    assert paired_gain(METRICS["roc_auc"], labels, one, other, **{**DRAWS, "seed": 8}) != first


def test_the_interval_does_not_depend_on_how_many_resamples_fit_in_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    labels, one, _ = _rows()
    whole = metric_interval(METRICS["roc_auc"], labels, one, **DRAWS)

    monkeypatch.setattr(bootstrap, "_CELLS", 7 * len(labels))

    assert metric_interval(METRICS["roc_auc"], labels, one, **DRAWS) == whole


def test_two_equal_models_gain_exactly_nothing() -> None:
    labels, one, _ = _rows()

    gain = paired_gain(METRICS["average_precision"], labels, one, one.copy(), **DRAWS)

    assert (gain.value, gain.low, gain.high) == (0, 0, 0)


def test_the_paired_interval_of_a_mean_is_that_of_normal_theory() -> None:
    labels, one, other = _rows(2000)
    difference = (other - labels) ** 2 - (one - labels) ** 2

    gain = paired_gain(METRICS["brier"], labels, one, other, confidence=0.9, resamples=4000, seed=0)

    assert gain.value == pytest.approx(difference.mean())
    half = 1.645 * difference.std() / np.sqrt(2000)
    assert (gain.high - gain.low) / 2 == pytest.approx(half, rel=0.05)


def test_resamples_without_a_positive_row_are_left_out() -> None:
    labels = np.array([1, *[0] * 19])

    interval = metric_interval(METRICS["roc_auc"], labels, np.linspace(1, 0, 20), **DRAWS)

    assert (interval.low, interval.high) == (1, 1)
