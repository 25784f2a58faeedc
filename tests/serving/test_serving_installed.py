"""`make test-install`: the extra `serve` in a fresh environment answers as this one does, without Airflow."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import httpx
import pytest

from evermodel.cli.local_stack.ports import free_port
from support.distributions import build_wheels
from support.fresh_environment import FreshEnvironment
from support.prediction_logs import log_rows
from support.serving_models import Published, World, request_rows, wait_until

pytestmark = [pytest.mark.install, pytest.mark.timeout(600)]
MOST, MOST_MEGABYTES = 48, 260
NOT_NEEDED = {
    *("apache-airflow", "apache-airflow-core", "dvc", "evidently", "matplotlib", "duckdb", "deltalake"),
    *("mlflow", "mlflow-skinny", "pandas", "pyarrow", "scipy", "scikit-learn", "skops"),
}


@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13"])
def test_the_extra_serve_answers_without_airflow(world: World, python: str, tmp_path: Path) -> None:
    environment = _installed("evermodel[serve]", python, tmp_path)
    found = environment.size()
    print(f"\nevermodel[serve], Python {python}: {len(found.names)} distributions, {found.megabytes} MB")
    assert not found.names & NOT_NEEDED
    assert len(found.names) <= MOST, sorted(found.names)
    assert found.megabytes <= MOST_MEGABYTES
    _answers(environment, world, world.publish(1), tmp_path)


def test_the_extra_sklearn_answers_without_a_graph(world: World, tmp_path: Path) -> None:
    environment = _installed("evermodel[serve,sklearn]", "3.11", tmp_path)
    _answers(environment, world, world.publish(1, graph=False), tmp_path)


def _installed(requirement: str, python: str, folder: Path) -> FreshEnvironment:
    build_wheels(folder / "wheels")
    environment = FreshEnvironment(folder / "venv", python, folder / "wheels")
    environment.install(requirement)
    return environment


def _answers(environment: FreshEnvironment, world: World, made: Published, tmp_path: Path) -> None:
    """Serve the champion from an environment: it scores as here, and logs what it answered."""
    rows, port = request_rows(5, seed=3), free_port()
    variables = {
        "EVERMODEL_HOME": str(tmp_path / "served"),
        "EVERMODEL_MODELS": str(world.settings.models),
        "MLFLOW_TRACKING_URI": world.settings.tracking_uri,
        "PATH": os.environ["PATH"],
    }
    command = [environment.programs / "evermodel", "serve", world.name, "--port", str(port)]
    with (tmp_path / "serve.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=tmp_path, env=variables, stdout=log, stderr=log)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
            wait_until(lambda: _ready(client), (tmp_path / "serve.log").read_text(), seconds=120)
            answer = client.post("/predict", json={"rows": rows})
            described = client.get("/openapi.json").json()
    finally:
        process.terminate()
        process.wait(30)
    assert answer.status_code == 200, answer.text
    scores = [prediction["score"] for prediction in answer.json()["predictions"]]
    assert scores == pytest.approx(made.scores(rows), abs=1e-5)
    assert f"/models/{world.name}/predict" in described["paths"]
    logged = log_rows(tmp_path / "served" / "lake", world.name)
    assert logged["score"].to_pylist() == pytest.approx(scores)


def _ready(client: httpx.Client) -> bool:
    try:
        return client.get("/ready").status_code == 200
    except httpx.HTTPError:
        return False
