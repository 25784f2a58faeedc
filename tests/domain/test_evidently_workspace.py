from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from evermodel.monitoring.drift.report import draw_report
from evermodel.monitoring.drift.workspace import keep_report, project_id, report_id
from support.small_spec import small_spec
from support.verdicts import a_column, a_verdict

SPEC = small_spec(drift={"keep_reports": "30d"})
DAY = datetime(2026, 3, 9, tzinfo=UTC)


def _report(threshold: float = 0.1, rows: int = 9) -> Any:
    verdict = a_verdict(columns=(a_column(column="amount", threshold=threshold),), window_rows=rows)
    table = pa.table({"amount": [1.0, 2.0, 3.0] * 3})
    return draw_report(SPEC, verdict, table, table)


@pytest.fixture(scope="module")
def report() -> Any:
    return _report()


def _open(folder: Path) -> Any:
    from evidently.ui.workspace import Workspace

    return Workspace(str(folder))


@pytest.mark.slow
def test_evidently_itself_reads_the_project_its_days_and_its_dashboard(tmp_path: Path, report: Any) -> None:
    for day in (0, 1):
        keep_report(tmp_path, SPEC, report, DAY + timedelta(days=day))

    workspace = _open(tmp_path)
    (project,) = workspace.list_projects()
    assert project.name == SPEC.name
    assert set(workspace.list_runs(project.id)) == {
        report_id(SPEC.name, DAY + timedelta(days=d)) for d in (0, 1)
    }
    assert {panel.title for panel in project.dashboard.model().panels} == {
        "Share of drifting columns",
        "Rows",
        "Effect by column",
    }
    assert [path.name for path in tmp_path.iterdir()] == [str(project.id)]  # no draft is left


def test_the_same_day_again_replaces_its_report(tmp_path: Path) -> None:
    for rows in (5, 7):
        kept = keep_report(tmp_path, SPEC, _report(rows=rows), DAY)

    (run,) = _open(tmp_path).list_runs(project_id(SPEC.name))
    assert run == kept
    found = _open(tmp_path).get_run(project_id(SPEC.name), run)
    assert found.metadata["window_rows"] == "7"


def test_days_with_other_thresholds_are_points_of_one_line(tmp_path: Path) -> None:
    for day, threshold in enumerate((0.1, 0.2)):
        keep_report(tmp_path, SPEC, _report(threshold), DAY + timedelta(days=day))

    workspace, project = _open(tmp_path), project_id(SPEC.name)
    lines = [
        {json.dumps(result.metric_value_location.metric.params, sort_keys=True) for result in run.metric_results.values()}
        for run in (workspace.get_run(project, found) for found in workspace.list_runs(project))
    ]  # fmt: skip
    assert lines[0] == lines[1]
    assert len(lines[0]) == 3


def test_reports_are_dropped_when_the_spec_says_so_and_those_of_others_stay(
    tmp_path: Path, report: Any
) -> None:
    snapshots = tmp_path / str(project_id(SPEC.name)) / "snapshots"
    snapshots.mkdir(parents=True)
    foreign = snapshots / "20200101-0000-8000-8000-000000000000.json"
    foreign.write_text("{}")
    for days in (-31, -30, 0, -40):  # the last is an old day that runs again
        keep_report(tmp_path, SPEC, report, DAY + timedelta(days=days))

    names = {f"{report_id(SPEC.name, DAY + timedelta(days=days))}.json" for days in (-30, 0)}
    assert {path.name for path in snapshots.iterdir()} == {*names, foreign.name}


def test_a_dashboard_that_people_changed_stays(tmp_path: Path, report: Any) -> None:
    keep_report(tmp_path, SPEC, report, DAY)
    dashboard = tmp_path / str(project_id(SPEC.name)) / "dashboard.json"
    dashboard.write_text('{"tabs": [], "panels": []}')

    keep_report(tmp_path, SPEC, report, DAY)

    assert json.loads(dashboard.read_text()) == {"tabs": [], "panels": []}


def test_tasks_at_once_leave_whole_files(tmp_path: Path, report: Any) -> None:
    days = [DAY - timedelta(days=d % 4 * 15) for d in range(12)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda day: keep_report(tmp_path, SPEC, report, day), days))

    workspace, project = _open(tmp_path), project_id(SPEC.name)
    runs = workspace.list_runs(project)
    assert set(runs) == {report_id(SPEC.name, DAY - timedelta(days=d)) for d in (0, 15, 30)}
    assert all(workspace.get_run(project, run).name for run in runs)
