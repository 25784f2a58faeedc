from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from evermodel.drift.report import write_report
from evermodel.drift.verdict import ColumnDrift, Severity
from small_spec import small_spec


def _column(name: str, kind: str, psi: float, severity: Severity, natural: float = 0.0) -> ColumnDrift:
    return ColumnDrift(name, kind, psi, natural, 0.5, severity, "", ())  # type: ignore[arg-type]


def _rows(count: int) -> pa.Table:
    generator = np.random.default_rng(count)
    return pa.table(
        {
            "amount": generator.normal(size=count),
            "age": generator.normal(size=count),
            "colour": generator.choice(["red", "blue"], count),
        }
    )


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[float, str]]:
    """What Evidently shows for each column: the statistic and the outcome of its test."""
    folder: Path = tmp_path_factory.mktemp("evidently")
    columns = (
        _column("amount", "numeric", 0.15, "warning"),
        _column("age", "numeric", 0.9, "none"),  # large, but no evidence
        _column("colour", "categorical", 0.2, "none", natural=0.4),  # large, but natural
    )
    html, data = write_report(small_spec(), columns, _rows(400), _rows(150), folder, most_rows=100)
    assert html.stat().st_size > 10_000
    shown = json.loads(data.read_text())
    values = {m["config"]["column"]: m["value"] for m in shown["metrics"] if "column" in m["config"]}
    tests = {t["metric_config"]["params"].get("column"): t["status"] for t in shown["tests"]}
    return {name: (value, tests[name]) for name, value in values.items()}


def test_evidently_shows_the_statistic_of_all_rows_not_that_of_its_sample(
    report: dict[str, tuple[float, str]],
) -> None:
    assert {name: value for name, (value, _) in report.items()} == pytest.approx(
        {"amount": 0.15, "age": 0.9, "colour": 0.2}
    )


def test_evidently_calls_drift_what_the_verdict_calls_drift(report: dict[str, tuple[float, str]]) -> None:
    assert {name for name, (_, status) in report.items() if status == "FAIL"} == {"amount"}
