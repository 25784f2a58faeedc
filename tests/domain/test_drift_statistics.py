from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evermodel.drift.statistics import natural_variation, psi, two_sample_p_value

COUNTS = st.lists(st.tuples(st.integers(0, 500), st.integers(0, 500)), min_size=1, max_size=12)


def _counts(*values: float) -> np.ndarray:
    return np.array(values, dtype=np.float64)


def test_the_index_of_a_known_case_is_that_of_a_hand_computation() -> None:
    # 60/40 against 30/70 with half a row more in each bin: shares 60.5/101 and 40.5/101, 30.5/101 and 70.5/101.
    p, q = (60.5 / 101, 40.5 / 101), (30.5 / 101, 70.5 / 101)
    by_hand = (q[0] - p[0]) * math.log(q[0] / p[0]) + (q[1] - p[1]) * math.log(q[1] / p[1])

    assert psi(_counts(60, 40), _counts(30, 70)) == pytest.approx(by_hand, abs=1e-12)
    assert by_hand == pytest.approx(0.3681, abs=1e-4)


@given(COUNTS)
def test_the_index_is_finite_symmetric_and_never_negative(pairs: list[tuple[int, int]]) -> None:
    before, now = (_counts(*side) for side in zip(*pairs, strict=True))

    index = psi(before, now)

    assert math.isfinite(index)
    assert index >= 0
    assert psi(now, before) == pytest.approx(index, abs=1e-12)
    # A bin that is empty on both sides says nothing.
    assert psi(np.append(before, 0), np.append(now, 0)) == pytest.approx(index, abs=1e-12)


@given(COUNTS)
def test_the_p_value_is_a_probability_whatever_the_counts(pairs: list[tuple[int, int]]) -> None:
    before, now = (_counts(*side) for side in zip(*pairs, strict=True))

    assert 0 <= two_sample_p_value(before, now) <= 1


def test_the_p_value_is_that_of_a_contingency_table() -> None:
    from scipy.stats import chi2_contingency

    before, now = _counts(400, 350, 250), _counts(40, 20, 40)

    peer = chi2_contingency(np.stack([before, now]), correction=False).pvalue
    assert two_sample_p_value(before, now) == pytest.approx(peer)


def test_rare_bins_are_pooled_before_they_are_tested() -> None:
    common, rare = [500.0, 480.0], [2.0] * 20

    p_value = two_sample_p_value(_counts(*common, *rare), _counts(50, 48, *[0.0] * 20))

    assert p_value == pytest.approx(two_sample_p_value(_counts(*common, 40), _counts(50, 48, 0)))


@pytest.mark.parametrize("window", [_counts(0, 0), _counts(0, 3)])
def test_too_few_rows_are_no_evidence(window: np.ndarray) -> None:
    assert two_sample_p_value(_counts(50, 50), window) > 0.1
    assert two_sample_p_value(window, _counts(0, 0)) == 1


def test_natural_variation_is_the_largest_index_of_any_stretch() -> None:
    days = np.tile(_counts(50, 50), (21, 1))
    assert natural_variation(days, 7) == pytest.approx(0, abs=1e-12)
    days[3:10] = _counts(80, 20)

    found = natural_variation(days, 7)

    assert found == pytest.approx(psi(_counts(700, 700), _counts(560, 140)))


def test_natural_variation_takes_no_short_reference_and_skips_days_without_rows() -> None:
    days = np.tile(_counts(50, 50), (20, 1))
    days[0] = _counts(100, 0)
    assert natural_variation(days, 7) == 0
    gap = np.vstack([np.tile(_counts(5, 5), (10, 1)), np.zeros((20, 2)), np.tile(_counts(5, 5), (10, 1))])
    assert natural_variation(gap, 7) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("window", [100, 1_000])
@pytest.mark.parametrize("reference", [1_000, 5_000])
@pytest.mark.parametrize("categories", [2, 10, 50])
def test_without_drift_the_p_value_is_below_a_level_no_more_often_than_that(
    categories: int, reference: int, window: int
) -> None:
    generator = np.random.default_rng(categories + reference + window)
    shares = 1 / np.arange(1, categories + 1)
    shares /= shares.sum()
    before = generator.multinomial(reference, shares, size=1500).astype(float)
    now = generator.multinomial(window, shares, size=1500).astype(float)

    found = np.array([two_sample_p_value(b, n) for b, n in zip(before, now, strict=True)])

    for level in (0.01, 0.05):
        share = (found < level).mean()
        assert share <= level + 3.5 * math.sqrt(level * (1 - level) / 1500)
