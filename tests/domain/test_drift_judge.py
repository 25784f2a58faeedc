from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from evermodel.drift.judge import column_threshold, judge_columns, worst
from evermodel.drift.statistics import two_sample_p_value
from evermodel.drift.verdict import ColumnDrift, DriftVerdict
from evermodel.spec import ModelSpec
from small_spec import small_spec

DAY = 86_400_000_000
RATE = 0.05


def _spec(numeric: list[str], categorical: list[str] = [], **drift: Any) -> ModelSpec:  # noqa: B006
    return small_spec(
        features={"numeric": numeric, "categorical": categorical}, drift={"false_alarm_rate": RATE, **drift}
    )


def _table(columns: dict[str, Any], days: Any) -> pa.Table:
    rows = len(next(iter(columns.values())))
    moments = np.broadcast_to(np.asarray(days), (rows,)).astype(np.int64) * DAY
    return pa.table({**columns, "at": pa.array(moments).cast(pa.timestamp("us", tz="UTC"))})


def _sample(generator: np.random.Generator, rows: int) -> dict[str, Any]:
    """Nine independent columns: light and heavy tails, many zeros, nulls, and few to many categories."""
    values: dict[str, Any] = {
        "normal": generator.normal(size=rows),
        "heavy": generator.standard_cauchy(size=rows),
        "skewed": generator.lognormal(sigma=2, size=rows),
        "zeros": np.where(generator.random(rows) < 0.8, 0.0, generator.exponential(size=rows)),
        "counts": generator.poisson(0.7, size=rows).astype(float),
        "gaps": np.where(generator.random(rows) < 0.3, np.nan, generator.normal(size=rows)),
    }
    for categories in (2, 10, 50):
        shares = 1 / np.arange(1, categories + 1)
        values[f"c{categories}"] = generator.choice(categories, rows, p=shares / shares.sum()).astype(str)
    return values


NUMERIC = ["normal", "heavy", "skewed", "zeros", "counts", "gaps"]
CATEGORICAL = ["c2", "c10", "c50"]


@pytest.mark.parametrize(
    ("reference", "window"), [(1_000, 100), (1_000, 1_000), (5_000, 100), (5_000, 1_000)]
)
def test_without_drift_any_column_alarms_no_more_often_than_stated(reference: int, window: int) -> None:
    # Bands that any difference reaches, so that it is the test alone that holds the rate.
    spec = _spec(NUMERIC, CATEGORICAL, psi={"warning": 1e-9, "critical": 1e-9})
    generator = np.random.default_rng(reference + window)
    times = 120
    alarms, columns = 0, 0
    for _ in range(times):
        before = _table(_sample(generator, reference), 0)
        judged = judge_columns(spec, before, _table(_sample(generator, window), 0))
        alarms += worst(judged) != "none"
        columns += sum(c.severity != "none" for c in judged)

    assert alarms / times <= RATE + 3 * math.sqrt(RATE * (1 - RATE) / times)
    each = RATE / len(spec.watched)
    assert columns / times / len(spec.watched) <= each + 3 * math.sqrt(each / times / len(spec.watched))


def test_a_real_shift_is_found_and_named_first() -> None:
    generator = np.random.default_rng(1)
    before, now = _sample(generator, 3_000), _sample(generator, 400)
    now["heavy"] = now["heavy"] + 1.5
    now["c10"] = np.where(generator.random(400) < 0.2, "9", now["c10"])

    judged = judge_columns(_spec(NUMERIC, CATEGORICAL), _table(before, 0), _table(now, 0))

    assert [(c.column, c.severity) for c in judged[:2]] == [("heavy", "critical"), ("c10", "critical")]
    assert {c.severity for c in judged[2:]} == {"none"}
    assert worst(judged) == "critical"


def test_a_significant_difference_that_is_too_small_to_matter_is_no_drift() -> None:
    generator = np.random.default_rng(2)
    before, now = generator.normal(size=50_000), generator.normal(0.1, size=50_000)

    (column,) = judge_columns(_spec(["x"]), _table({"x": before}, 0), _table({"x": now}, 0))

    assert column.p_value < 1e-6
    assert column.psi < 0.1
    assert column.severity == "none"


def test_a_large_difference_of_a_few_rows_is_no_evidence() -> None:
    before = np.random.default_rng(3).normal(size=1_000)

    (column,) = judge_columns(
        _spec(["x"]), _table({"x": before}, 0), _table({"x": np.array([2.5, 0, -1])}, 0)
    )

    assert column.psi > 0.25
    assert column.severity == "none"


def _weather(generator: np.random.Generator, days: int, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows of one day resemble each other, as temperatures do; nothing else changes."""
    day = np.repeat(np.arange(days), rows)
    return np.repeat(generator.normal(size=days), rows) + 0.3 * generator.normal(size=days * rows), day


def test_days_that_differ_by_nature_raise_no_alarm_where_the_test_alone_would() -> None:
    generator = np.random.default_rng(4)
    spec = _spec(["x"], window="7d")
    alarms = significant = 0
    for _ in range(60):
        (before, days), (now, _same) = _weather(generator, 56, 40), _weather(generator, 7, 40)
        (column,) = judge_columns(spec, _table({"x": before}, days), _table({"x": now}, 60))
        significant += column.p_value < RATE and column.psi > spec.drift.psi.warning
        alarms += column.severity != "none"

    assert significant > 50
    assert alarms <= 10


def test_a_window_that_leaves_the_natural_range_is_found_all_the_same() -> None:
    generator = np.random.default_rng(5)
    (before, days), (now, _same) = _weather(generator, 56, 40), _weather(generator, 7, 40)

    (column,) = judge_columns(_spec(["x"]), _table({"x": before}, days), _table({"x": now + 6}, 60))

    assert column.natural > 0.25
    assert column_threshold(_spec(["x"]), column) == column.natural
    assert column.severity == "critical"


def _judge_one(kind: str, before: list[Any], now: list[Any]) -> ColumnDrift:
    spec = _spec(["x"], []) if kind == "numeric" else _spec([], ["x"])
    arrow = pa.float64() if kind == "numeric" else pa.string()
    columns = judge_columns(
        spec, _table({"x": pa.array(before, arrow)}, 0), _table({"x": pa.array(now, arrow)}, 0)
    )
    return columns[0]


INF, NAN = float("inf"), float("nan")


@pytest.mark.parametrize(
    ("kind", "before", "now", "severity"),
    [
        ("numeric", [5.0] * 500, [5.0] * 300, "none"),
        ("numeric", [5.0] * 500, [4.0] * 300, "critical"),
        ("numeric", [None] * 500, [None] * 300, "none"),
        ("numeric", [None] * 500, [1.0] * 300, "critical"),
        ("categorical", [None] * 500, [None] * 300, "none"),
        ("categorical", ["a"] * 500, ["a"] * 300, "none"),
        ("categorical", ["a", "b"] * 250, ["a"] * 200 + ["b"] * 200 + ["new"] * 100, "critical"),
        ("categorical", ["a", "b"] * 250, [None] * 90 + ["a", "b"] * 105, "critical"),
        ("numeric", list(map(float, range(500))), [*map(float, range(400)), *[NAN] * 200], "critical"),
        ("numeric", list(map(float, range(500))), [*map(float, range(400)), *[INF] * 200], "critical"),
        ("numeric", [*map(float, range(400)), *[INF] * 200], [*map(float, range(400)), *[INF] * 200], "none"),
        ("numeric", [*map(float, range(400)), *[-INF] * 200], [-INF] * 200, "critical"),
        ("numeric", list(map(float, range(500))), [1e9], "none"),
        ("numeric", list(map(float, range(500))), [50.0] * 300, "critical"),
        ("numeric", [1.0], [1.0], "none"),
    ],
)
def test_odd_columns_have_a_verdict(kind: str, before: list[Any], now: list[Any], severity: str) -> None:
    column = _judge_one(kind, before, now)

    assert column.severity == severity
    assert math.isfinite(column.psi)
    assert 0 <= column.p_value <= 1
    assert sum(b.window for b in column.bins) == pytest.approx(1, abs=1e-4) or len(column.bins) == 12


def test_the_summary_says_what_changed() -> None:
    numbers = [float(i) for i in range(500)]

    assert _judge_one("numeric", numbers, [None] * 200 + numbers[:200]).summary == "missing 0% → 50%"
    assert _judge_one("numeric", numbers, [400.0] * 200).summary == "median 249.5 → 400"
    assert _judge_one("categorical", ["a", "b"] * 200, ["a"] * 100 + ["c"] * 100).summary.startswith(
        ("b 50.0% → 0.0%", "never seen 0.0% → 50.0%")
    )


def test_the_number_of_watched_columns_sets_the_level_of_each() -> None:
    before = pa.array([0.0] * 500 + [1.0] * 500)
    now = pa.array([0.0] * 64 + [1.0] * 36)
    p_value = two_sample_p_value(np.array([500.0, 500]), np.array([64.0, 36]))
    assert RATE / 10 < p_value < RATE
    low = {"warning": 0.01, "critical": 10}

    alone = judge_columns(_spec(["x"], psi=low), _table({"x": before}, 0), _table({"x": now}, 0))
    names = ["x", *(f"y{i}" for i in range(9))]
    before_all = {"x": before, **{n: pa.array([0.0] * 1000) for n in names[1:]}}
    now_all = {"x": now, **{n: pa.array([0.0] * 100) for n in names[1:]}}
    among_ten = judge_columns(_spec(names, psi=low), _table(before_all, 0), _table(now_all, 0))
    only_x = judge_columns(_spec(names, psi=low, columns=["x"]), _table(before_all, 0), _table(now_all, 0))

    assert worst(alone) == "warning"
    assert worst(among_ten) == "none"
    assert [c.column for c in only_x] == ["x"]
    assert worst(only_x) == "warning"


def test_a_verdict_survives_json() -> None:
    generator = np.random.default_rng(6)
    before, now = _sample(generator, 1_000), _sample(generator, 200)
    columns = judge_columns(_spec(NUMERIC, CATEGORICAL), _table(before, 0), _table(now, 0))
    verdict = DriftVerdict(
        "m", "3", "2026-01-05", "2026-01-12", 1_000, 200, RATE, worst(columns), "why", ("x: 9% missing",),
        "roc_auc", 0.7, 0.6, 0.8, None, columns,
    )  # fmt: skip

    again = DriftVerdict.from_json(json.loads(json.dumps(verdict.to_json(), allow_nan=False)))

    assert again == verdict
    assert [c.column for c in again.drifting] == [c.column for c in columns if c.severity != "none"]
