"""A model in somebody else's PostgreSQL under the drift DAG: from its rows to Slack and a request, without MLflow."""

from __future__ import annotations

import uuid
from pathlib import Path

import psycopg
import pyarrow as pa
import pytest
import yaml

from evermodel.core import connections
from evermodel.core.connections import EnvironmentConnections
from support.airflow_runs import parse_file, run
from support.foreign_log import ForeignModel, day, foreign_rows
from support.slack_server import FakeSlack

pytestmark = pytest.mark.integration
COLUMNS = ("request", "asked_at", "probability", "release", "amount", "age", "colour")


@pytest.fixture
def watched(postgres: str, tmp_path: Path, database: str, monkeypatch: pytest.MonkeyPatch) -> ForeignModel:
    """Six weeks of predictions, of which the last is another world, with their labels in a table apart."""
    rows = pa.concat_tables([foreign_rows(range(35)), foreign_rows(range(35, 43), shift=2.0)])
    name = f"churn_{uuid.uuid4().hex[:8]}"
    with psycopg.connect(postgres, autocommit=True) as house:
        house.execute(
            f"CREATE TABLE {name} (request text, asked_at timestamptz, probability float, release text, amount numeric, "
            "age float, colour text)"
        )
        house.execute(f"CREATE TABLE {name}_truth (request text, known_at timestamptz, came_true boolean)")
        with house.cursor().copy(f"COPY {name} FROM STDIN") as copy:
            for row in rows.to_pylist():
                copy.write_row([row[column] for column in COLUMNS])
        with house.cursor().copy(f"COPY {name}_truth FROM STDIN") as copy:
            for row in rows.to_pylist():
                copy.write_row([row["request"], row["asked_at"], row["came_true"] == 1])
    model = ForeignModel(tmp_path, database)
    model.spec_data |= {
        "name": name,
        "source": {"kind": "sql", "connection": "house", "query": f"SELECT * FROM {name} WHERE asked_at >= :start AND asked_at < :end"},
    }  # fmt: skip
    model.spec_data["watch"]["labels"] = {
        "source": {"kind": "sql", "connection": "house", "query": f"SELECT * FROM {name}_truth"},
        "time_column": "known_at",
    }
    (tmp_path / "models" / f"{name}.yaml").write_text(yaml.safe_dump(model.spec_data, sort_keys=False))
    monkeypatch.setattr(connections, "_current", EnvironmentConnections())
    for variable, value in {
        "AIRFLOW_CONN_HOUSE": postgres,
        "EVERMODEL_HOME": str(tmp_path / "home"),
        "EVERMODEL_LAKE": str(tmp_path / "lake"),
        "EVERMODEL_MODELS": str(tmp_path / "models"),
    }.items():
        monkeypatch.setenv(variable, value)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setattr("evermodel.registry.tracking.connect", _no_mlflow)
    return model


def _no_mlflow(*args: object, **options: object) -> None:
    raise AssertionError("a watched model asks no MLflow")


def requests(name: str) -> list[str]:
    from airflow.models.asset import AssetEvent, AssetModel
    from airflow.utils.session import create_session
    from sqlalchemy import select

    with create_session() as session:
        query = select(AssetEvent).join(AssetModel, AssetEvent.asset_id == AssetModel.id)
        found = session.scalars(query.where(AssetModel.name == f"{name}_retrain_wanted"))
        return [event.extra["run_key"] for event in found]


def test_rows_in_postgresql_become_a_message_in_slack_and_a_request(
    watched: ForeignModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = watched.spec_data["name"]
    made = [parse_file(kind) for kind in ("retrain", "score", "drift", "rollback")]
    assert [dag for dags in made for dag in dags if dag.endswith(name)] == [f"drift_{name}"]
    dag = made[2][f"drift_{name}"]
    assert set(dag.task_ids) == {"window", "verdict", "evidently_report", "alert", "ask_for_retrain"}

    with FakeSlack() as slack:
        monkeypatch.setenv("AIRFLOW_CONN_SLACK_API_DEFAULT", slack.connection_json())
        quiet = run(dag, f"{day(35):%Y-%m-%d}", skip="evidently_report")
        assert (quiet.state, slack.messages) == ("success", [])
        shifted = run(dag, f"{day(42):%Y-%m-%d}")

    assert (shifted.state, shifted.xcom("verdict")["severity"]) == ("success", "critical")
    assert shifted.xcom("verdict")["metric_value"] > 0.5
    (posted,) = slack.messages
    assert f"{name}: drift (critical)" in posted.text
    assert requests(name) == [f"retrain/{name}/drift-{day(42):%Y-%m-%d}"]
    page = Path(shifted.xcom("evidently_report"))
    assert page.is_relative_to(watched.folder / "lake")
    assert "amount" in page.read_text(encoding="utf-8")


def test_the_dag_looks_as_often_as_the_spec(tmp_path: Path, database: str) -> None:
    from evermodel_provider.dags.drift import drift_cron

    model, crons = ForeignModel(tmp_path, database), {}
    for every in ("15min", "1h", "6h", "1d", "1w"):
        model.spec_data["watch"]["every"] = every
        crons[every] = drift_cron(model.spec)
    assert crons == {
        "15min": "1-59/15 * * * *",
        "1h": "5 */1 * * *",
        "6h": "5 */6 * * *",
        "1d": "0 4 * * *",
        "1w": "0 4 * * 1",
    }
    model.spec_data["schedule"] = {"drift": "30 * * * *"}
    assert drift_cron(model.spec) == "30 * * * *"
