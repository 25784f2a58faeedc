"""A version that has proven itself in staging goes to production, with its decision, and nothing else gets there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from evermodel import registry
from evermodel.drift.verdict import DriftVerdict
from evermodel.errors import TransferError, WrongEnvironmentError
from evermodel.monitoring import DriftWatch
from evermodel.promotion import decision_of, promote_version
from evermodel.scoring import score_day
from evermodel.settings import Settings
from evermodel.tracking import connect
from evermodel.transfer import transfer
from evermodel.window import parse_moment
from worlds import World


@pytest.fixture
def prod(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    """A second registry and lake; the world's own are staging."""
    address = f"sqlite:///{tmp_path / 'prod.db'}"
    monkeypatch.setenv("MLFLOW_ARTIFACT_ROOT", str(tmp_path / "artifacts"))
    monkeypatch.setenv("EVERMODEL_ENVIRONMENT", "staging")
    monkeypatch.setenv("EVERMODEL_MLFLOW_STAGING", world.settings.tracking_uri)
    monkeypatch.setenv("EVERMODEL_MLFLOW_PROD", address)
    monkeypatch.setenv("EVERMODEL_SOURCE_DVC_REMOTE", world.settings.dvc_remote)
    monkeypatch.chdir(tmp_path)
    yield world.settings.model_copy(
        update={
            "lake": tmp_path / "prod-lake",
            "dvc_remote": str(tmp_path / "prod-dvc"),
            "tracking_uri": address,
            "environment": "prod",
        }
    )
    connect(world.settings.tracking_uri)


def to_prod(world: World, prod: Settings, version: str) -> object:
    return transfer(
        world.spec, version, source="staging", target="prod", by="ann", reason="ready", settings=prod
    )


def test_a_proven_version_serves_in_prod_with_its_decision_and_its_snapshot(
    world: World, prod: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = world.champion("2013-03-11")
    staged = decision_of(world.client, world.name, registry.champion(world.client, world.name))
    first = to_prod(world, prod, version)
    again = to_prod(world, prod, version)

    client = connect(prod.tracking_uri)
    champion = registry.champion(client, world.name)
    assert (str(champion.version), champion.tags["evermodel.origin"]) == ("1", f"staging/{version}")
    assert decision_of(client, world.name, champion).digest == staged.digest
    assert len(client.search_model_versions(f"name = '{world.name}'")) == 1
    (line,) = registry.history(client, world.name)
    assert (line.by, line.reason) == ("ann", f"ready (proven in staging/{version})")
    assert (first.deployed, again.deployed) == (True, True)  # type: ignore[attr-defined]

    monkeypatch.setenv("EVERMODEL_ENVIRONMENT", "prod")
    score_day(world.spec, parse_moment("2013-03-13"), client, prod)
    verdict = DriftWatch(world.spec, parse_moment("2013-03-13"), client, prod).judge()
    assert isinstance(verdict, DriftVerdict)
    assert verdict.reference_rows > 200


def test_where_the_spec_wants_approval_it_waits_for_a_person(world: World, prod: Settings) -> None:
    version = world.champion("2013-03-11")
    world.change(approval="manual")
    placed = to_prod(world, prod, version)
    client = connect(prod.tracking_uri)
    assert not placed.deployed  # type: ignore[attr-defined]
    assert registry.alias_version(client, world.name, registry.CHAMPION) is None
    with pytest.raises(WrongEnvironmentError, match="belongs to the environment prod"):
        promote_version(client, world.name, "1", by="ann", reason="go", run_key="by-mistake")


def test_only_what_has_served_is_proven(world: World, prod: Settings) -> None:
    retrain = world.retrain("2013-03-11")
    snapshot = retrain.validate(retrain.extract()).snapshot
    retrain.evaluate(snapshot.path, world.train(retrain, snapshot.path), "test")
    version = str(retrain.register(snapshot.to_json()).version)
    with pytest.raises(TransferError, match="never served in staging"):
        to_prod(world, prod, version)


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
