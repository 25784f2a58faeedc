"""What a rollout was asked for: by a retrain's asset event, or by a person with the form."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk import DAG
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException
from airflow.sdk.execution_time.comms import AssetEventDagRunReferenceResult
from airflow.sdk.execution_time.context import TriggeringAssetEventsAccessor

from evermodel.deployment.rollout.service import RolloutService
from evermodel_provider.hooks.tracking import TrackingHook
from evermodel_provider.operators.rollout import StartRolloutOperator
from support.flights import World, flights_world


class _Started(Exception):
    pass


@pytest.fixture
def model(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> World:
    made = flights_world(tmp_path, "http://127.0.0.1:1", "flights")
    for name, value in made.environment.items():
        monkeypatch.setenv(name, value)

    def start(self: RolloutService, version: str, **asked: Any) -> None:
        raise _Started({"version": version, **asked})

    monkeypatch.setattr(RolloutService, "start", start)
    monkeypatch.setattr(TrackingHook, "get_conn", lambda hook: None)
    return made


def event(day: int, **extra: Any) -> AssetEventDagRunReferenceResult:
    asset = {"name": "flights_rollout_wanted", "uri": "evermodel://flights/rollout-wanted"}
    return AssetEventDagRunReferenceResult.model_validate(
        {
            "asset": {**asset, "extra": {}},
            "extra": extra,
            "source_task_id": "deploy",
            "source_dag_id": "retrain_flights",
            "source_run_id": "scheduled__1",
            "source_map_index": -1,
            "source_aliases": [],
            "timestamp": datetime(2013, 3, day, tzinfo=UTC),
            "partition_key": None,
        }
    )


def wanted(day: int, version: str) -> AssetEventDagRunReferenceResult:
    return event(day, version=version, by="auto", reason="weekly", run_key=f"rollout/key-{version}")


def asked(*events: AssetEventDagRunReferenceResult, **form: Any) -> dict[str, Any]:
    with DAG("rollout_flights", schedule=None):
        task = StartRolloutOperator(
            task_id="start",
            model="flights",
            version=form.get("version", ""),
            strategy=form.get("strategy", "as in the spec"),
            reason=form.get("reason", ""),
            by="ada",
            run_key="manual__1",
        )
    context: Any = {
        "dag_run": SimpleNamespace(run_id="manual__1", dag_id="rollout_flights"),
        "triggering_asset_events": TriggeringAssetEventsAccessor.build(events),
    }
    with pytest.raises(_Started) as caught:
        task.execute(context)
    found: dict[str, Any] = caught.value.args[0]
    return found


def test_the_newest_request_of_a_retrain_counts_whatever_their_order(model: World) -> None:
    expected = {"version": "3", "by": "auto", "reason": "weekly", "run_key": "rollout/key-3"}
    assert asked(wanted(18, "3"), event(19, note="made in Airflow's page"), wanted(11, "2")) == expected


def test_the_form_wins_and_its_run_is_the_key(model: World) -> None:
    found = asked(wanted(18, "3"), version=" 2 ", strategy="shadow", reason="again")

    assert (found["version"], found["strategy"], found["by"]) == ("2", "shadow", "ada")
    assert (found["reason"], found["run_key"]) == ("again", "rollout/flights/manual__1")
    assert asked(version="2", reason="again")["strategy"] is None


def test_a_first_champion_is_nothing_to_roll_out_and_a_run_that_nobody_asked_for_fails(model: World) -> None:
    with pytest.raises(AirflowSkipException, match="first champion"):
        asked(event(11, cold_start=True))
    with pytest.raises(AirflowFailException, match="no version is set"):
        asked(event(11, note="made in Airflow's page"))
