"""The operators in a DAG of one's own, without the shipped DAG's branch and approval: what protects production still does."""

from __future__ import annotations

from typing import Any

import pytest

from evermodel.registry.registry import ModelRegistry
from evermodel_provider.assets import champion
from support.airflow_runs import run
from support.flights import FAST, World
from support.guides import examples

pytestmark = pytest.mark.integration


@pytest.fixture
def model(world: World, without_evidence: None) -> World:
    world.change(candidates=[FAST])
    return world


def straight(model: str, **given: Any) -> Any:
    """A DAG as a user may write it: from extract to deploy, nothing between evaluate and register.

    What is given takes the place of an output in `evaluate`, as an XCom does that a user has written.
    """
    from airflow.sdk import DAG

    from evermodel_provider.operators.deploy import DeployOperator
    from evermodel_provider.operators.evaluate import EvaluateOperator
    from evermodel_provider.operators.extract import ExtractOperator
    from evermodel_provider.operators.register import RegisterOperator
    from evermodel_provider.operators.train import TrainOperator
    from evermodel_provider.operators.validate import ValidateOperator

    step = {"model": model, "as_of": "{{ ds }}", "run_key": "own/{{ ds }}", "retries": 0}
    with DAG(f"own_{model}", schedule=None) as dag:
        extract = ExtractOperator(task_id="extract", **step)
        validate = ValidateOperator(task_id="validate", snapshot=extract.output, **step)
        train = TrainOperator(task_id="train", candidate="logistic", snapshot=validate.output, **step)
        outputs = {"snapshot": validate.output, "trained": [train.output], **given}
        evaluate = EvaluateOperator(task_id="evaluate", **outputs, **step)
        register = RegisterOperator(task_id="register", snapshot=validate.output, **step)
        deploy = DeployOperator(task_id="deploy", version=register.output, **step)
        evaluate >> register >> deploy
    return dag


def events_of(asset: Any) -> list[dict[str, Any]]:
    """Return what the events of an asset carry."""
    from airflow.models.asset import AssetEvent, AssetModel
    from airflow.utils.session import create_session
    from sqlalchemy import select

    with create_session() as session:
        query = select(AssetEvent).join(AssetModel, AssetEvent.asset_id == AssetModel.id)
        return [event.extra for event in session.scalars(query.where(AssetModel.uri == asset.uri))]


def test_the_retrain_among_own_tasks_ends_without_a_version_if_a_gate_fails(model: World) -> None:
    model.change(gate={"floor": 0.99})
    (page,) = [
        one for one in examples("python") if one.text.startswith("from evermodel_provider import retrain")
    ]
    names: dict[str, Any] = {}
    exec(compile(page.text.replace('"orders"', f'"{model.name}"'), str(page), "exec"), names)

    done = run(names["retrain"].dag, "2013-03-11")

    assert done.state == "success"
    kept_out = ("retrain.register", "check", "retrain.approve", "retrain.deploy")
    assert {done.states[task] for task in kept_out} == {"skipped"}
    assert (done.states["load"], done.states["publish"]) == ("success", "success")
    assert done.xcom("retrain.report")["outcome"] == "kept the champion"
    assert model.client.search_model_versions(f"name = '{model.name}'") == []


def test_a_challenger_that_failed_its_gates_is_neither_registered_nor_deployed(model: World) -> None:
    model.change(gate={"floor": 0.99})

    done = run(straight(model.name), "2013-03-11")

    assert done.states["evaluate"] == "success"
    assert (done.states["register"], done.states["deploy"]) == ("failed", "upstream_failed")
    assert model.client.search_model_versions(f"name = '{model.name}'") == []


def test_where_the_spec_wants_an_approval_no_version_is_deployed_without_one(model: World) -> None:
    model.change(approval="manual", approvers=["reviewer"])

    done = run(straight(model.name), "2013-03-11")

    assert (done.states["register"], done.states["deploy"]) == ("success", "failed")
    assert ModelRegistry(model.client).read(model.name).champion is None


def test_a_challenger_that_passed_is_deployed_and_judged_for_another_it_is_not(model: World) -> None:
    first = run(straight(model.name), "2013-03-11")
    assert first.state == "success"
    assert ModelRegistry(model.client).read(model.name).champion == "1"
    assert events_of(champion(model.name)) == [{"version": "1"}]
    decision = first.xcom("evaluate", "_link_evermodel_DecisionLink")
    assert decision.endswith("/artifacts/decision.html")
    assert first.xcom("deploy", "_link_evermodel_ModelVersionLink").endswith(f"/{model.name}/versions/1")
    assert "links" not in first.xcom("evaluate")

    for given in ({"trained": [first.xcom("train")]}, {"snapshot": first.xcom("validate")}):
        done = run(straight(model.name, **given), "2013-03-25")
        assert (done.states["train"], done.states["evaluate"]) == ("success", "failed")
        assert done.states["register"] == "upstream_failed"
    assert ModelRegistry(model.client).read(model.name).champion == "1"
