"""The features that the serving app looks up, written by the score DAG and read on the command line."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from evermodel.cli.root import app
from support.airflow_runs import parse_file, run
from support.event_tables import START, events_spec, files_of, rows_and_events

pytestmark = pytest.mark.integration


@pytest.fixture
def model(tmp_path: Path, database: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """A model with tables of events, whose aggregates are looked up."""
    source = files_of(tmp_path, rows_and_events(rows=300, keys=20))
    spec = events_spec(online={"every": "1d", "delay": "6h"}, **source)
    name = f"returns_{uuid.uuid4().hex[:8]}"
    (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump({**spec.canonical(), "name": name}))
    monkeypatch.setenv("EVERMODEL_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("EVERMODEL_MODELS", str(tmp_path))
    return name


def command(*arguments: str) -> Any:
    done = CliRunner().invoke(app, ["features", *arguments, "--json"], catch_exceptions=False)
    return json.loads(done.stdout)


def test_the_score_dag_writes_what_a_request_gets(model: str) -> None:
    dag = parse_file("score")[f"score_{model}"]
    assert dag.task_dict["write_features"].downstream_task_ids == set()

    done = run(dag, f"{START:%Y-%m}-08", skip="new_data")

    assert done.states["write_features"] == "success"
    views = done.xcom("write_features")["views"]
    assert {view["view"] for view in views} == {
        "orders by customer",
        "visits by customer",
        "orders by customer, shop",
    }
    assert {view["period"] for view in views} == {"2024-03-08T00:00:00+00:00"}
    at_noon = command("read", model, "customer=3", "--as-of", "2024-03-08T12:00")
    assert at_noon["as_of"] == "2024-03-08T00:00:00+00:00"
    assert at_noon["spent_7d"] > 0
    assert "shop_orders" not in at_noon  # whose key has the shop, too

    again = command("write", model, "--as-of", "2024-03-08T03:00")
    assert again == views
    assert command("read", model, "customer=3", "--as-of", "2024-03-08T12:00") == at_noon
    with pytest.raises(Exception, match=r"nothing is written of 2024-03-07 00:00 UTC"):
        command("read", model, "customer=3", "--as-of", "2024-03-08T05:59")
    with pytest.raises(Exception, match=r"no view of returns_\w+ has the key seller"):
        command("read", model, "seller=3")
