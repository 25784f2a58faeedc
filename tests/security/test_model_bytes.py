"""What was evaluated is, byte for byte, what is deployed and what answers."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import pytest
from fastapi.testclient import TestClient

from evermodel.core.errors import ModelChangedError, PromotionError
from evermodel.deployment.eligibility import decision_of
from evermodel.deployment.promotion import promote_version
from evermodel.evaluation.decision import Decision
from evermodel.modeling.model_store import download, load_model
from evermodel.pipelines.retrain import Retrain
from evermodel.registry.model_files import content_digest, hash_files
from evermodel.registry.registry import ModelRegistry
from evermodel.registry.retrain_run import DECISION_FILE, RETRAIN, retrain_of
from evermodel.registry.tags import CONTENT, DECISION
from evermodel.registry.tracking import keyed_run, log_json
from evermodel.serving.app import create_app
from support.flights import World
from support.registry_shelf import promoted


def stored(world: World, version: str) -> Path:
    """The folder of a version in the artifact store."""
    place = world.client.get_model_version_download_uri(world.name, version)
    if place.startswith("models:/"):
        place = world.client.get_logged_model(place.removeprefix("models:/")).artifact_location
    return Path(urlparse(place).path)


def change(folder: Path) -> str:
    file = folder / "model.pkl" if (folder / "model.pkl").exists() else next(folder.glob("*.skops"))
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    return f"{file.name} was changed"


def add(folder: Path) -> str:
    (folder / "extra").mkdir()
    (folder / "extra" / "hook.py").write_text("import os\n")
    return r"extra/hook\.py was added"


def remove(folder: Path) -> str:
    (folder / "requirements.txt").unlink()
    return r"requirements\.txt is missing"


@pytest.fixture
def challenger(world: World) -> tuple[World, str, Retrain]:
    """A version that was evaluated and registered, and does not serve."""
    retrain = world.retrain("2013-03-18")
    snapshot = retrain.validate(retrain.extract()).snapshot
    retrain.evaluate(snapshot.path, world.train(retrain, snapshot.path), "test")
    return world, str(retrain.register(snapshot.to_json()).version), retrain


def test_changed_missing_and_added_files_are_named_and_not_deployed(
    challenger: tuple[World, str, Retrain], tmp_path: Path
) -> None:
    world, version, retrain = challenger
    found = world.client.get_model_version(world.name, version)
    decision = decision_of(world.client, found)
    files = download(world.client, f"models:/{world.name}/{version}", tmp_path / "sound")
    assert decision.files == files == hash_files(stored(world, version))
    assert found.tags[CONTENT] == content_digest(files)
    assert Decision.from_json(decision.to_json()) == decision
    folder, copy = stored(world, version), tmp_path / "copy"
    shutil.copytree(folder, copy)
    spoils: list[Callable[[Path], str]] = [change, add, remove]
    for spoil in spoils:
        told = spoil(folder)
        with pytest.raises(ModelChangedError, match=told):
            load_model(world.client, f"models:/{world.name}/{version}", tmp_path / spoil.__name__)
        with pytest.raises(ModelChangedError, match=told):
            retrain.deploy(version, "test")
        assert ModelRegistry(world.client).read(world.name).champion is None
        shutil.rmtree(folder)
        shutil.copytree(copy, folder)
    change(folder)  # a tag that is made to fit does not help: the decision says what was evaluated
    for forged in ({}, hash_files(folder)):
        world.client.set_model_version_tag(world.name, version, CONTENT, content_digest(forged))
        with pytest.raises(ModelChangedError, match="was changed"):
            retrain.deploy(version, "test")
    world.client.delete_model_version_tag(world.name, version, CONTENT)
    with pytest.raises(ModelChangedError, match="was changed"):
        retrain.deploy(version, "test")
    run = retrain_of(world.client, found)
    assert run is not None
    bare = {key: value for key, value in decision.to_json().items() if key != "files"}
    log_json(world.client, run.info.run_id, bare, DECISION_FILE)
    with pytest.raises(ModelChangedError, match=r"decision\.json was changed"):
        download(world.client, f"models:/{world.name}/{version}", tmp_path / "stripped")


def test_the_last_good_version_answers_when_a_newer_one_was_changed(
    challenger: tuple[World, str, Retrain], caplog: pytest.LogCaptureFixture
) -> None:
    world, first, retrain = challenger
    retrain.deploy(first, "test")
    registry, second = ModelRegistry(world.client), same_again(world, first)
    with pytest.raises(PromotionError, match="version 2 is one on model"):  # it was copied
        promote_version(world.client, world.name, second, by="ada", reason="x", run_key="k", force=True)
    with TestClient(create_app([world.name], world.settings, poll_seconds=0.1)) as client:
        assert state_of(client)["version"] == first
        told = change(stored(world, second))
        promote(registry, world, second, first)
        wait_for(lambda: told in caplog.text)
        assert state_of(client)["version"] == first
        promote(registry, world, first, second)
    change(stored(world, first))  # back to what it was
    cached = world.settings.model_cache / world.name / first
    change(cached)
    with TestClient(create_app([world.name], world.settings, poll_seconds=0.1)) as client:
        assert client.get("/ready").status_code == 200
        assert "event=cache_changed" in caplog.text
        assert state_of(client)["version"] == first
    away = world.settings.model_copy(update={"tracking_uri": "http://127.0.0.1:9"})
    with TestClient(create_app([world.name], away, poll_seconds=0.1)) as client:
        assert state_of(client)["version"] == first, "without the registry the cache's own hashes count"
    change(cached)
    with TestClient(create_app([world.name], away, poll_seconds=0.1)) as client:
        wait_for(lambda: "since the model was downloaded" in caplog.text)
        assert client.get("/ready").status_code == 503


def same_again(world: World, version: str) -> str:
    """Register the files of a version once more, with a decision of their own."""
    found, client = world.client.get_model_version(world.name, version), world.client
    run = keyed_run(client, world.name, "again", kind=RETRAIN, name="again")
    log_json(client, run.info.run_id, decision_of(client, found).to_json(), DECISION_FILE)
    tags = {name: found.tags[name] for name in (CONTENT, DECISION)}
    made = ModelRegistry(client).register(
        world.name, "again", source=found.source, run_id=found.run_id, tags=tags
    )
    return str(made.version)


def promote(registry: ModelRegistry, world: World, version: str, expected: str) -> None:
    """Move the alias as somebody with access to the registry could, without a check."""
    key = f"by hand {time.monotonic_ns()}"
    promoted(registry, world.name, version, expected=expected, by="test", reason="test", run_key=key)


def state_of(client: TestClient) -> dict[str, Any]:
    state: dict[str, Any] = client.get("/models").json()[0]
    return state


def wait_for(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < until, "in time"
        time.sleep(0.05)


def test_versions_of_earlier_releases_serve_with_a_note(
    challenger: tuple[World, str, Retrain], caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    """Their decisions list no files, and neither does a tag."""
    world, version, _ = challenger
    found = world.client.get_model_version(world.name, version)
    run = retrain_of(world.client, found)
    assert run is not None
    data = {k: v for k, v in decision_of(world.client, found).to_json().items() if k != "files"}
    old = Decision.from_json(json.loads(json.dumps(data)))
    assert old.files == {}
    log_json(world.client, run.info.run_id, old.to_json(), DECISION_FILE)
    world.client.set_model_version_tag(world.name, version, DECISION, old.digest)
    world.client.delete_model_version_tag(world.name, version, CONTENT)
    assert load_model(world.client, f"models:/{world.name}/{version}", tmp_path / "model").inputs
    assert f"event=no_file_hashes model={world.name} version={version}" in caplog.text
