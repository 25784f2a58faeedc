"""Before a history exists, days and clusters are the draws of a drift test, where rows of them belong together."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from evermodel.monitoring.drift.by_day import clustered_p_value
from evermodel.monitoring.drift.reference_and_current import ExactRows
from support.drift_rows import drift_spec, judge, table

DAYS, WINDOW, PER_DAY = 56, 7, 40


def _side(values: Any, days: Any, **more: Any) -> ExactRows:
    return ExactRows(table({"x": values, **more}, days), frozenset(["x"]), "at")


def _wandering(seed: int, moved: float = 0.0, spread: float = 0.5) -> tuple[ExactRows, ExactRows]:
    """Days whose mean depends on the day before (correlation .8), and a week after them."""
    draw = np.random.default_rng(seed)
    means = draw.normal(size=DAYS + WINDOW)
    for day in range(1, len(means)):
        means[day] = 0.8 * means[day - 1] + 0.6 * means[day]
    days = np.repeat(np.arange(len(means)), PER_DAY)
    values = spread * means[days] + draw.normal(size=len(days)) + moved * (days >= DAYS)
    old = days < DAYS
    return _side(values[old], days[old]), _side(values[~old], days[~old])


def test_days_that_wander_hold_the_rate_and_a_large_shift_is_found() -> None:
    calm = [clustered_p_value(*_wandering(seed), "x") for seed in range(150)]
    moved = [clustered_p_value(*_wandering(seed, moved=2.5), "x") for seed in range(20)]

    assert sum(p is not None and p <= 0.05 for p in calm) <= 15  # 7.5 expected; row by row it is half of them
    assert sum(p is not None and p <= 0.05 for p in moved) >= 17


def test_customers_are_draws_where_the_spec_says_so() -> None:
    draw, found = np.random.default_rng(3), []
    for _ in range(100):
        sides = []
        for customers in (120, 30):
            own = np.repeat(np.arange(customers), 20)
            values = draw.normal(size=customers)[own] + draw.normal(size=len(own))
            sides.append(_side(values, draw.integers(0, 50, len(own)), who=pa.array(own.astype(str))))
        found.append([clustered_p_value(*sides, "x", cluster) for cluster in ("who", "")])
    by_customer, by_day = (np.array(p, dtype=float) for p in zip(*found, strict=True))
    assert (by_customer <= 0.05).sum() <= 12
    assert (by_day <= 0.05).sum() > 15


@pytest.mark.parametrize("change", ["place", "spread", "missing", "category"])
def test_each_kind_of_change_of_independent_rows_is_found(change: str) -> None:
    draw = np.random.default_rng(1)
    days = np.repeat(np.arange(DAYS + WINDOW), PER_DAY)
    late, values = days >= DAYS, draw.normal(size=len(days))
    if change == "place":
        values = values + 0.5 * late
    if change == "spread":
        values = values * (1 + 0.7 * late)
    if change == "missing":
        values = np.where(late & (draw.random(len(days)) < 0.2), np.nan, values)
    column: Any = values
    if change == "category":
        column = np.where(draw.random(len(days)) < 0.3 + 0.3 * late, "a", "b")
    numeric = frozenset(["x"] if change != "category" else [])
    sides = [
        ExactRows(table({"x": column[part], "y": days[part]}, days[part]), numeric, "at")
        for part in (~late, late)
    ]

    found = clustered_p_value(*sides, "x")

    assert found is not None
    assert found < 0.001


def test_sides_without_days_are_not_compared_by_day_and_far_values_need_no_test() -> None:
    one_day = _side(np.zeros(50), 0)
    without = ExactRows(pa.table({"x": np.arange(50.0)}), frozenset(["x"]))
    assert clustered_p_value(one_day, without, "x") is None
    assert clustered_p_value(one_day, one_day, "x") is None
    draw = np.random.default_rng(0)
    trend = np.repeat(np.linspace(0, 1, DAYS), PER_DAY)
    old = _side(trend + 0.1 * draw.normal(size=len(trend)), np.repeat(np.arange(DAYS), PER_DAY))
    assert clustered_p_value(old, _side(np.full(PER_DAY, 60.0), DAYS), "x") == 0.0
    near = clustered_p_value(old, _side(np.full(PER_DAY, 1.05), DAYS), "x")
    assert near is not None
    assert near > 0.01


def test_the_verdict_counts_days_or_rows_as_the_spec_says() -> None:
    draw = np.random.default_rng(8)
    training = table({"x": draw.normal(size=3000)}, np.repeat(np.arange(60), 50))
    later = np.repeat(np.arange(60, 67), 50)
    window = table({"x": draw.normal(0.6, 1, 350)}, later).rename_columns(["x", "event_time"])

    (by_day,), (by_row,) = (
        judge(drift_spec(["x"], window="7d", sections=sections), training, window)
        for sections in ({"cluster": "day"}, {})
    )

    assert (by_day.severity, by_row.severity) == ("warning", "critical")  # a rule warns at most
    assert by_day.by_rule
    assert by_row.p_value < by_day.p_value < 1e-4
