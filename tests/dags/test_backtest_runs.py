"""The backtest DAG as Airflow runs it: a task for each policy, and one report."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from evermodel.registry.tags import KIND
from evermodel.registry.tracking import find_run
from support.airflow_runs import parse, run
from support.flights import World

pytestmark = pytest.mark.integration


def test_each_policy_is_a_task_and_the_report_lies_in_mlflow(world: World, tmp_path: Path) -> None:
    logistic = {"name": "logistic", "estimator": "sklearn.linear_model.LogisticRegression", "params": {}}
    world.change(candidates=[logistic], performance={"min_rows": 50})
    form = {"start": "2013-04-01", "end": "2013-04-15", "policies": ["never", "weekly"]}

    done = run(parse(world, "backtest"), "2013-06-01", form)

    assert done.state == "success"
    assert set(done.states) == {"plan", "replay[0]", "replay[1]", "compare"}
    found = done.xcom("compare")
    run_of = find_run(
        world.client, f"{world.name}-backtests", f"backtest/{world.name}/{found['result']}", kind="backtest"
    )
    assert run_of is not None
    assert run_of.data.tags[KIND] == "backtest"
    assert run_of.data.metrics["weekly_retrains"] == 1
    kept = world.client.download_artifacts(run_of.info.run_id, "backtest.json", str(tmp_path))
    data = json.loads(Path(kept).read_text(encoding="utf-8"))
    assert data["digest"] == found["result"]
    assert [one["policy"] for one in data["result"]["policies"]] == ["never", "weekly"]
    assert [week["start"] for week in data["result"]["outcomes"][0]["weeks"]] == ["2013-04-01", "2013-04-08"]
    names = {file.path for file in world.client.list_artifacts(run_of.info.run_id)}
    assert {"report.html", "backtest.png"} <= names
    assert run_of.info.run_id in found["report"]
