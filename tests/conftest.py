from __future__ import annotations

import gc
import importlib
import logging
import os
import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from evermodel.registry.tracking import configure_mlflow_process
from support.flights import World, flights_world
from support.mlflow_server import mlflow_server as started_mlflow
from support.object_stores import s3_server
from support.postgres_server import postgres_server, server_programs

# One thread a process: the tests run side by side, and OpenMP threads that wait for each other would crawl.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("DO_NOT_TRACK", "1")
os.environ.setdefault("DVC_NO_ANALYTICS", "1")
configure_mlflow_process()
gc.disable()  # until all tests are collected: imports make little garbage


# Files that take longest, the longest first: they start first, so that two processes end at about the same time.
LONGEST = (
    "integration/test_demo.py", "integration/test_local_stack.py", "security/test_consent.py",
    "integration/test_models_page.py", "integration/test_first_model.py", "integration/test_spark.py",
    "serving/test_serving_schema.py", "security/test_secrets.py", "security/test_production_files.py",
    "faults/test_fault_sweep.py", "domain/test_transfer.py", "dags/test_retrain_runs.py", "dags/test_drift_runs.py", "dags/test_rollout_runs.py",
    "domain/test_cli_retrain.py", "serving/test_serving_rollout.py", "serving/test_serving_swap.py",
    "domain/test_retrain_champion.py", "dags/test_bad_situations.py", "domain/test_retrain_crash.py",
    "domain/test_overview.py", "domain/test_rollout_crash.py", "domain/test_tasks.py", "domain/test_rollout_steps.py",
    "integration/test_s3.py", "integration/test_guides.py", "serving/test_serving_outage.py",
    "domain/test_retrain_flow.py", "serving/test_serving_traffic.py", "domain/test_reproduce.py",
    "domain/test_performance_promise.py", "serving/test_serving_run.py", "integration/test_stored_formats.py",
)  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that need a server or a registry, and start with the files that take longest."""
    tests = Path(__file__).parent
    places = {str(tests / name): place for place, name in enumerate(LONGEST)}
    sizes = Counter(item.path for item in items)
    items.sort(key=lambda item: (places.get(str(item.path), len(places)), -sizes[item.path], str(item.path)))
    for item in items:
        fixtures = set(getattr(item, "fixturenames", ()))
        if fixtures & {"mlflow_server", "postgres", "s3_endpoint"}:
            item.add_marker("server")
        if "mlflow_store" in fixtures:
            item.add_marker("registry")
        if item.path.parent.name == "security":  # browsers, servers and many attempts
            item.add_marker("slow")


def pytest_configure() -> None:
    """Import skops first where all tests run: its import asks every loaded module for each function of SciPy."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        importlib.import_module("skops.io")


def pytest_collection_finish() -> None:
    """Keep what the imports made out of garbage collection: it stays, and looking through it takes long."""
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    """The address of an S3 server, one for all tests; see `support.object_stores` for its environment and buckets."""
    with s3_server() as endpoint:
        yield endpoint


@pytest.fixture(autouse=True)
def every_logger_speaks() -> None:
    """Undo what a migration, a command line or Airflow's set-up in the test before did to logging."""
    logging.disable(logging.NOTSET)
    logging.getLogger().setLevel(logging.WARNING)
    for name, logger in list(logging.root.manager.loggerDict.items()):
        if isinstance(logger, logging.Logger):
            logger.disabled = False
            if name.split(".", 1)[0] in {"evermodel", "evermodel_provider"}:
                logger.setLevel(logging.NOTSET)


@pytest.fixture(autouse=True)
def database(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> str:
    """URL of a database of this test alone; its file is made at first use."""
    url = f"sqlite:///{tmp_path_factory.getbasetemp() / 'databases' / uuid.uuid4().hex}.db"
    monkeypatch.setenv("EVERMODEL_DATABASE", url)
    return url


@pytest.fixture(scope="session")
def mlflow_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where this session's MLflow server has its database and its artifacts."""
    return tmp_path_factory.mktemp("mlflow")


@pytest.fixture(scope="session")
def mlflow_server(mlflow_folder: Path) -> Iterator[str]:
    """Address of a real MLflow server of this test session."""
    with started_mlflow(mlflow_folder) as url:
        yield url


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """Address of a real PostgreSQL server of this test session."""
    if server_programs() is None:
        pytest.skip("no PostgreSQL server is installed (apt-get install postgresql)")
    with postgres_server() as uri:
        yield uri


@pytest.fixture
def postgres_database(postgres: str) -> str:
    """URL of an empty database on the PostgreSQL server."""
    name = f"d{uuid.uuid4().hex[:12]}"
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    return f"{postgres.rpartition('/')[0]}/{name}"


@pytest.fixture(scope="session")
def mlflow_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of an MLflow database that needs no server, shared by the tests of this session."""
    folder = tmp_path_factory.mktemp("mlflow-store")
    with pytest.MonkeyPatch.context() as patch:
        # Where runs that are made without a server keep their files, also runs of a command line that a test starts.
        patch.setenv("_MLFLOW_SERVER_ARTIFACT_ROOT", str(folder / "artifacts"))
        yield f"sqlite:///{folder}/mlflow.db"


@pytest.fixture
def world(mlflow_store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """The flights example on the committed sample, under a model name of its own in a registry without a server."""
    return _world(tmp_path, mlflow_store, monkeypatch)


@pytest.fixture
def served_world(mlflow_server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """The same in the registry of a real MLflow server."""
    return _world(tmp_path, mlflow_server, monkeypatch)


def _world(folder: Path, tracking_uri: str, patch: pytest.MonkeyPatch) -> World:
    made = flights_world(folder, tracking_uri)
    made.settings = made.settings.model_copy(update={"database": os.environ["EVERMODEL_DATABASE"]})
    for name, value in made.environment.items():
        patch.setenv(name, value)
    return made
