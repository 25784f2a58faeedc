"""Means of days that depend on the day before, and the variance of series whose level moves."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import stdtr

from evermodel.stats.serial import serial_effect
from evermodel.stats.successive import joint_freedom, successive_variance

TRIALS = 1200


def _wandering(generator: np.random.Generator, days: int, correlation: float) -> np.ndarray:
    values = generator.normal(size=(TRIALS, days))
    for day in range(1, days):
        values[:, day] = correlation * values[:, day - 1] + np.sqrt(1 - correlation**2) * values[:, day]
    return values


def _alarms(before: int, after: int, correlation: float, moved: float = 0.0) -> tuple[float, float]:
    """Return the share of p-values at or under 1 %, and that of a test that takes days for independent."""
    generator = np.random.default_rng((before, after, int(100 * correlation)))
    sides = _wandering(generator, before, correlation), _wandering(generator, after, correlation) + moved
    found = [0, 0]
    for one, other in zip(*sides, strict=True):
        squares = ((one - one.mean()) ** 2).sum() + ((other - other.mean()) ** 2).sum()
        freedom = before + after - 2
        error = np.sqrt(squares / freedom * (1 / before + 1 / after))
        apart = abs(other.mean() - one.mean()) / error
        serial = serial_effect(one, other)
        if serial.freedom > 1:
            found[0] += 2 * stdtr(serial.freedom, -apart / np.sqrt(serial.inflation)) <= 0.01
        found[1] += 2 * stdtr(freedom, -apart) <= 0.01
    return found[0] / TRIALS, found[1] / TRIALS


@pytest.mark.parametrize("correlation", [0.0, 0.5, 0.8])
def test_a_month_against_a_week_of_days_that_wander_holds_the_rate(correlation: float) -> None:
    ours, naive = _alarms(28, 7, correlation)

    assert ours <= 0.02  # 1 %, and three standard errors of this many trials
    assert correlation == 0 or naive > 0.08


def test_independent_days_keep_most_of_the_power() -> None:
    ours, naive = _alarms(28, 7, 0.0, moved=2.5)
    assert ours > 0.9 * naive > 0.8


def test_series_too_short_or_constant_say_so() -> None:
    assert serial_effect(np.ones(1), np.ones(1)).freedom == 0
    constant = serial_effect(np.ones(5), np.ones(5))
    assert (constant.inflation, constant.freedom) == (1.0, 8.0)
    assert serial_effect(np.arange(7.0), np.arange(7.0)).freedom < 1  # a trend tells nothing of its days


def test_a_break_counts_once_in_successive_differences() -> None:
    noise = 0.01 * np.random.default_rng(0).normal(size=12)
    broken = noise + np.repeat([0.0, 0.1], 6)
    calm, moved = successive_variance(noise), successive_variance(broken)
    assert calm is not None
    assert moved is not None
    assert moved.variance - calm.variance < 0.4 * broken.var()  # usual variance: all of it
    assert successive_variance([]) is None
    assert joint_freedom([1.0, 0.0], [5.0, 3.0]) == 5.0
    assert joint_freedom([0.0], [5.0]) == float("inf")
