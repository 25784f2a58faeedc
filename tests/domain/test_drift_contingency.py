from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import chi2, chi2_contingency, hypergeom

from evermodel.monitoring.drift.two_sample import combine
from evermodel.stats.contingency import Contingency, gamma_tail, parts_of_rows, quadratic_tail


def _table(before: list[float], now: list[float]) -> Contingency:
    return Contingency.of(np.array(before, dtype=np.float64), np.array(now, dtype=np.float64))


@pytest.mark.parametrize(("total", "mine"), [(30, 9), (3, 3), (1, 0), (700, 60), (5, 2)])
def test_a_part_of_the_rows_is_tested_by_its_hypergeometric_distribution(total: int, mine: int) -> None:
    chance = hypergeom(1100, total, 100)
    tails = min(chance.cdf(mine - 1), chance.sf(mine))
    by_hand = min(1.0, 2 * tails + chance.pmf(mine))

    found = parts_of_rows(np.array([float(total)]), np.array([float(mine)]), 100, 1100)[0]

    assert found == pytest.approx(by_hand, rel=0.05 if total == 700 else 1e-9)


def test_with_large_counts_the_omnibus_test_is_the_likelihood_ratio_of_a_contingency_table() -> None:
    before, now = [4000.0, 3500, 2500, 900], [430.0, 370, 230, 120]

    peer = chi2_contingency(np.array([before, now]), lambda_="log-likelihood").pvalue

    assert _table(before, now).omnibus() == pytest.approx(peer, rel=0.02)
    assert 0.001 < peer < 0.1


def test_with_rare_categories_the_omnibus_test_agrees_with_rows_dealt_at_random() -> None:
    generator = np.random.default_rng(4)
    totals = np.concatenate([generator.integers(1, 4, 120), [60, 90]])
    dealt = generator.multivariate_hypergeometric(totals, 80, size=2500).astype(float)
    p_values = np.array([Contingency(totals - now, now).omnibus() for now in dealt])

    # Given the totals, the statistic takes few values: its steps show at small levels.
    for level, error in ((0.2, 0.15), (0.05, 0.25), (0.01, 0.6)):
        assert (p_values <= level).mean() == pytest.approx(level, rel=error)


@pytest.mark.parametrize("rows", [(56_000, 7_000), (3_000, 3_000)])
def test_values_that_all_occur_once_say_nothing(rows: tuple[int, int]) -> None:
    alone = _table([*[1.0] * rows[0], *[0.0] * rows[1]], [*[0.0] * rows[0], *[1.0] * rows[1]])

    assert [alone.omnibus(), alone.largest_cell(), alone.trend(np.log(alone.totals))] == [1.0, 1.0, 1.0]


def test_the_average_over_all_ways_to_deal_is_exact() -> None:
    table = _table([8, 3, 0], [1, 1, 2])
    found = table.average(lambda before, now: now**2 + 0 * before)

    exact = sum(hypergeom(15, total, 4).var() + hypergeom(15, total, 4).mean() ** 2 for total in table.totals)
    assert found == pytest.approx(exact)


def test_the_cell_that_stands_out_is_found_among_a_thousand_that_could_not() -> None:
    before, now = np.ones(1000), np.ones(1000)
    before[0], now[0] = 1, 25

    assert Contingency.of(before, now).largest_cell() < 1e-5
    assert Contingency.of(np.ones(1000), np.ones(1000)).largest_cell() == 1


def test_a_trend_over_the_cells_is_found() -> None:
    table = _table([100.0] * 5, [30, 25, 20, 15, 10])

    assert table.trend(np.arange(5.0)) < 0.002
    assert table.trend(np.array([1.0, -1, 0, -1, 1])) > 0.5
    assert table.trend(np.ones(5)) == 1


@pytest.mark.parametrize("degrees", [1, 4, 40])
def test_tails_are_those_of_chi_square(degrees: int) -> None:
    for level in (0.2, 0.01, 1e-5, 1e-12):
        point = chi2.isf(level, degrees)
        assert gamma_tail(point, degrees, 2 * degrees, 8 * degrees) == pytest.approx(level, rel=1e-6)
        assert quadratic_tail(point, np.ones(degrees)) == pytest.approx(level, rel=0.09)


@pytest.mark.parametrize(("point", "level"), [(1.933, 0.1), (2.492, 0.05), (3.878, 0.01), (5.97, 0.001)])
def test_the_tail_of_anderson_and_darling_is_that_of_the_tables(point: float, level: float) -> None:
    steps = np.arange(1, 2000)

    assert quadratic_tail(point, 1 / (steps * (steps + 1))) == pytest.approx(level, rel=0.08)


def test_p_values_of_one_comparison_are_combined_by_weight() -> None:
    assert combine([]) == 1
    assert combine([(2.0, 1e-4)]) == pytest.approx(1e-4)
    assert combine([(1, 1e-6), (3, 0.5)]) == pytest.approx(4e-6, rel=1e-3)
    assert combine([(1, 1e-30), (1, 1.0)]) == pytest.approx(2e-30, rel=1e-3)
    assert combine([(1, 1.0), (1, 0.003)]) < 0.01
    assert combine([(1, 1.0), (1, 1.0)]) > 0.9
