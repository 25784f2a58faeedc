"""The extra `serve` alone: no MLflow, scikit-learn or pandas; the registry is read over MLflow's REST API."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from evermodel.core.errors import MissingExtraError
from evermodel.registry import tracking
from evermodel.registry.model_files import hash_files
from evermodel.registry.registry_entry import RegistryEntry
from evermodel.registry.rest_client import RegistryRequestError, RestClient
from evermodel.registry.retrain_run import retrain_of
from evermodel.registry.tracking import keyed_run
from evermodel.serving.app import create_app
from support.serving_models import World, request_rows, wait_until

ABSENT = ("deltalake", "mlflow", "pandas", "pyarrow", "scipy", "sklearn", "skops")


@pytest.fixture
def thin(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Make the libraries that the extra does not bring impossible to import."""

    def without() -> None:
        monkeypatch.setattr(tracking, "is_installed", lambda library: False)
        loaded = [name for name in sys.modules if name.partition(".")[0] in ABSENT]
        for name in {*loaded, *ABSENT}:
            monkeypatch.setitem(sys.modules, name, None)

    return without


def test_a_graph_answers_and_follows_promotions(world: World, thin: Any) -> None:
    one, two = world.publish(1), world.publish(2, promote=False)
    rows = request_rows(40, 3)
    wanted = [made.scores(rows) for made in (one, two)]
    thin()
    with TestClient(create_app([world.name], world.settings, poll_seconds=0.2)) as app:
        wait_until(lambda: app.get("/ready").status_code == 200, "the app is ready")
        answer = app.post("/predict", json={"rows": rows}).json()
        assert [one["score"] for one in answer["predictions"]] == pytest.approx(wanted[0], abs=1e-9)
        promotion = {"name": world.name, "alias": "champion", "version": "2"}
        alias = f"{world.settings.tracking_uri}/api/2.0/mlflow/registered-models/alias"
        assert httpx.post(alias, json=promotion, trust_env=False).status_code == 200
        wait_until(lambda: app.get("/models").json()[0]["version"] == "2", "version 2 answers")
        answer = app.post("/invocations", json={"instances": rows}).json()
        assert answer["predictions"] == pytest.approx(wanted[1], abs=1e-9)


def test_a_version_without_a_graph_names_the_extra(world: World, thin: Any) -> None:
    world.publish(1, graph=False)
    thin()
    with TestClient(create_app([world.name], world.settings, poll_seconds=0.2)) as app:
        wait_until(lambda: app.get("/models").json()[0]["last_error"], "the load has failed")
        state = app.get("/models").json()[0]
    assert 'pip install "evermodel[serve,sklearn]"' in state["last_error"]


def test_it_reads_what_mlflows_client_reads(world: World, tmp_path: Path) -> None:
    version = world.publish(1).version
    theirs, ours = world.client, RestClient(world.settings.tracking_uri)
    assert isinstance(theirs, MlflowClient)
    assert RegistryEntry.read(ours, world.name) == RegistryEntry.read(theirs, world.name)  # type: ignore[arg-type]
    assert RegistryEntry.read(ours, "nothing").aliases == {}  # type: ignore[arg-type]
    with pytest.raises(RegistryRequestError) as refused:
        ours.get_model_version(world.name, "7")
    with pytest.raises(MlflowException) as their_refusal:
        theirs.get_model_version(world.name, "7")
    assert refused.value.error_code == their_refusal.value.error_code

    found, known = ours.get_model_version(world.name, version), theirs.get_model_version(world.name, version)
    assert (found.name, found.version, found.source, found.tags) == (
        *(known.name, str(known.version), known.source, known.tags),
    )
    place = ours.get_model_version_download_uri(world.name, version)
    assert place == theirs.get_model_version_download_uri(world.name, version)
    for client, folder in ((ours, tmp_path / "ours"), (theirs, tmp_path / "theirs")):
        folder.mkdir()
        tracking.download(client, place, "", folder)  # type: ignore[arg-type]
    assert hash_files(tmp_path / "ours") == hash_files(tmp_path / "theirs") != {}

    ours.set_registered_model_tag(world.name, "note", "ä=1")
    assert theirs.get_registered_model(world.name).tags["note"] == "ä=1"
    ours.delete_registered_model_tag(world.name, "note")
    assert "note" not in theirs.get_registered_model(world.name).tags


def test_it_finds_the_decision_of_a_version(world: World) -> None:
    version = world.client.get_model_version(world.name, world.publish(1).version)
    ours: Any = RestClient(world.settings.tracking_uri)
    assert retrain_of(ours, version) is None
    run = keyed_run(world.client, world.name, "key-1", kind="retrain", name="retrain")
    tracking.log_json(world.client, run.info.run_id, {"ships": True}, "decision/decision.json")
    found = retrain_of(ours, version)
    assert found is not None
    assert found.info.run_id == run.info.run_id
    stored = tracking.read_json(ours, found.info.run_id, "decision/decision.json")
    assert stored == tracking.read_json(world.client, run.info.run_id, "decision/decision.json")


def test_what_needs_mlflows_client_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for address in ("databricks", "sqlite:///mlflow.db"):
        with pytest.raises(MissingExtraError, match="not installed") as refused:
            RestClient(address)
        assert refused.value.advice == 'pip install "evermodel[serve,mlflow]"'
    with pytest.raises(MissingExtraError, match="artifacts at s3://"):
        RestClient("http://mlflow:5000").download("s3://bucket/models", "", tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_AUTH", "databricks-oauth")
    with pytest.raises(MissingExtraError, match="the login that MLFLOW_TRACKING_AUTH names"):
        RestClient("http://mlflow:5000")


def test_artifacts_of_this_machine_are_copied_and_stay_inside(tmp_path: Path) -> None:
    stored = tmp_path / "stored"
    (stored / "graph").mkdir(parents=True)
    (stored / "graph" / "model.onnx").write_bytes(b"graph")
    client = RestClient("http://mlflow:5000")
    client.download(stored.as_uri(), "", tmp_path / "all")
    assert (tmp_path / "all/graph/model.onnx").read_bytes() == b"graph"
    one = client.download(str(stored), "graph/model.onnx", tmp_path / "one")
    assert Path(one).read_bytes() == b"graph"
    with pytest.raises(Exception, match=r"\.\."):
        client.download(str(stored), "../secret", tmp_path / "none")
