from __future__ import annotations

import sys
import uuid
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from evermodel.core.settings import Settings
from evermodel.registry import tracking
from evermodel.serving.desired_state import RegistrySource
from evermodel.serving.preparation import PreparingSource
from support.serving_edge import Edges, running_edge
from support.serving_models import SPEC, Wire, World

_PREPARING = {"test_serving_preparation", "test_serving_swap"}


@pytest.fixture(autouse=True)
def versions_load_in_this_process(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Start no process for a version, which takes 2 s, except where that is what is tested."""
    if request.module.__name__.rpartition(".")[2] not in _PREPARING:
        monkeypatch.setattr(PreparingSource, "download", RegistrySource.download)


@pytest.fixture
def world(mlflow_server: str, tmp_path: Path, database: str) -> World:
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
        database=database,
    )
    return World(settings, name, tracking.connect(mlflow_server))


@pytest.fixture
def wire(mlflow_server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Wire]:
    """A way to the registry that can be cut."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    line = Wire(mlflow_server)
    yield line
    line.cut()


@pytest.fixture
def edge(tmp_path: Path) -> Edges:
    """Runs an app of one model in this process; its predictions are logged in the test's lake."""
    return partial(running_edge, tmp_path / "lake" / "predictions")


@pytest.fixture
def recursion_limit_of_a_server() -> Iterator[None]:
    """Airflow and mypy raise the limit when another test imports them."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(1000)
    yield
    sys.setrecursionlimit(before)
