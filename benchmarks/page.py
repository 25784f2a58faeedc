"""The Models page with 500 models and a year of history each, in a real MLflow server: how long do people wait?"""

from __future__ import annotations

import os
import secrets
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from tests.simulations.page_history import last_midnight, model_names, write_history

from benchmarks.outcome import Outcome
from evermodel.cli.local_stack.ports import free_port
from evermodel.core.settings import Settings
from evermodel.reports.overview.overview import Overview

MODELS, DAYS = 500, 365
SMALL_MODELS, SMALL_DAYS = 5, 20
LIMIT = 1.0
# Nineteen answers of twenty; the worst of all says more about what else the machine did.
_LIMITED = ("list_p95_seconds", "model_p95_seconds")


def run(small: bool) -> Outcome:
    """Measure the answers of the page's app to one user of Airflow, and those of MLflow's own API beside them.

    Raises
    ------
    RuntimeError
        People wait for longer than `LIMIT`.
    """
    models, days = (SMALL_MODELS, SMALL_DAYS) if small else (MODELS, DAYS)
    repeats = 3 if small else 30
    with tempfile.TemporaryDirectory(prefix="page-") as name:
        home = Path(name)
        with mlflow(home) as uri:
            runs = write_history(home / "mlflow.db", models, days, last_midnight())
            outcome = _measure(home, uri, models, days, runs, repeats)
    slow = {name: f"{outcome.figures[name]:.2f} s" for name in _LIMITED if outcome.figures[name] > LIMIT}
    if slow:
        raise RuntimeError(f"slower than {LIMIT:g} s: {slow}\n{outcome.table()}")
    return outcome


def _measure(home: Path, uri: str, models: int, days: int, runs: int, repeats: int) -> Outcome:
    # The first visit of all, with nothing stored; a model's page is opened while the history is still being read.
    names = model_names(models)
    overview, client = _site(home / "page", uri, names)
    first_list = _seconds(lambda: client.get("/"))
    first_model = [
        _seconds(lambda name=name: client.get(f"/models/{name}")) for name in names[-min(5, models) :]
    ]
    began = time.monotonic()
    _read_all(overview)
    history = time.monotonic() - began + first_list
    missing = overview.state().missing

    listed = [_seconds(lambda: client.get("/")) for _ in range(repeats)]
    picked = [names[number * len(names) // repeats] for number in range(repeats)]
    opened = [_seconds(lambda name=name: client.get(f"/models/{name}")) for name in picked]
    overview.wait()
    refreshed = _seconds(overview.update)
    plain = _plain(uri, names[0], max(3, repeats // 6))
    size = len(client.get("/").content)
    rows = [
        ("list of all models", *_cells(listed), f"{first_list:.2f} s"),
        ("page of one model", *_cells(opened), f"{max(first_model):.2f} s (worst of {len(first_model)})"),
        ("all history read, in the background", "", "", f"{history:.0f} s"),
        ("what is new, in the background", f"{refreshed:.2f} s", "", ""),
        ("the same page read from MLflow each time", *_cells(plain), ""),
    ]
    figures = {
        "models": models, "days": days, "runs": runs, "list_median_seconds": statistics.median(listed), "list_worst_seconds": max(listed),
        "model_median_seconds": statistics.median(opened), "model_worst_seconds": max(opened), "first_list_seconds": first_list,
        "first_model_worst_seconds": max(first_model), "refresh_seconds": refreshed, "history_seconds": history,
        "list_p95_seconds": _p95(listed), "model_p95_seconds": _p95(opened), "models_without_history": missing, "limit_seconds": LIMIT, "list_kilobytes": size / 1000,
    }  # fmt: skip
    return Outcome(
        "the same facts read from MLflow for every page",
        {"model_vs_direct": statistics.median(plain) / statistics.median(opened)},
        figures,
        ("what", "median", "worst", "first visit of all"),
        rows,
        (
            f"{models} models, {days} days each, {runs:,} runs in MLflow on SQLite; times include Airflow's rights and the HTML.",
        ),
    )


def _read_all(overview: Overview) -> None:
    """Wait until the history of every model is read, also where a first attempt failed on a busy machine."""
    overview.wait()
    while overview.state().missing or overview.state().problem:
        print(f"{overview.state().missing} models to read; {overview.state().problem}", flush=True)
        overview.update()


def _site(home: Path, uri: str, models: list[str]) -> tuple[Overview, Any]:
    """Return the read model and a client of the app that is logged in as a user of Airflow."""
    _airflow(home / "airflow")
    from fastapi.testclient import TestClient

    from evermodel_provider.ui.app import build_app

    settings = Settings(
        home=home, lake=home, models=home / "specs", tracking_uri=uri, dvc_remote="", airflow_url=""
    )
    app = build_app(lambda: settings)
    return app.state.overview, TestClient(app, headers={"Authorization": f"Bearer {_login(models)}"})


def _airflow(home: Path) -> None:
    """Give this process an Airflow of its own, before it is imported."""
    os.environ |= {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home / 'airflow.db'}",
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__LOGGING__LOGGING_LEVEL": "WARNING",
        "AIRFLOW__CORE__AUTH_MANAGER": "airflow.api_fastapi.auth.managers.simple.simple_auth_manager.SimpleAuthManager",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": "ada:user",
        "AIRFLOW__API_AUTH__JWT_SECRET": secrets.token_hex(64),
    }
    home.mkdir(parents=True)
    from airflow.utils.db import initdb

    initdb()


def _login(models: list[str]) -> str:
    """Enter the DAGs of the models, and return the token of a user who may read them."""
    from airflow.api_fastapi.app import create_auth_manager
    from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser
    from airflow.models.dag import DagModel
    from airflow.models.dagbundle import DagBundleModel
    from airflow.utils.session import create_session

    with create_session() as session:
        session.add(DagBundleModel(name="models"))
        session.flush()
        session.add_all(
            DagModel(dag_id=f"{kind}_{model}", bundle_name="models", is_stale=False)
            for model in models
            for kind in ("retrain", "drift", "score", "rollback", "rollout", "stop_rollout")
        )
    manager = create_auth_manager()
    manager.init()
    return str(manager.generate_jwt(SimpleAuthManagerUser(username="ada", role="user")))


def _plain(uri: str, model: str, repeats: int) -> list[float]:
    """Measure the searches alone that a page would need without the store."""
    with httpx.Client(base_url=f"{uri}/api/2.0/mlflow", timeout=120, trust_env=False) as client:

        def page() -> None:
            client.get("/registered-models/get", params={"name": model}).raise_for_status()
            for experiment in (model, f"{model}-monitoring"):
                found = client.get("/experiments/get-by-name", params={"experiment_name": experiment})
                identity = found.raise_for_status().json()["experiment"]["experiment_id"]
                body = {"experiment_ids": [identity], "max_results": 1000}
                client.post("/runs/search", json=body).raise_for_status()

        return [_seconds(page) for _ in range(repeats)]


@contextmanager
def mlflow(home: Path) -> Iterator[str]:
    """Run a real MLflow server on SQLite."""
    uri = f"http://127.0.0.1:{free_port()}"
    command = [
        *(sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", uri.rsplit(":", 1)[1], "--workers", "1"),
        *("--backend-store-uri", f"sqlite:///{home / 'mlflow.db'}", "--artifacts-destination", str(home / "artifacts")),
    ]  # fmt: skip
    env = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    env.pop("MLFLOW_TRACKING_URI", None)
    with (home / "mlflow.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=home, env=env, stdout=log, stderr=log, start_new_session=True)
    try:
        deadline = time.monotonic() + 180
        while not _healthy(uri):
            if time.monotonic() > deadline or process.poll() is not None:
                raise RuntimeError(f"MLflow did not start:\n{(home / 'mlflow.log').read_text()[-1500:]}")
            time.sleep(0.2)
        yield uri
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)


def _healthy(uri: str) -> bool:
    try:
        return httpx.get(f"{uri}/health", trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False


def _seconds(call: Callable[[], Any]) -> float:
    began = time.perf_counter()
    answer = call()
    taken = time.perf_counter() - began
    if isinstance(answer, httpx.Response):
        answer.raise_for_status()
    return taken


def _p95(seconds: list[float]) -> float:
    return statistics.quantiles(seconds, n=20, method="inclusive")[-1]


def _cells(seconds: list[float]) -> tuple[str, str]:
    return f"{statistics.median(seconds):.3f} s", f"{max(seconds):.3f} s"
