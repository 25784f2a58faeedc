from __future__ import annotations

import logging
import pickle
import shutil
import socket
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
import skops.io
from fastapi.testclient import TestClient

from evermodel.serving.app import create_app
from support.serving_models import Wire, World, model_folder, request_rows, wait_for_version, wait_until


def last_error(client: httpx.Client) -> str:
    return client.get("/models").json()[0]["last_error"] or ""


def test_the_registry_goes_away_and_comes_back(
    world: World, wire: Wire, caplog: pytest.LogCaptureFixture
) -> None:
    one, two = world.publish(1), world.publish(2, promote=False)
    caplog.set_level(logging.INFO, "evermodel.serving")
    with TestClient(create_app([world.name], world.through(wire.url), poll_seconds=0.2)) as client:
        wait_for_version(client, one.version)
        wire.cut()
        wait_until(lambda: "does not answer" in last_error(client), "the outage is seen")
        failures = _failures(client, world)
        world.promote(two.version)
        wait_until(lambda: _failures(client, world) >= failures + 5, "it was tried again")
        answer = client.post("/predict", json={"rows": request_rows(1, 1)})
        assert (answer.status_code, answer.json()["version"]) == (200, one.version)
        assert client.get("/ready").status_code == 200
        said = [r for r in caplog.records if "does not answer" in r.getMessage()]
        assert [r.levelname for r in said] == ["WARNING"]
        wire.mend()
        wait_for_version(client, two.version)
        wait_until(lambda: last_error(client) == "", "the error is forgotten")


def test_a_database_that_never_answers_delays_no_answer(world: World) -> None:
    made = world.publish(1)
    with socket.create_server(("127.0.0.1", 0)) as silent:  # it accepts, and says nothing
        database = f"postgresql://127.0.0.1:{silent.getsockname()[1]}/evermodel"
        settings = world.settings.model_copy(update={"database": database})
        with TestClient(create_app([world.name], settings, poll_seconds=0.2)) as client:
            wait_for_version(client, made.version)
            assert client.post("/predict", json={"rows": request_rows(1, 1)}).status_code == 200
            silent.close()


def test_a_start_without_registry_answers_from_the_cache(world: World, wire: Wire) -> None:
    one, two = world.publish(1), world.publish(2, promote=False)
    settings = world.through(wire.url)
    with TestClient(create_app([world.name], settings, poll_seconds=0.2)) as client:
        wait_for_version(client, one.version)
    wire.cut()
    with TestClient(create_app([world.name], settings, poll_seconds=0.2)) as client:
        wait_until(lambda: client.get("/ready").status_code == 200, "the cached version answers")
        rows = request_rows(2, 1)
        body = client.post("/predict", json={"rows": rows}).json()
        assert [p["score"] for p in body["predictions"]] == pytest.approx(one.scores(rows), abs=1e-12)
        assert "does not answer" in last_error(client)
        world.promote(two.version)
        wire.mend()
        wait_for_version(client, two.version)


def test_a_process_without_registry_follows_another_one_of_its_machine(world: World, wire: Wire) -> None:
    one, two = world.publish(1), world.publish(2, promote=False)
    cut_off = create_app([world.name], world.through(wire.url), poll_seconds=0.2)
    with TestClient(cut_off) as client, TestClient(create_app([world.name], world.settings, 0.05)) as other:
        wait_for_version(client, one.version)
        wait_for_version(other, one.version)
        wire.cut()
        wait_until(lambda: "does not answer" in last_error(client), "the outage is seen")
        world.promote(two.version)
        wait_for_version(other, two.version)
        wait_for_version(client, two.version)
        rows = request_rows(2, 1)
        body = client.post("/predict", json={"rows": rows}).json()
        assert [p["score"] for p in body["predictions"]] == pytest.approx(two.scores(rows), abs=1e-9)


def test_a_start_without_registry_and_cache_says_so(world: World, wire: Wire) -> None:
    world.publish(1)
    wire.cut()
    with TestClient(create_app([world.name], world.through(wire.url), poll_seconds=0.2)) as client:
        wait_until(lambda: "does not answer" in client.get("/models").text, "the reason is named")
        assert client.get("/ready").status_code == 503


def test_a_broken_cache_without_registry_says_both(world: World, wire: Wire) -> None:
    one = world.publish(1, graph=False)
    settings = world.through(wire.url)
    with TestClient(create_app([world.name], settings, poll_seconds=0.2)) as client:
        wait_for_version(client, one.version)
    wire.cut()
    (model_folder(settings, world.name) / one.version / "model.skops").write_bytes(b"cut off")
    with TestClient(create_app([world.name], settings, poll_seconds=0.2)) as client:
        wait_until(lambda: "cannot be loaded either" in client.get("/models").text, "both reasons are named")
        assert client.get("/ready").json()["reasons"] == {world.name: "load_failed"}
        assert "does not answer" in client.get("/models").text
        wire.mend()
        wait_for_version(client, one.version)


def test_a_damaged_or_unsafe_champion_leaves_the_last_good_one(world: World, tmp_path: Path) -> None:
    one = world.publish(1, graph=False)
    trap = tmp_path / "trap"
    with TestClient(create_app([world.name], world.settings, poll_seconds=0.2)) as client:
        wait_for_version(client, one.version)
        damaged = _publish_files(world, 3, lambda files: (files / "model.skops").write_bytes(b"damaged"))
        wait_until(lambda: "not a readable skops file" in last_error(client), "the damage is seen")
        unsafe = _publish_files(world, 5, lambda files: _make_pickle(files, trap))
        wait_until(lambda: "runs code when loaded" in last_error(client), "the pickle is refused")
        answer = client.post("/predict", json={"rows": request_rows(1, 1)})
        assert (answer.status_code, answer.json()["version"]) == (200, one.version)
        assert not trap.exists()
        cached = {path.name for path in model_folder(world.settings, world.name).iterdir() if path.is_dir()}
        assert cached.isdisjoint({damaged, unsafe})
        two = world.publish(2)
        wait_for_version(client, two.version)
        # The version answers a moment before its files are marked as good and the error is forgotten.
        wait_until(lambda: last_error(client) == "", "the error is forgotten")


def test_a_version_that_cannot_score_its_own_example_is_not_put_to_work(world: World) -> None:
    one = world.publish(1, graph=False)
    with TestClient(create_app([world.name], world.settings, poll_seconds=0.2)) as client:
        wait_for_version(client, one.version)
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        def no_classifier(files: Path) -> None:
            skops.io.dump(make_pipeline(StandardScaler()), files / "model.skops")

        _publish_files(world, 3, no_classifier)
        wait_until(lambda: "cannot score its own example" in last_error(client), "it is refused")
        assert client.post("/predict", json={"rows": request_rows(1, 1)}).json()["version"] == one.version


def _failures(client: httpx.Client, world: World) -> float:
    start = f'evermodel_load_failures_total{{model="{world.name}"}} '
    (line,) = (line for line in client.get("/metrics").text.splitlines() if line.startswith(start))
    return float(line.removeprefix(start))


def _publish_files(world: World, seed: int, change: Callable[[Path], object]) -> str:
    """Publish a copy of the first version whose files were changed."""
    files = world.settings.home / f"changed-{seed}"
    shutil.copytree(model_folder(world.settings, world.name) / "1", files)
    (files / ".origin").unlink()
    change(files)
    experiment = world.client.get_experiment_by_name(world.name)
    run = world.client.create_run(experiment.experiment_id)
    world.client.log_artifacts(run.info.run_id, str(files), "model")
    return world.register(f"{run.info.artifact_uri}/model", run.info.run_id, None, seed).version


class _Trap:
    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return (open, (self.path, "w"))


def _make_pickle(files: Path, trap: Path) -> None:
    (files / "model.skops").unlink()
    (files / "model.pkl").write_bytes(pickle.dumps(_Trap(str(trap))))
    meta = (files / "MLmodel").read_text()
    changed = meta.replace("serialization_format: skops", "serialization_format: cloudpickle")
    (files / "MLmodel").write_text(changed.replace("model.skops", "model.pkl"))
    assert changed != meta
