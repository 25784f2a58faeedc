from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from evermodel.core.errors import EmptyWindowError
from evermodel.monitoring.drift.family import DriftTest
from evermodel.monitoring.drift.judge import judge_window
from evermodel.monitoring.drift.verdict import ColumnDrift, DriftVerdict, Performance
from evermodel.monitoring.problems import worst_of
from support.drift_rows import DAY, RATE, START, drift_spec, judge, references, table

NUMERIC = ["normal", "heavy", "skewed", "zeros", "counts", "gaps"]
CATEGORICAL = ["c2", "c10", "c50"]
LOW = {"warning": 1e-9, "critical": 1e-9}


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


def _severity(columns: tuple[ColumnDrift, ...], what: str = "feature") -> dict[str, str]:
    return {c.column: c.severity for c in columns if c.what == what}


@pytest.mark.parametrize(("reference", "window"), [(1_000, 200), (5_000, 1_000)])
@pytest.mark.slow
def test_without_drift_a_day_alarms_no_more_often_than_stated_over_all_kinds_of_tests(
    reference: int, window: int
) -> None:
    # Bands that any difference reaches, so that it is the tests alone that hold the rate.
    spec = drift_spec(NUMERIC, CATEGORICAL, psi=LOW, missing=LOW, categories=LOW, correlation=LOW)
    generator = np.random.default_rng(reference + window)
    times = 50
    alarms = 0
    kinds = set()
    for _ in range(times):
        found = judge(spec, table(_sample(generator, reference)), table(_sample(generator, window)))
        alarms += worst_of(c.severity for c in found) != "none"
        kinds |= {c.what for c in found}

    assert {"feature", "missing", "correlation"} <= kinds
    assert alarms / times <= RATE + 2.6 * math.sqrt(RATE * (1 - RATE) / times)


def test_a_real_shift_is_found_and_named_first() -> None:
    generator = np.random.default_rng(1)
    before, now = _sample(generator, 3_000), _sample(generator, 400)
    now["heavy"] = now["heavy"] + 1.5
    now["c10"] = np.where(generator.random(400) < 0.2, "9", now["c10"])

    found = judge(drift_spec(NUMERIC, CATEGORICAL), table(before), table(now))

    assert [(c.column, c.what, c.severity) for c in found[:2]] == [
        ("heavy", "feature", "critical"),
        ("c10", "feature", "critical"),
    ]
    assert {c.severity for c in found[2:] if c.what != "together"} == {"none"}
    assert found[0].low < found[0].effect < found[0].high


def test_a_significant_difference_that_is_too_small_to_matter_is_no_drift() -> None:
    generator = np.random.default_rng(2)
    before, now = generator.normal(size=50_000), generator.normal(0.1, size=50_000)

    (column,) = judge(drift_spec(["x"]), table({"x": before}), table({"x": now}))

    assert column.p_value < 1e-6
    assert column.effect < 0.1
    assert column.severity == "none"


def test_a_large_difference_of_a_few_rows_is_no_evidence() -> None:
    before = np.random.default_rng(3).normal(size=1_000)

    (column,) = judge(drift_spec(["x"]), table({"x": before}), table({"x": np.array([2.5, 0, -1])}))

    assert (column.p_value > RATE, column.severity) == (True, "none")


def _weather(generator: np.random.Generator, days: int, rows: int) -> tuple[Any, Any]:
    """Rows of one day resemble each other, as temperatures do; nothing else changes."""
    day = np.repeat(np.arange(days), rows)
    return np.repeat(generator.normal(size=days), rows) + 0.3 * generator.normal(size=days * rows), day


def test_days_that_differ_by_nature_raise_no_alarm_where_the_test_alone_would() -> None:
    generator = np.random.default_rng(4)
    spec = drift_spec(["x"], window="7d")
    alarms = significant = 0
    for _ in range(40):
        (before, days), (now, _same) = _weather(generator, 56, 40), _weather(generator, 7, 40)
        (column,) = judge(spec, table({"x": before}, days), table({"x": now}, 60))
        significant += column.p_value < RATE and column.effect > spec.drift.psi.warning
        alarms += column.severity != "none"

    assert significant > 30
    assert alarms <= 7


def test_a_window_that_leaves_the_natural_range_is_found_all_the_same() -> None:
    generator = np.random.default_rng(5)
    (before, days), (now, _same) = _weather(generator, 56, 40), _weather(generator, 7, 40)

    (column,) = judge(drift_spec(["x"]), table({"x": before}, days), table({"x": now + 6}, 60))

    assert column.calm > 0.25
    assert column.threshold == column.calm
    assert column.basis.startswith("a rule")
    assert column.severity == "critical"


INF, NAN = float("inf"), float("nan")


@pytest.mark.parametrize(
    ("kind", "before", "now", "severity"),
    [
        ("numeric", [5.0] * 500, [5.0] * 300, "none"),
        ("numeric", [5.0] * 500, [4.0] * 300, "critical"),
        ("numeric", [None] * 500, [None] * 300, "none"),
        ("numeric", [None] * 500, [1.0] * 300, "critical"),
        ("numeric", [1.0, 2.0] * 250, [None] * 300, "critical"),
        ("categorical", [None] * 500, [None] * 300, "none"),
        ("categorical", ["a"] * 500, ["a"] * 300, "none"),
        ("categorical", ["a", "b"] * 250, ["a"] * 200 + ["b"] * 200 + ["new"] * 100, "critical"),
        ("categorical", ["a", "b"] * 250, [None] * 90 + ["a", "b"] * 105, "critical"),
        ("numeric", list(map(float, range(500))), [*map(float, range(400)), *[NAN] * 200], "critical"),
        ("numeric", list(map(float, range(500))), [*map(float, range(400)), *[INF] * 200], "critical"),
        ("numeric", [*map(float, range(400)), *[INF] * 200], [*map(float, range(400)), *[INF] * 200], "none"),
        ("numeric", [*map(float, range(400)), *[-INF] * 200], [-INF] * 200, "critical"),
        ("numeric", list(map(float, range(500))), [1e9], "none"),
        ("numeric", [1.0], [1.0], "none"),
        ("categorical", [str(i) for i in range(10_000)] * 2, [str(i) for i in range(10_000)], "none"),
        # Were each value a number of its own, the next rows would have new ones too.
        ("categorical", [str(i) for i in range(10_000)], [f"x{i}" for i in range(5_000)], "none"),
        ("categorical", [str(i) for i in range(5_000)] * 2, [f"x{i}" for i in range(5_000)], "critical"),
    ],
)
def test_odd_columns_have_a_verdict(kind: str, before: list[Any], now: list[Any], severity: str) -> None:
    spec = drift_spec(["x"], []) if kind == "numeric" else drift_spec([], ["x"])
    arrow = pa.float64() if kind == "numeric" else pa.string()

    found = judge(spec, table({"x": pa.array(before, arrow)}), table({"x": pa.array(now, arrow)}))

    assert worst_of(c.severity for c in found) == severity
    assert all(math.isfinite(c.effect) and math.isfinite(c.threshold) for c in found)
    assert all(0 <= c.p_value <= 1 for c in found)
    json.dumps([c.effect for c in found], allow_nan=False)


MIDNIGHTS = [datetime(2024, 3, 30) + timedelta(hours=hour) for hour in range(72)]


@pytest.mark.parametrize(
    ("before", "now"),
    [
        ([True, False] * 200, [True] * 200),
        ([date(2024, 1, day % 28 + 1) for day in range(400)], [date(2024, 3, 5)] * 200),
        (MIDNIGHTS * 6, [datetime(2025, 1, 1)] * 200),
        ([Decimal("1.5"), Decimal("2.5")] * 200, [Decimal("9.5")] * 200),
        ([2**60, 2**60 + 2**40] * 200, [2**61] * 200),
        (["1", "2"] * 200, ["7"] * 200),
    ],
    ids=["boolean", "date", "time", "decimal", "large whole numbers", "numbers as text"],
)
def test_numbers_of_any_type_are_compared(before: list[Any], now: list[Any]) -> None:
    spec = drift_spec(["x"])

    (drifted,) = judge(spec, table({"x": pa.array(before)}), table({"x": pa.array(now)}))
    (same,) = judge(spec, table({"x": pa.array(before)}), table({"x": pa.array(before[:200])}))

    assert (drifted.severity, drifted.what) == ("critical", "feature")
    assert same.severity == "none"


def test_a_column_that_is_gone_or_no_number_any_more_is_named_with_what_is_wrong() -> None:
    spec = drift_spec(["x", "y"], ["c"])
    before = table({"x": np.arange(400.0), "y": np.arange(400.0), "c": ["a", "b"] * 200})
    now = table({"x": ["n/a", "12"] * 100, "c": [1, 2] * 100})

    found = judge(spec, before, now)

    wrong = {(c.column, c.what): c.summary for c in found if c.severity == "critical"}
    assert wrong["x", "missing"] == "string instead of numbers, such as 'n/a'"
    assert wrong["y", "missing"] == "the column is missing"
    assert "never seen before: '1', '2', 100.0% of rows" in wrong["c", "category"]


def test_a_window_without_rows_is_an_error_and_one_with_few_says_that_they_are_few() -> None:
    spec = drift_spec(["x"], min_rows=50)
    before = table({"x": np.arange(400.0)})

    with pytest.raises(EmptyWindowError, match="no row"):
        judge(spec, before, before.slice(0, 0))
    (one,) = judge(spec, before, table({"x": [1e6]}))
    (many,) = judge(spec, before, table({"x": [1e6] * 50}))

    assert (one.severity, one.summary) == ("none", "not evaluated: 1 rows, at least 50")
    assert many.severity == "critical"


def test_a_reference_with_too_few_rows_says_so_instead_of_guessing() -> None:
    spec = drift_spec(["x"], min_rows=50)

    (column,) = judge(spec, table({"x": np.arange(49.0)}), table({"x": [1e6] * 400}))

    assert (column.severity, column.summary) == ("none", "not evaluated: 49 rows, at least 50")
    assert column.reference == "training, 60 days until 29 Feb 2024"


def test_missing_values_are_a_kind_of_their_own_with_bands_of_their_own() -> None:
    generator = np.random.default_rng(8)
    before = table({"x": np.where(generator.random(4000) < 0.02, np.nan, generator.normal(size=4000))})

    def found(share: float) -> dict[str, str]:
        now = np.where(generator.random(2000) < share, np.nan, generator.normal(size=2000))
        return _severity(judge(drift_spec(["x"]), before, table({"x": now})), "missing")

    assert [found(share)["x"] for share in (0.02, 0.12, 0.4)] == ["none", "warning", "critical"]


def test_new_categories_are_named_with_those_that_are_known_in_another_spelling() -> None:
    before = table({"c": ["AA", "New York"] * 1000})
    now = table({"c": ["AA"] * 400 + ["aa "] * 60 + ["new  york"] * 30 + ["ZZ"] * 10})

    found = judge(drift_spec([], ["c"]), before, now)

    (column,) = [c for c in found if c.what == "category"]
    assert column.severity == "critical"
    assert column.effect == 0.2
    assert column.summary == (
        "never seen before: 'aa ' (written like 'AA'), 'new  york' (written like 'New York'), 'ZZ', 20.0% of rows"
    )


def test_rare_categories_that_no_reference_has_seen_yet_are_no_news_when_there_are_many_of_them() -> None:
    generator = np.random.default_rng(9)
    spec = drift_spec([], ["c"], categories=LOW)
    alarms = 0
    for _ in range(40):
        names = generator.zipf(1.3, 3_000).astype(str)
        found = judge(spec, table({"c": names[:2000]}), table({"c": names[2000:]}))
        (column,) = [c for c in found if c.what == "category"]
        assert column.effect > 0.05
        alarms += column.severity != "none"

    assert alarms <= 2


def test_a_pair_of_numbers_that_no_longer_goes_together_is_found_though_each_looks_the_same() -> None:
    generator = np.random.default_rng(10)
    x = generator.normal(size=3_400)
    y = x + 0.5 * generator.normal(size=3_400)
    z = generator.normal(size=3_400)
    spec = drift_spec(["x", "y", "z"])
    before, now = table({"x": x, "y": y, "z": z}), table({"x": x[:400], "y": y[::-1][:400], "z": z[:400]})

    found = judge(spec, before.slice(400), now)

    assert (found[0].what, found[0].column, found[0].severity) == ("correlation", "x ~ y", "critical")
    assert found[0].summary == "rank correlation +0.89 → -0.05"
    assert set(_severity(found).values()) == {"none"}


def test_the_share_of_the_rate_depends_on_how_many_tests_there_are() -> None:
    generator = np.random.default_rng(11)
    p_values = []
    before = generator.integers(0, 2, 1000).astype(float)
    while not (p_values and RATE / 10 < p_values[-1] < RATE):
        now = (generator.random(200) < 0.58).astype(float)
        (alone,) = judge(drift_spec(["x"], psi=LOW), table({"x": before}), table({"x": now}))
        p_values.append(alone.p_value)
    names = ["x", *(f"y{i}" for i in range(9))]
    constant = {name: np.zeros(1000) for name in names[1:]}

    among_ten = judge(
        drift_spec(names, psi=LOW),
        table({"x": before, **constant}),
        table({"x": now, **{n: v[:200] for n, v in constant.items()}}),
    )
    only_x = judge(
        drift_spec(names, psi=LOW, columns=["x"]),
        table({"x": before, **constant}),
        table({"x": now, **{n: v[:200] for n, v in constant.items()}}),
    )

    assert alone.severity == "critical"
    assert _severity(among_ten)["x"] == "none"
    assert _severity(only_x) == {"x": "critical"}


def test_kinds_can_be_switched_off_and_columns_have_bands_of_their_own() -> None:
    generator = np.random.default_rng(12)
    before = table({"x": generator.normal(size=4000), "y": generator.normal(size=4000)})
    now = table(
        {"x": generator.normal(0.5, size=1000), "y": [*generator.normal(0.5, size=700), *[None] * 300]}
    )
    off = {kind: "off" for kind in ("missing", "category", "correlation", "prediction", "together")}
    spec = drift_spec(
        ["x", "y"], by_column={"x": {"psi": {"warning": 0.9, "critical": 0.9}}}, sections={"respond": off}
    )

    found = judge(spec, before, now)

    assert {c.what for c in found} == {"feature"}
    assert _severity(found) == {"x": "none", "y": "critical"}
    assert _severity(judge(drift_spec(["x", "y"]), before, now))["x"] != "none"


def test_findings_of_other_parts_join_the_family() -> None:
    before = np.random.default_rng(13).normal(size=1000)
    spec = drift_spec(["x"])
    (mine,) = judge(spec, table({"x": before}), table({"x": before[:300]}))
    label = ColumnDrift(
        **{**mine.__dict__, "column": "late", "what": "label", "effect": 0.4, "p_value": 1e-9}
    )

    found = judge_window(
        spec,
        references(spec, table({"x": before})),
        table({"x": before[:300]}),
        extra=[DriftTest(label, critical=0.3)],
    )

    assert [(c.column, c.what, c.severity) for c in found] == [
        ("late", "label", "critical"),
        ("x", "feature", "none"),
    ]


@pytest.mark.slow
def test_evidentlys_own_method_decides_a_column_whose_spec_asks_for_it() -> None:
    from scipy.stats import ks_2samp

    generator = np.random.default_rng(14)
    before, now = generator.normal(size=2000), generator.normal(0.15, size=500)
    colours = ["a", "b"] * 1000
    spec = drift_spec(
        ["x"],
        ["c"],
        by_column={"x": {"method": "ks"}, "c": {"method": "jensenshannon", "threshold": 0.4}},
    )

    found = judge(spec, table({"x": before, "c": colours}), table({"x": now, "c": ["a"] * 400 + ["b"] * 100}))

    x, c = (next(one for one in found if one.column == name) for name in ("x", "c"))
    assert (x.method, x.severity, x.threshold) == ("ks", "critical", 0.05)
    assert x.effect == pytest.approx(ks_2samp(before, now).pvalue)
    assert (c.method, c.severity, c.threshold) == ("jensenshannon", "none", 0.4)
    assert 0.1 < c.effect < 0.4


def test_days_are_days_of_utc_also_when_clocks_change() -> None:
    # On 31 March 2024 an hour is missing in Berlin; 23 o'clock UTC is already 1 April there.
    late = START.replace(month=3, day=31, hour=23, minute=30)
    from evermodel.monitoring.drift.columns import days_of

    moments = pa.chunked_array([pa.array([late, late + DAY / 24], pa.timestamp("us", tz="Europe/Berlin"))])

    assert (days_of(moments) - days_of(moments)[0]).tolist() == [0, 1]


_SCRIPT = """
import sys
from pathlib import Path
import numpy, pyarrow, pyarrow.parquet
from evermodel.monitoring.drift.rows import ParquetRows
from support.drift_rows import drift_spec, judge
spec = drift_spec(["x", "y"], ["c"])
found = judge(spec, *(ParquetRows([Path(file)]) for file in sys.argv[1:]))
print([c.severity for c in found][0], sorted({"pandas", "evidently", "scipy.stats", "sklearn", "mlflow"} & set(sys.modules)))
"""


def test_a_verdict_needs_neither_pandas_nor_evidently_nor_scipys_statistics(tmp_path: Path) -> None:
    generator = np.random.default_rng(15)
    for shift, name in ((0, "before"), (3, "now")):
        x = generator.normal(shift, size=3000)
        columns = {"x": x, "y": x if shift else -x, "c": ["a", "b" if shift else "c", None] * 1000}
        pq.write_table(table(columns, np.arange(3000) // 50), tmp_path / name)

    told = subprocess.run(
        [sys.executable, "-c", _SCRIPT, tmp_path / "before", tmp_path / "now"],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
        capture_output=True,
        text=True,
    )

    assert told.stdout == "critical []\n", told.stderr


def test_a_verdict_survives_json() -> None:
    generator = np.random.default_rng(6)
    columns = judge(
        drift_spec(NUMERIC, CATEGORICAL), table(_sample(generator, 1_000)), table(_sample(generator, 200))
    )
    verdict = DriftVerdict(
        model="m",
        version="3",
        start="2026-01-05",
        end="2026-01-12",
        reference="training",
        reference_rows=1_000,
        window_rows=200,
        false_alarm_rate=RATE,
        severity="none",
        reason="why",
        problems=(),
        performance=Performance("roc_auc", 10),
        columns=columns,
    )

    assert DriftVerdict.from_json(json.loads(json.dumps(verdict.to_json(), allow_nan=False))) == verdict
