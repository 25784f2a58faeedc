from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from serving_world import SPEC, Wire, World, wait_until

from evermodel import tracking
from evermodel.settings import Settings


@pytest.fixture(scope="session")
def mlflow_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a real MLflow server of this test session."""
    folder = tmp_path_factory.mktemp("mlflow")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        sys.executable,
        "-m",
        "mlflow",
        "server",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--workers",
        "1",
    ]
    command += ["--backend-store-uri", f"sqlite:///{folder}/mlflow.db"]
    command += ["--artifacts-destination", str(folder / "artifacts")]
    env = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    env.pop("MLFLOW_TRACKING_URI", None)
    with (folder / "server.log").open("wb") as output:
        process = subprocess.Popen(
            command, cwd=folder, env=env, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
    url = f"http://127.0.0.1:{port}"
    try:
        wait_until(lambda: _answers(url), "the MLflow server answers", seconds=90)
        yield url
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(20)


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health", trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False


@pytest.fixture
def world(mlflow_server: str, tmp_path: Path) -> Iterator[World]:
    """A fresh model name, its spec and folders, in the session's registry."""
    name = f"late_{uuid.uuid4().hex[:10]}"
    models = tmp_path / "models"
    models.mkdir()
    (models / f"{name}.yaml").write_text(SPEC.format(name=name))
    settings = Settings(
        home=tmp_path / "home",
        lake=tmp_path / "lake",
        models=models,
        tracking_uri=mlflow_server,
        dvc_remote=str(tmp_path / "dvc"),
        airflow_url="http://127.0.0.1:8080",
    )
    before = os.environ.get("MLFLOW_TRACKING_URI")
    yield World(settings, name, tracking.connect(mlflow_server))
    tracking.connect(mlflow_server)
    os.environ.pop("MLFLOW_TRACKING_URI", None)
    if before is not None:
        os.environ["MLFLOW_TRACKING_URI"] = before


@pytest.fixture
def wire(mlflow_server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Wire]:
    """A way to the registry that can be cut."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    line = Wire(mlflow_server)
    yield line
    line.cut()
