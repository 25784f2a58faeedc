"""The features together: changes that no column shows alone, and the rates that hold without one."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from evermodel.monitoring.drift.history import QuietHistory
from evermodel.monitoring.drift.judge import judge_window
from evermodel.monitoring.drift.verdict import ColumnDrift
from evermodel.spec.window import Window
from evermodel.stats.classifier import classifier_test
from support.drift_rows import DAY, START, drift_spec, log_day, references, table

NUMERIC = [f"n{place}" for place in range(6)]


def _rows(generator: np.random.Generator, rows: int, change: str = "") -> dict[str, Any]:
    """Numbers and a category of which the second number depends on the first as the category says."""
    values = generator.normal(size=(rows, len(NUMERIC)))
    group = generator.integers(0, 4, rows)
    way = np.where(group < 2, 1, -1) * (-1 if change == "flipped" else 1)
    values[:, 1] = way * 0.8 * values[:, 0] + 0.6 * values[:, 1]
    if change != "broken":
        values[:, 3] = 0.8 * np.abs(values[:, 2]) + 0.6 * values[:, 3]
    else:
        values[:, 3] = 0.8 * np.abs(generator.normal(size=rows)) + 0.6 * values[:, 3]
    if change == "means":
        values += 0.12
    if change == "segment":
        some = generator.random(rows) < 0.05
        values[some, 4:] = np.array([2.5, -2.5]) + 0.3 * values[some, 4:]
    return {**dict(zip(NUMERIC, values.T, strict=True)), "group": group.astype(str)}


def _judged(change: str, rows: int = 6_000, seed: int = 0, **sections: Any) -> dict[str, ColumnDrift]:
    generator = np.random.default_rng(seed)
    spec = drift_spec(NUMERIC, ["group"], window="7d", false_alarm_rate=0.01, sections=sections)
    before = table(_rows(generator, 20_000), np.arange(20_000) % 56)
    now = table(_rows(generator, rows, change), 60)
    return {c.what: c for c in judge_window(spec, references(spec, before), now) if c.severity != "none"}


@pytest.mark.parametrize(
    ("change", "columns"),
    [
        ("broken", {"n2", "n3"}),
        ("flipped", {"n0", "n1", "group"}),
        ("means", set()),
        ("segment", {"n4"}),
    ],
)
def test_what_no_column_shows_alone_is_found_and_its_columns_are_named(
    change: str, columns: set[str]
) -> None:
    found = _judged(change, 20_000 if change == "segment" else 6_000)

    assert found.keys() == {"together"}
    assert all(name in found["together"].summary for name in columns)


def test_without_a_change_there_is_no_finding_and_it_can_be_switched_off() -> None:
    assert _judged("") == {}
    assert _judged("flipped", respond={"together": "off"}) == {}


def test_the_rate_holds_for_rows_as_draws() -> None:
    generator, times = np.random.default_rng(5), 80
    found = [
        classifier_test(generator.normal(size=(90, 2)), generator.normal(size=(60, 2)), seed=time)
        for time in range(times)
    ]

    standard = np.array([test.apart / test.error for test in found if test])
    assert abs(standard.mean()) < 3 / math.sqrt(times)
    assert 0.8 < standard.std() < 1.2
    assert (standard > 1.64).mean() < 0.05 + 3 * math.sqrt(0.05 * 0.95 / times)


def test_weeks_that_differ_by_nature_raise_no_alarm_though_rows_prove_a_difference() -> None:
    generator = np.random.default_rng(6)
    spec = drift_spec(NUMERIC, [], window="7d", false_alarm_rate=0.01)
    alarms = significant = 0
    for _ in range(4):
        day = np.repeat(np.arange(63), 60)
        values = (
            generator.normal(size=(len(day), 6))
            + 0.5 * np.repeat(generator.normal(size=(9, 6)), 7, axis=0)[day]
        )
        sides = [
            table(dict(zip(NUMERIC, values[part].T, strict=True)), day[part])
            for part in (day < 56, day >= 56)
        ]
        (found,) = [
            c for c in judge_window(spec, references(spec, sides[0]), sides[1]) if c.what == "together"
        ]
        significant += found.p_value < 0.001
        alarms += found.severity != "none"

    assert significant >= 3
    assert alarms == 0


def test_rows_of_a_cluster_are_learnt_from_or_judged_together() -> None:
    generator = np.random.default_rng(7)
    own = generator.normal(size=(80, 6))
    who = np.repeat(np.arange(80), 25)
    values = own[who] + 0.3 * generator.normal(size=(len(who), 6))
    before, now = values[who < 50], values[who >= 50]

    by_row = classifier_test(before, now)
    groups = classifier_test(before, now, groups=(who[who < 50], who[who >= 50]))

    assert by_row is not None
    assert groups is not None
    assert by_row.p_value < 1e-6  # the classifier knows the customers again
    assert groups.apart < by_row.apart / 2
    assert set(groups.groups) < set(range(80))
    assert classifier_test(before, now, groups=(who[who < 50], np.zeros(len(now)))) is None


def test_the_past_raises_the_limit_to_what_is_normal(tmp_path: Any) -> None:
    generator = np.random.default_rng(8)
    numeric = NUMERIC[:3]
    spec = drift_spec(numeric, ["group"], window="1d", history={"least": 7, "span": "60d"})

    def rows(days: int, each: int) -> dict[str, Any]:
        usual = np.repeat(generator.normal(0, 0.5, days), each)
        values = generator.normal(size=(days * each, 3)) + usual[:, None]
        return {**dict(zip(numeric, values.T, strict=True)), "group": np.full(days * each, "a")}

    before = table(rows(60, 80), np.repeat(np.arange(60), 80))
    for day in range(60, 76):
        log_day(spec, tmp_path, START + day * DAY, rows(1, 120))
    end = START + 76 * DAY
    against = references(spec, before, Window(end, end + DAY), tmp_path)
    history = QuietHistory(against).learn()
    for _ in range(5):  # some windows a run
        limit = history.limit("together:all features", 1.0, 0.01)
    again = QuietHistory(against).learn().limit("together:all features", 1.0, 0.01)

    assert limit is not None
    assert again == limit  # what was measured is kept
    assert limit.windows >= 10
    assert limit.effect > 0.5


def test_names_are_the_same_numbers_on_both_sides_whatever_their_order() -> None:
    generator = np.random.default_rng(9)
    spec = drift_spec([], ["a", "b"], false_alarm_rate=0.01)
    names = np.array(["red", "green", "blue", None], dtype=object)

    def rows(count: int) -> pa.Table:
        return table({name: pa.array(names[generator.integers(0, 4, count)].tolist()) for name in ("a", "b")})

    found = judge_window(spec, references(spec, rows(3_000)), rows(3_000))
    assert {c.severity for c in found} == {"none"}
    assert any(c.what == "together" for c in found)
