"""A version that has proven itself in staging goes to production, with its decision, and nothing else gets there."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlflow
import pytest
from typer.testing import CliRunner

from evermodel.cli import app
from evermodel.core.errors import RolloutError, TransferError, WrongEnvironmentError
from evermodel.core.settings import Settings
from evermodel.deployment.eligibility import decision_of
from evermodel.deployment.promotion import promote_version
from evermodel.deployment.rollout.service import RolloutService
from evermodel.modeling.model_store import load_model
from evermodel.modeling.scoring.day import score_day
from evermodel.monitoring.drift.verdict import DriftVerdict
from evermodel.pipelines import transfer as transfers
from evermodel.pipelines.drift import DriftRun
from evermodel.pipelines.transfer import Transferred, transfer
from evermodel.registry.registry import ModelRegistry
from evermodel.registry.registry_entry import CHAMPION
from evermodel.registry.tracking import connect
from evermodel.spec.window import parse_moment
from support.flights import World
from support.rollouts import RolloutWorld


@pytest.fixture
def prod(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A second registry and lake; the world's own are staging."""
    address = f"sqlite:///{tmp_path / 'prod.db'}"
    monkeypatch.setenv("MLFLOW_ARTIFACT_ROOT", str(tmp_path / "artifacts"))
    monkeypatch.setenv("EVERMODEL_ENVIRONMENT", "staging")
    monkeypatch.setenv("EVERMODEL_MLFLOW_STAGING", world.settings.tracking_uri)
    monkeypatch.setenv("EVERMODEL_MLFLOW_PROD", address)
    monkeypatch.setenv("EVERMODEL_SOURCE_DVC_REMOTE", world.settings.dvc_remote)
    monkeypatch.chdir(tmp_path)
    return world.settings.model_copy(
        update={
            "lake": tmp_path / "prod-lake",
            "dvc_remote": str(tmp_path / "prod-dvc"),
            "tracking_uri": address,
            "environment": "prod",
        }
    )


def to_prod(world: World, prod: Settings, version: str, source: str = "staging") -> Transferred:
    return transfer(
        world.spec, version, source=source, target="prod", by="ann", reason="ready", settings=prod
    )


def serving_in(
    prod: Settings, world: World, monkeypatch: pytest.MonkeyPatch, run_key: str = "r/1"
) -> RolloutWorld:
    """A champion that prod has retrained itself."""
    made = RolloutWorld(replace(world, settings=prod), {"strategy": "canary"}, name=world.name)
    with monkeypatch.context() as there:
        there.setenv("EVERMODEL_ENVIRONMENT", "prod")
        made.serve(run_key)
    return made


def test_a_proven_version_serves_in_prod_with_its_decision_and_its_snapshot(
    world: World, prod: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = world.champion("2013-03-11", evidence=True)
    staged = decision_of(world.client, ModelRegistry(world.client).champion(world.name))
    first = to_prod(world, prod, version)
    again = to_prod(world, prod, version)

    client = connect(prod.tracking_uri)
    champion = ModelRegistry(client).champion(world.name)
    assert (str(champion.version), champion.tags["evermodel.origin"]) == ("1", f"staging/{version}")
    assert decision_of(client, champion).digest == staged.digest
    assert len(client.search_model_versions(f"name = '{world.name}'")) == 1
    (line,) = ModelRegistry(client).read(world.name).promotions
    assert (line.by, line.reason) == ("ann", f"ready (proven in staging/{version})")
    assert (first.deployed, again.deployed) == (True, True)

    monkeypatch.setenv("EVERMODEL_ENVIRONMENT", "prod")
    score_day(world.spec, parse_moment("2013-03-13"), client, prod)
    verdict = DriftRun(world.spec, parse_moment("2013-03-13"), client, prod).judge()
    assert isinstance(verdict, DriftVerdict)
    assert verdict.reference_rows > 200


def test_two_servers_in_one_process_change_nothing_of_it(
    world: World, prod: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(
        "MLFLOW_TRACKING_URI", "http://127.0.0.1:9"
    )  # nothing may ask the process's own server
    before = _process()

    version = world.champion("2013-03-11")
    staging, client = world.client, connect(prod.tracking_uri)
    assert to_prod(world, prod, version).deployed
    for registered, number in ((staging, version), (client, "1"), (staging, version)):
        uri = f"models:/{world.name}/{number}"
        assert load_model(registered, uri, tmp_path / "model").inputs

    assert _process() == before


def _process() -> tuple[dict[str, str], str, str]:
    """The environment, without what scikit-learn sets when it is imported, and MLflow's addresses."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("KMP_")}
    return environ, mlflow.get_tracking_uri(), mlflow.get_registry_uri()


def test_where_the_spec_wants_approval_it_waits_for_a_person(world: World, prod: Settings) -> None:
    version = world.champion("2013-03-11")
    world.change(approval="manual")
    placed = to_prod(world, prod, version)
    client = connect(prod.tracking_uri)
    assert (placed.deployed, placed.deployment.outcome) == (False, "waits for approval")
    assert ModelRegistry(client).at_alias(world.name, CHAMPION) is None
    with pytest.raises(WrongEnvironmentError, match="belongs to the environment prod"):
        promote_version(client, world.name, "1", by="ann", reason="go", run_key="by-mistake")
    assert "evermodel.approved_by" not in client.get_model_version(world.name, "1").tags


def test_a_retrain_of_prod_under_the_same_key_is_left_alone(
    world: World, prod: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = f"retrain/{world.name}/scheduled__2013-03-11"
    version = world.champion("2013-03-11", run_key=key)
    there = serving_in(prod, world, monkeypatch, run_key=key)
    client = connect(prod.tracking_uri)
    own = decision_of(client, ModelRegistry(client).champion(world.name))

    with monkeypatch.context() as killed:
        killed.setattr(transfers, "_log_files", _killed)
        with pytest.raises(KeyboardInterrupt):
            to_prod(world, prod, version)
    placed, again = to_prod(world, prod, version), to_prod(world, prod, version)

    assert (placed.version, placed.deployed, placed.deployment.previous) == ("2", True, "1")
    assert again == placed
    client = connect(prod.tracking_uri)
    assert decision_of(client, client.get_model_version(world.name, "1")) == own
    tags = there.tags("2")
    assert tags["evermodel.run_key"] == f"transfer/staging/{version}/{key}"
    assert decision_of(client, ModelRegistry(client).champion(world.name)) != own
    experiment = client.get_experiment_by_name(world.name).experiment_id
    runs = client.search_runs([experiment], "tags.`evermodel.kind` = 'retrain'")
    told = {run.data.tags["evermodel.run_key"]: run.data.tags["evermodel.version"] for run in runs}
    assert told == {key: "1", f"transfer/staging/{version}/{key}": "2"}
    assert len(client.search_model_versions(f"name = '{world.name}'")) == 2


def _killed(*_: Any) -> str:
    raise KeyboardInterrupt


def test_a_yes_in_staging_is_none_in_prod(
    world: World, prod: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = world.champion("2013-03-11")
    for name in ("approved_by", "approved_comment", "rollout", "rollout_reason"):
        world.client.set_model_version_tag(world.name, version, f"evermodel.{name}", "in staging")
    world.change(approval="manual", approvers=["ml_lead#3"], rollout={"strategy": "canary"})
    there = serving_in(prod, world, monkeypatch)

    assert to_prod(world, prod, version).deployment.outcome == "waits for approval"

    tags = there.tags("2")
    assert not {"evermodel.approved_by", "evermodel.approved_at", "evermodel.rollout"} & set(tags)
    assert tags["evermodel.origin.approved_by"] == "in staging"
    monkeypatch.setenv("EVERMODEL_ENVIRONMENT", "prod")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", prod.tracking_uri)
    rollouts = RolloutService(world.spec, connect(prod.tracking_uri), prod)
    with pytest.raises(RolloutError, match=r"is not approved[^…]* --approve"):
        rollouts.start("2", by="eve", reason="go", run_key="k")

    command = ["promote", world.name, "2", "--reason", "looked at it"]
    monkeypatch.setattr("evermodel.cli.promote.os_user", lambda: "eve")
    for words in (command, [*command, "--force"], [*command, "--approve"]):
        assert "eve may not approve" in str(CliRunner().invoke(app, words).exception)
    monkeypatch.setattr("evermodel.cli.promote.os_user", lambda: "ml_lead")
    done = CliRunner().invoke(app, [*command, "--approve"])
    assert "version 2 is being rolled out in prod (canary); version 1 stays champion" in done.stdout, done
    tags = there.tags("2")
    assert (tags["evermodel.approved_by"], tags["evermodel.approved_comment"]) == ("ml_lead", "looked at it")
    assert (there.plan.challenger, there.plan.by, there.champion) == ("2", "ml_lead", "1")


def test_from_dev_to_staging_to_prod(
    world: World, prod: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    staging = f"sqlite:///{tmp_path / 'staging.db'}"
    monkeypatch.setenv("EVERMODEL_MLFLOW_DEV", world.settings.tracking_uri)
    monkeypatch.setenv("EVERMODEL_MLFLOW_STAGING", staging)
    monkeypatch.setenv("EVERMODEL_ENVIRONMENT", "dev")
    version = world.champion("2013-03-11")
    halfway = prod.model_copy(update={"lake": tmp_path / "staging-lake", "tracking_uri": staging})
    transfer(world.spec, version, source="dev", target="staging", by="a", reason="b", settings=halfway)

    assert to_prod(world, prod, "1").deployed

    client = connect(prod.tracking_uri)
    champion = ModelRegistry(client).champion(world.name)
    assert load_model(client, f"models:/{world.name}/{champion.version}", tmp_path / "model").inputs
    assert champion.tags["evermodel.origin"] == "staging/1"
    logged = client.get_run(champion.run_id).data.tags["evermodel.model_uri"].removeprefix("models:/")
    assert champion.source == client.get_logged_model(logged).artifact_location
    assert champion.source != connect(staging).get_model_version(world.name, "1").source


def test_prod_rolls_it_out_step_by_step_where_its_spec_says_so(
    world: World, prod: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = world.champion("2013-03-11")
    world.change(environments={"prod": {"rollout": {"strategy": "canary"}}})
    there = serving_in(prod, world, monkeypatch)
    for name, value in (("LAKE", str(prod.lake)), ("DVC_REMOTE", prod.dvc_remote)):
        monkeypatch.setenv(f"EVERMODEL_{name}", value)
    command = ["promote", world.name, version, "--from", "staging", "--to", "prod", "--reason", "ready"]

    told = json.loads(CliRunner().invoke(app, [*command, "--json"]).stdout)

    assert (told["outcome"], told["strategy"], told["deployed"]) == ("rolling out", "canary", False)
    assert (there.champion, there.plan.challenger, there.plan.state) == ("1", "2", "running")
    assert there.plan.reason == f"ready (proven in staging/{version})"
    again = CliRunner().invoke(app, command)
    assert "version 2 is being rolled out in prod (canary); version 1 stays champion" in again.stdout
    assert f"evermodel rollout advance {world.name}" in again.stdout
    with monkeypatch.context() as in_prod:
        in_prod.setenv("EVERMODEL_ENVIRONMENT", "prod")
        there.steps.stop(by="ann", reason="freeze")
    ended = CliRunner().invoke(app, command)
    assert (
        "was rolled out in prod before (stopped by ann: freeze), and is not rolled out again" in ended.stdout
    )
    assert (there.champion, there.plan.state) == ("1", "stopped")


def test_a_promotion_at_once_ends_the_rollout_that_prod_had_under_way(
    world: World, prod: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = world.champion("2013-03-11")
    there = serving_in(prod, world, monkeypatch)
    with monkeypatch.context() as in_prod:
        in_prod.setenv("EVERMODEL_ENVIRONMENT", "prod")
        there.judged("r/2", "1")
        there.steps.start("2", by="me", reason="weekly", run_key="rollout/r/2")

    assert to_prod(world, prod, version).deployment.outcome == "champion"

    assert (there.champion, there.plan.state) == ("3", "stopped")
    assert there.plan.verdict == "version 3 was promoted: ready"


def test_only_what_has_served_is_proven(world: World, prod: Settings) -> None:
    retrain = world.retrain("2013-03-11")
    snapshot = retrain.validate(retrain.extract()).snapshot
    retrain.evaluate(snapshot.path, world.train(retrain, snapshot.path), "test")
    version = str(retrain.register(snapshot.to_json()).version)
    with pytest.raises(TransferError, match="never served in staging"):
        to_prod(world, prod, version)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--force", "--approve"), "--approve and --force cannot be combined"),
        (("--from", "staging", "--approve"), "--from and --to and --approve cannot be combined"),
        (("--from", "staging"), "pass both --from and --to"),
    ],
)
def test_one_way_into_service_at_a_time(words: tuple[str, ...], said: str) -> None:
    command = ["promote", "flights", "1", "--reason", "x", *words]
    assert said in str(CliRunner().invoke(app, command).exception)


def test_a_registry_without_address_and_one_for_both_are_refused(
    world: World, prod: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EVERMODEL_MLFLOW_PROD", world.settings.tracking_uri)
    with pytest.raises(TransferError, match="the same registry"):
        to_prod(world, prod, "1")
    monkeypatch.delenv("EVERMODEL_MLFLOW_PROD")
    with pytest.raises(TransferError, match="set EVERMODEL_MLFLOW_PROD"):
        to_prod(world, prod, "1")


def test_staging_cannot_touch_a_model_of_prod(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVERMODEL_ENVIRONMENT", "prod")
    world.champion("2013-03-11")
    monkeypatch.setenv("EVERMODEL_ENVIRONMENT", "staging")
    with pytest.raises(WrongEnvironmentError, match=r"belongs to the environment prod.*runs in staging"):
        world.champion("2013-03-18", run_key="second")
    monkeypatch.delenv("EVERMODEL_ENVIRONMENT")
    with pytest.raises(WrongEnvironmentError, match="runs in local"):
        world.champion("2013-03-18", run_key="second")
