"""The map of drift by feature: what is kept of a day's run, and what of a verdict is shown of one column."""

from __future__ import annotations

import json
from pathlib import Path

from evermodel.registry.tags import KIND, RUN_KEY
from evermodel.reports.overview.features import column_tests, drift_by_feature
from evermodel.reports.overview.records import Record, features_of
from evermodel.reports.overview.store import Store
from support.verdicts import a_column, a_verdict, bad_data


def measured(day: str, **metrics: float) -> Record:
    tags = [{"key": KIND, "value": "drift"}, {"key": RUN_KEY, "value": f"drift/churn/{day}"}]
    found = [{"key": key, "value": value} for key, value in metrics.items()]
    info = {"run_id": f"run-{day}", "experiment_id": "1", "start_time": 1}
    record = features_of({"info": info, "data": {"tags": tags, "metrics": found}})
    assert record is not None
    return record


def test_the_feature_that_is_furthest_beyond_its_limit_comes_first(tmp_path: Path) -> None:
    store = Store(tmp_path / "overview.db")
    store.keep_runs(
        {"1": "churn"},
        [
            measured("2026-01-01", psi_age=0.05),
            measured(
                "2026-01-02", psi_age=0.1, limit_age=0.2, missing_age=0.01, psi_height=3.0, limit_height=2.0
            ),
            Record(
                "d", "drift", "2026-01-02", 1,
                {"experiment": "1", "columns": [["height", "feature", "PSI", 3.0, "critical"]]},
            ),
        ],
    )  # fmt: skip

    found = drift_by_feature(store, "churn")

    assert found["days"] == ["2026-01-01", "2026-01-02"]
    assert [one["name"] for one in found["features"]] == ["height", "age"]
    assert found["features"][0]["cells"] == [None, [3.0, 2.0, None, "critical"]]
    assert found["features"][1]["cells"] == [[0.05, None, None, ""], [0.1, 0.2, 0.01, ""]]
    assert features_of({"info": {"run_id": "r", "experiment_id": "1"}, "data": {}}) is None


def test_of_a_verdict_the_tests_of_one_column_and_of_pairs_with_it_are_shown() -> None:
    pair = a_column(column="humid ~ temp", what="correlation")
    verdict = a_verdict(
        columns=(a_column(), pair, a_column(column="temp")),
        problems=(bad_data("humid: 9% missing, at most 5% allowed", "temp: 9% missing"),),
    )

    found = column_tests(json.loads(json.dumps(verdict.to_json())), "humid")

    assert [one["column"] for one in found["tests"]] == ["humid", "humid ~ temp"]
    assert found["quality"] == ["humid: 9% missing, at most 5% allowed"]
