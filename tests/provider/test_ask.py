"""Asking for a retrain; whole runs that ask are in tests/dags."""

from __future__ import annotations

from typing import Any

import pytest
from airflow.sdk import DAG
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException
from airflow.sdk.execution_time.context import OutletEventAccessors

from evermodel.monitoring.retrain_history import tags_of
from evermodel.pipelines.drift import VERDICT_FILE, DriftRun
from evermodel.registry.tags import RETRAIN_ANSWER
from evermodel.registry.tracking import log_json
from evermodel.spec.window import parse_moment
from evermodel_provider.assets import retrain_wanted
from evermodel_provider.operators.ask import AskForRetrainOperator
from support.flights import World
from support.verdicts import a_column, a_problem, a_verdict

DAY = "2013-03-18"


def _watch(world: World) -> DriftRun:
    return DriftRun(world.spec, parse_moment(DAY), world.client, world.settings)


def _judged(world: World, severity: Any) -> None:
    """Leave a verdict of the day behind, on a version that was trained long before."""
    client = world.client
    client.create_registered_model(world.name)
    run = client.create_run("0")
    tags = {"evermodel.as_of": "2013-02-01"}
    client.create_model_version(world.name, f"{run.info.artifact_uri}/model", run.info.run_id, tags=tags)
    verdict = a_verdict(
        model=world.name,
        version="1",
        start="2013-03-11",
        columns=(a_column(severity=severity),),
        problems=(a_problem(severity=severity, reason="1 of 16 columns drift: humid"),),
    )
    watch = _watch(world)
    log_json(client, watch.mlflow_run(tags_of(verdict)).info.run_id, verdict.to_json(), VERDICT_FILE)


def _ask(world: World) -> tuple[Any, Any]:
    with DAG(f"drift_{world.name}", schedule=None):
        task = AskForRetrainOperator(task_id="ask", model=world.name, as_of=DAY)
    events = OutletEventAccessors()
    return task.execute({"outlet_events": events}), events  # type: ignore[typeddict-item]


def _answer(world: World) -> str:
    return str(_watch(world).mlflow_run().data.tags[RETRAIN_ANSWER])


def test_a_request_carries_its_reason_and_key_and_is_the_same_again(world: World) -> None:
    _judged(world, "critical")

    request, events = _ask(world)
    again, _ = _ask(world)

    reason = "drift since 2013-03-11: 1 of 16 columns drift: humid"
    assert request == again
    assert request["run_key"] == f"retrain/{world.name}/drift-{DAY}"
    assert request["reason"] == _answer(world) == reason
    assert events[retrain_wanted(world.name)].extra == request


def test_why_none_was_asked_for_is_kept_on_the_run_of_the_day(world: World) -> None:
    _judged(world, "warning")

    with pytest.raises(AirflowSkipException, match="severity warning, the policy requires critical"):
        _ask(world)
    assert _answer(world) == "no retrain: severity warning, the policy requires critical"


def test_a_task_whose_outlets_lack_the_request_fails_instead_of_asking_nobody(world: World) -> None:
    with DAG("drift_by_path", schedule=None):
        task = AskForRetrainOperator(task_id="ask", model=str(world.spec_file), as_of=DAY)
    context: Any = {"outlet_events": OutletEventAccessors()}

    with pytest.raises(AirflowFailException, match="would start no DAG") as caught:
        task.execute(context)
    assert f"outlets=[retrain_wanted('{world.name}')]" in str(caught.value)


def test_the_request_goes_to_the_asset_that_starts_the_retrain() -> None:
    with DAG("drift_flights", schedule=None):
        task = AskForRetrainOperator(task_id="ask", model="flights")
    assert task.outlets == [retrain_wanted("flights")]
