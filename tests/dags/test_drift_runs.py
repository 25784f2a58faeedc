"""The score and drift DAGs as Airflow runs them: a calm window says nothing, a shifted one asks for a retrain."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from evermodel.data.prediction_log import files_of, read_log
from evermodel.modeling.scoring.day import score_day
from evermodel.registry.registry import ModelRegistry
from evermodel.spec.window import Window, parse_moment
from support.airflow_runs import messages, parse, run
from support.flights import World

pytestmark = pytest.mark.integration

TRAINED, DAY = "2013-03-11", "2013-03-18"


@pytest.fixture
def served(world: World, without_evidence: None) -> World:
    """A world with a champion."""
    logistic = {"name": "logistic", "estimator": "sklearn.linear_model.LogisticRegression", "params": {}}
    world.change(candidates=[logistic])
    world.champion(TRAINED)
    return world


@pytest.fixture
def watched(served: World) -> World:
    """A world whose champion has scored the week after its training, and a day more."""
    for day in range(12, 20):
        score_day(served.spec, parse_moment(f"2013-03-{day}"), served.client, served.settings)
    return served


def shift(world: World) -> None:
    """Rewrite the prediction log as if another airport had been added: longer ways, and one carrier only."""
    window = Window(parse_moment(TRAINED), parse_moment(DAY))
    for file in files_of(world.spec, world.settings.lake, window):
        table = pq.read_table(file, partitioning=None)
        for name, values in (
            ("distance", pc.add(table["distance"], 2000.0)),
            ("carrier", pa.array(["WN"] * table.num_rows)),
        ):
            table = table.set_column(table.column_names.index(name), name, values)
        pq.write_table(table, file)


def events(world: World) -> list[dict[str, Any]]:
    """Return the extras of the retrain requests that Airflow holds."""
    from airflow.models.asset import AssetEvent, AssetModel
    from airflow.utils.session import create_session
    from sqlalchemy import select

    with create_session() as session:
        query = select(AssetEvent).join(AssetModel, AssetEvent.asset_id == AssetModel.id)
        found = session.scalars(query.where(AssetModel.name == f"{world.name}_retrain_wanted"))
        return [event.extra for event in found]


def test_a_calm_window_is_quiet(watched: World) -> None:
    done = run(parse(watched, "drift"), DAY)

    assert done.state == "success"
    assert done.states["ask_for_retrain"] == "skipped"
    assert (done.xcom("verdict")["severity"], done.xcom("alert")["action"]) == ("none", "quiet")
    assert messages(watched) == []
    assert events(watched) == []
    address = done.xcom("evidently_report")
    artifacts = watched.client.list_artifacts(address.rsplit("/", 1)[1])
    assert {"evidently.html", "verdict.json"} <= {artifact.path for artifact in artifacts}


def test_a_shifted_window_alerts_once_and_asks_for_one_retrain(watched: World) -> None:
    from airflow.sdk import DAG
    from airflow.sdk.exceptions import AirflowSkipException
    from airflow.sdk.execution_time.context import OutletEventAccessors

    from evermodel_provider.operators.ask import AskForRetrainOperator

    shift(watched)
    watched.change(cluster="row", retrain={"when": "critical", "cooldown": "3d"}, alerts={"remind": "3d"})

    done = run(parse(watched, "drift"), DAY)

    assert done.state == "success"
    verdict = done.xcom("verdict")
    assert verdict["severity"] == "critical"
    assert {"distance", "carrier"} <= set(verdict["drifting"])
    assert done.xcom("alert")["action"] == "open"
    (message,) = messages(watched)
    assert "distance" in message["text"]
    assert message["image"] == "image.png"
    (event,) = events(watched)
    assert event["run_key"] == f"retrain/{watched.name}/drift-{DAY}"
    assert event["as_of"].startswith(DAY)
    assert "columns drift" in event["reason"]

    again = run(parse(watched, "drift"), "2013-03-19")

    assert again.xcom("alert")["action"] == "update"
    assert (again.states["ask_for_retrain"], len(events(watched)), len(messages(watched))) == (
        "skipped",
        1,
        1,
    )
    with DAG("by_hand", schedule=None):
        ask = AskForRetrainOperator(task_id="ask", model=watched.name, as_of="2013-03-19")
    outlet_events = OutletEventAccessors()
    with pytest.raises(AirflowSkipException, match="the last request was 1 day ago"):
        ask.execute({"outlet_events": outlet_events})  # type: ignore[arg-type]
    assert len(outlet_events) == 0


def test_bad_data_alerts_but_vetoes_the_retrain(watched: World) -> None:
    window = Window(parse_moment(TRAINED), parse_moment(DAY))
    for file in files_of(watched.spec, watched.settings.lake, window):
        table = pq.read_table(file, partitioning=None)
        nulls = pa.nulls(table.num_rows, pa.float64())
        pq.write_table(table.set_column(table.column_names.index("temp"), "temp", nulls), file)

    done = run(parse(watched, "drift"), DAY)

    assert done.xcom("verdict")["quality"] == ["temp: 100% missing, at most 50% allowed"]
    assert done.xcom("alert")["action"] == "open"
    assert (done.states["ask_for_retrain"], events(watched)) == ("skipped", [])


def test_scoring_a_day_twice_leaves_one_batch_of_the_champion(served: World) -> None:
    day = Window(parse_moment("2013-03-19"), parse_moment("2013-03-20"))

    first = run(parse(served, "score"), "2013-03-20")
    second = run(parse(served, "score"), "2013-03-20")

    assert (first.state, second.state) == ("success", "success")
    log = read_log(served.spec, served.settings.lake, day)
    assert log.num_rows == second.xcom("score")["rows"] > 0
    assert len(files_of(served.spec, served.settings.lake, day)) == 1
    version = ModelRegistry(served.client).champion(served.name).version
    assert set(log["model_version"].to_pylist()) == {str(version)}


def test_a_form_scores_each_day_of_a_range_and_skips_those_without_rows(served: World) -> None:
    done = run(parse(served, "score"), DAY, {"from": "2012-12-31", "to": "2013-01-02"})

    assert done.states == {
        "new_data": "success",
        "score[0]": "skipped",
        "score[1]": "success",
        "score[2]": "success",
    }
    lake = served.settings.lake / "predictions" / served.name
    assert sorted(day.name for day in lake.glob("date=*")) == ["date=2013-01-01", "date=2013-01-02"]


def test_scoring_without_a_champion_says_to_retrain_first(world: World) -> None:
    done = run(parse(world, "score"), DAY)

    assert (done.state, done.states["score[0]"], done.tries["score"]) == ("failed", "failed", 1)
    (message,) = messages(world)
    assert f"model {world.name} has no champion yet" in message["text"]
    assert f"run the DAG retrain_{world.name} once" in message["text"]
