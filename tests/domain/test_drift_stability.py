from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evermodel.stats.stability import stability

COUNTS = st.lists(st.tuples(st.integers(0, 500), st.integers(0, 500)), min_size=1, max_size=12)


def _counts(*values: float) -> np.ndarray:
    return np.array(values, dtype=np.float64)


def _index(p: np.ndarray, q: np.ndarray) -> float:
    return float(((q - p) * np.log(q / p)).sum())


def test_of_many_rows_the_index_is_that_of_the_shares() -> None:
    found = stability(_counts(6e6, 4e6), _counts(3e6, 7e6))

    by_hand = (0.3 - 0.6) * math.log(0.3 / 0.6) + (0.7 - 0.4) * math.log(0.7 / 0.4)
    assert found.psi == pytest.approx(by_hand, abs=1e-5)
    assert found.high - found.low < 0.01 * by_hand


@given(COUNTS)
def test_the_index_is_finite_within_its_interval_and_symmetric(pairs: list[tuple[int, int]]) -> None:
    before, now = (_counts(*side) for side in zip(*pairs, strict=True))

    found = stability(before, now)

    assert 0 <= found.low <= found.psi <= found.high < math.inf
    assert stability(now, before).psi == pytest.approx(found.psi, abs=1e-6)
    # A bin that is empty on both sides says nothing.
    assert stability(np.append(before, 0), np.append(now, 0)) == found


@pytest.mark.parametrize("window", [_counts(0, 0), _counts(0, 1)])
def test_too_few_rows_have_no_index(window: np.ndarray) -> None:
    assert stability(_counts(50, 50), window).low == 0
    assert stability(window, _counts(0, 0)).psi == 0


@pytest.mark.parametrize(
    ("bins", "reference", "window"), [(11, 1000, 150), (11, 5000, 2000), (53, 5000, 200)]
)
@pytest.mark.parametrize("tilt", [0.0, 0.3, 0.8])
def test_the_interval_holds_the_true_index_and_small_samples_do_not_raise_it(
    bins: int, reference: int, window: int, tilt: float
) -> None:
    generator = np.random.default_rng([bins, window])
    p = np.arange(1, bins + 1) ** -0.7
    p /= p.sum()
    q = p * np.exp(tilt * np.linspace(-1, 1, bins))
    q /= q.sum()
    times = 200

    found = [
        stability(before.astype(float), now.astype(float))
        for before, now in zip(
            generator.multinomial(reference, p, times), generator.multinomial(window, q, times), strict=True
        )
    ]

    covered = np.mean([one.low <= _index(p, q) <= one.high for one in found])
    assert covered >= 0.95 - 3 * math.sqrt(0.95 * 0.05 / times)
    assert np.mean([one.psi for one in found]) == pytest.approx(_index(p, q), abs=0.025)
