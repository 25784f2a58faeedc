"""The files of include/deploy fit each other and what Airflow, Prometheus and Grafana are asked for."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from evermodel.data.examples import flights
from support.paths import PROJECT

DEPLOY = PROJECT / "include" / "deploy"


def _yaml(name: str) -> Any:
    return yaml.safe_load((DEPLOY / name).read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def values() -> dict[str, Any]:
    found: dict[str, Any] = _yaml("kubernetes/values.yaml")
    return found


def test_the_chart_makes_no_user_with_a_known_password(values: dict[str, Any]) -> None:
    assert values["createUserJob"]["enabled"] is False
    assert values["webserver"]["defaultUser"]["enabled"] is False


def test_the_chart_runs_only_what_our_image_has(values: dict[str, Any]) -> None:
    for part in ("workers", "scheduler", "dagProcessor", "triggerer"):
        assert values[part]["logGroomerSidecar"]["enabled"] is False, part
    shell, script = values["migrateDatabaseJob"]["args"]
    assert shell == "bash"
    assert (PROJECT / script).is_file()


def test_the_chart_keeps_the_pods_of_failed_tasks_whose_logs_no_claim_holds(values: dict[str, Any]) -> None:
    executor = values["config"]["kubernetes_executor"]
    assert (executor["delete_worker_pods"], executor["delete_worker_pods_on_failure"]) == ("True", "False")
    assert values["logs"]["persistence"]["enabled"] is False


def test_metrics_have_the_same_names_under_the_chart(values: dict[str, Any]) -> None:
    assert values["statsd"]["overrideMappings"] == _yaml("prometheus/statsd.yaml")["mappings"]


def test_the_chart_sets_what_the_shipped_specs_ask_for(values: dict[str, Any]) -> None:
    given = {variable["name"] for variable in values["env"]}
    for spec in (PROJECT / "include" / "models").glob("*.yaml"):
        asked = re.findall(r"\$\{(\w+)\}", spec.read_text(encoding="utf-8"))
        assert set(asked) <= given, spec


@pytest.mark.parametrize("example", [True, False], ids=["with the example", "without it"])
def test_the_setup_makes_pools_and_the_data_of_the_example(tmp_path: Path, example: bool) -> None:
    if importlib.util.find_spec(flights.PACKAGE) is None:
        pytest.skip(f"{flights.PACKAGE} is not installed")
    models, data = tmp_path / "models", tmp_path / "input"
    models.mkdir()
    if example:
        shutil.copy(PROJECT / "include" / "models" / "flights.yaml", models)
    # Only says what it was called with: what Airflow makes of it is tested with the whole topology.
    airflow = tmp_path / "bin" / "airflow"
    airflow.parent.mkdir()
    airflow.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/called\n')
    airflow.chmod(0o755)
    path = os.pathsep.join([str(airflow.parent), str(Path(sys.executable).parent), os.environ["PATH"]])
    env = {**os.environ, "PATH": path, "EVERMODEL_MODELS": str(models), "EVERMODEL_DATA": str(data)}
    subprocess.run(["bash", str(DEPLOY / "airflow_setup.sh")], env=env, check=True, capture_output=True)
    called = (tmp_path / "called").read_text().splitlines()
    assert called[0] == "db migrate"
    assert [line.split()[:3] for line in called[1:]] == [
        ["pools", "set", "evermodel_training"],
        ["pools", "set", "evermodel_registry"],
    ]
    assert (data / "flights.parquet").exists() is example


def test_the_dashboard_offers_models_that_only_score_in_batches() -> None:
    dashboard = json.loads((DEPLOY / "grafana" / "dashboards" / "models.json").read_text(encoding="utf-8"))
    (model,) = dashboard["templating"]["list"]
    assert model["query"]["query"] == 'label_values({__name__=~"evermodel_.+"}, model)'


def test_the_dashboard_shows_the_alerts_that_fire() -> None:
    dashboard = json.loads((DEPLOY / "grafana" / "dashboards" / "models.json").read_text(encoding="utf-8"))
    panels = dashboard["panels"]
    (alerts,) = [panel for panel in panels if panel["type"] == "alertlist"]
    assert alerts["options"]["stateFilter"]["firing"] is True
    (source,) = _yaml("grafana/provisioning/datasources/prometheus.yaml")["datasources"]
    assert alerts["options"]["datasource"] == source["name"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    cells = [(x, y) for panel in panels for x, y in _cells(panel["gridPos"])]
    assert len(set(cells)) == len(cells)


def _cells(place: dict[str, int]) -> list[tuple[int, int]]:
    columns = range(place["x"], place["x"] + place["w"])
    return [(x, y) for x in columns for y in range(place["y"], place["y"] + place["h"])]
