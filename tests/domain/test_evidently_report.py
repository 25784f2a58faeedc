from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from evermodel.monitoring.drift.drawing import draw, rows_needed
from evermodel.monitoring.drift.profile import profile
from evermodel.monitoring.drift.reference_and_current import ExactRows
from evermodel.monitoring.drift.report import draw_report, save_report
from evermodel.monitoring.problems import Problem
from support.small_spec import small_spec
from support.verdicts import a_column, a_problem, a_verdict

SPEC = small_spec(seed=7, drift={"report_error": 0.1})  # 97 rows


def _rows(count: int, **columns: Any) -> pa.Table:
    generator = np.random.default_rng(count)
    made = {
        "amount": generator.normal(size=count),
        "age": generator.normal(size=count),
        "colour": generator.choice(["red", "blue"], count),
        "score": generator.random(count),
    }
    return pa.table({**made, **columns})


def _verdict(*columns: Any, **changes: Any) -> Any:
    return a_verdict(columns=columns, window_rows=150, reference_rows=400, **changes)


COLUMNS = (
    a_column(column="amount", effect=0.15, threshold=0.1, severity="warning"),
    a_column(column="score", what="prediction", effect=0.3, threshold=0.25, severity="critical"),
    a_column(column="age", method="ks", measure="K-S p_value", effect=0.9, threshold=0.05, severity="none"),
    a_column(column="colour", kind="categorical", effect=0.2, threshold=0.4, severity="none"),
    a_column(column="colour", kind="categorical", what="category", severity="warning", summary="new: green"),
    a_column(column="amount x age", what="correlation", severity="warning", summary="0.9 → 0.1"),
)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, Any]]:
    """The page as text, and what Evidently itself says."""
    problems = (a_problem(), Problem("quality", "warning", "age: 90% missing"))
    snapshot = draw_report(SPEC, _verdict(*COLUMNS, problems=problems), _rows(400), _rows(150))
    html, data = save_report(snapshot, tmp_path_factory.mktemp("evidently"))
    assert html.stat().st_size > 10_000
    return html.read_text(), json.loads(data.read_text())


def _by_column(said: dict[str, Any]) -> dict[str, Any]:
    return {m["config"]["column"]: m for m in said["metrics"] if "column" in m["config"]}


def test_evidently_shows_the_statistic_of_all_rows_not_that_of_its_sample(report: Any) -> None:
    values = {name: metric["value"] for name, metric in _by_column(report[1]).items()}
    assert values == pytest.approx({"amount": 0.15, "score": 0.3, "age": 0.9, "colour": 0.2})


def test_evidently_shows_our_threshold(report: Any) -> None:
    thresholds = {name: metric["config"]["threshold"] for name, metric in _by_column(report[1]).items()}
    assert thresholds == {"amount": 0.1, "score": 0.25, "age": 0.05, "colour": 0.4}


def test_evidently_calls_drift_what_the_verdict_calls_drift(report: Any) -> None:
    tests = {t["metric_config"]["params"].get("column"): t["status"] for t in report[1]["tests"]}
    assert {name for name, status in tests.items() if name and status == "FAIL"} == {"amount", "score"}


def test_a_column_with_a_method_of_evidently_shows_its_name(report: Any) -> None:
    assert "K-S p_value" in report[0]
    assert "PSI, calibrated (evermodel)" in report[0]


def test_evidently_counts_the_rows_of_the_window(report: Any) -> None:
    (rows,) = [m["value"] for m in report[1]["metrics"] if m["metric_name"].startswith("RowCount")]
    assert rows == 150


@pytest.mark.parametrize(
    "said",
    [
        "97 of 150 rows of the window and 97 of 400 rows of the reference",
        "drawn at random with seed 7",
        "within \\u00b110 % (95 %)",
        "all 150 rows of the window",
        "training (version 7)",
        "new: green",
        "0.9 \\u2192 0.1",
        "quality, warning: age: 90% missing",
    ],
)
def test_the_page_says_where_its_numbers_come_from_and_lists_every_finding(report: Any, said: str) -> None:
    assert said in report[0]


BAD = {
    "all null": _rows(150, amount=pa.nulls(150, pa.float64())),
    "text": _rows(150, amount=["many"] * 150),
    "no such column": _rows(150).drop_columns(["amount"]),
    "all infinite": _rows(150, amount=np.full(150, np.inf)),
}


@pytest.mark.parametrize("name", BAD)
def test_a_column_that_cannot_be_drawn_is_named(name: str, tmp_path: Path) -> None:
    snapshot = draw_report(SPEC, _verdict(*COLUMNS[:2]), _rows(400), BAD[name])
    html, data = save_report(snapshot, tmp_path)

    assert "amount: not plotted: the window has no" in html.read_text()
    assert list(_by_column(json.loads(data.read_text()))) == ["score"]


DRAWN = {
    "constant": _rows(150, amount=np.ones(150), score=np.ones(150)),
    "one row": _rows(1),
    "some infinite": _rows(150, amount=np.append(np.ones(149), np.inf)),
    "times": _rows(150, amount=pa.array(range(150), pa.timestamp("us", tz="UTC"))),
    "truth": _rows(150, amount=pa.array([True, False, None] * 50)),
}


@pytest.mark.parametrize("name", DRAWN)
def test_odd_values_are_drawn(name: str, tmp_path: Path) -> None:
    html, data = save_report(draw_report(SPEC, _verdict(*COLUMNS[:2]), _rows(400), DRAWN[name]), tmp_path)

    assert list(_by_column(json.loads(data.read_text()))) == ["amount", "score"]
    assert ("infinite values are omitted" in html.read_text()) is (name == "some infinite")


@pytest.mark.parametrize("window", [_rows(0), _rows(5).select([])], ids=["no rows", "no columns"])
def test_without_anything_to_draw_the_report_says_so(window: pa.Table, tmp_path: Path) -> None:
    html, _ = save_report(draw_report(SPEC, _verdict(*COLUMNS), _rows(400), window), tmp_path)

    assert "score: not plotted: the window has no" in html.read_text()


def test_each_test_may_have_a_reference_of_its_own(tmp_path: Path) -> None:
    references = {"amount": _rows(400), "age": profile(ExactRows(_rows(300), frozenset(["age"])), ["age"])}

    def of(drift: Any) -> Any:
        return (references[drift.column], drift.column) if drift.column in references else None

    snapshot = draw_report(SPEC, _verdict(*COLUMNS[:3]), of, _rows(150))
    html, data = save_report(snapshot, tmp_path)

    assert list(_by_column(json.loads(data.read_text()))) == ["amount", "age"]
    assert "score: not plotted: the reference has no such column" in html.read_text()


def test_the_sample_is_as_large_as_the_precision_takes() -> None:
    rows = rows_needed(0.02)
    shares = np.random.default_rng(0).binomial(rows, 0.5, 20_000) / rows
    assert 0.945 < np.mean(np.abs(shares - 0.5) <= 0.02) < 0.96


@pytest.mark.parametrize("exact", [True, False], ids=["rows", "profile"])
def test_a_sample_keeps_shares_and_missing_values_and_is_the_same_again(exact: bool) -> None:
    table = pa.table(
        {
            "amount": [0.0] * 500 + [5.0] * 300 + [None] * 200,
            "colour": ["a"] * 500 + ["b"] * 300 + [None] * 200,
        }
    )
    source: Any = table if exact else profile(ExactRows(table, frozenset(["amount"])), ["amount", "colour"])
    numbers, texts = (
        draw(source, *column, 600, 1) for column in (("amount", "numeric"), ("colour", "categorical"))
    )

    assert len(numbers) == len(texts) == 600
    found = [np.mean(numbers == 0), np.mean(numbers == 5), np.mean(np.isnan(numbers))]
    assert found == pytest.approx([0.5, 0.3, 0.2], abs=0.05)
    assert np.mean([value is None for value in texts]) == pytest.approx(0.2, abs=0.05)
    assert np.array_equal(draw(source, "amount", "numeric", 600, 1), numbers, equal_nan=True)


def test_no_text_of_the_data_ends_the_script_of_the_page(report: Any, tmp_path: Path) -> None:
    evil = "</script><script>alert(1)</script>"
    columns = (
        a_column(column=evil, severity="warning", summary=evil),
        a_column(column="colour", kind="categorical", effect=0.2, threshold=0.4),
    )
    sides = [_rows(count, **{evil: np.arange(count), "colour": [evil] * count}) for count in (400, 150)]
    html, _ = save_report(draw_report(SPEC, _verdict(*columns, reason=evil), *sides), tmp_path)
    page = html.read_text()
    assert page.count("</script>") == report[0].count("</script>")
    assert "\\u003c/script\\u003e" in page
