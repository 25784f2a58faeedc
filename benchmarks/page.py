"""The Models page with 500 models and a year of history each, in a real MLflow server: how long do people wait?"""

from __future__ import annotations

import os
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

from benchmarks.outcome import Outcome
from benchmarks.page_history import last_midnight, model_names, write_history
from evermodel.overview.overview import Overview
from evermodel.settings import Settings
from evermodel.stack.ports import free_port

MODELS, DAYS = 500, 365
SMALL_MODELS, SMALL_DAYS = 5, 20
LIMIT = 1.0


def run(small: bool) -> Outcome:
    """Measure the answers of the page's app, without Airflow's login, and those of MLflow's own API beside them."""
    models, days = (SMALL_MODELS, SMALL_DAYS) if small else (MODELS, DAYS)
    repeats = 3 if small else 30
    with tempfile.TemporaryDirectory(prefix="page-") as name:
        home = Path(name)
        with mlflow(home) as uri:
            runs = write_history(home / "mlflow.db", models, days, last_midnight())
            return _measure(home, uri, models, days, runs, repeats)


def _measure(home: Path, uri: str, models: int, days: int, runs: int, repeats: int) -> Outcome:
    # The first visit of all, with nothing stored; a model's page is opened while the history is still being read.
    overview, client = _site(home / "page", uri)
    names = model_names(models)
    first_list = _seconds(lambda: client.get("/"))
    first_model = [
        _seconds(lambda name=name: client.get(f"/models/{name}")) for name in names[-min(5, models) :]
    ]
    began = time.monotonic()
    overview.wait()
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
        "models_without_history": missing, "limit_seconds": LIMIT, "list_kilobytes": size / 1000,
    }  # fmt: skip
    return Outcome(
        "the same facts read from MLflow for every page",
        {"model_vs_direct": statistics.median(plain) / statistics.median(opened)},
        figures,
        ("what", "median", "worst", "first visit of all"),
        rows,
        (
            f"{models} models, {days} days each, {runs:,} runs in MLflow on SQLite; times include building the HTML.",
        ),
    )


def _site(home: Path, uri: str) -> tuple[Overview, Any]:
    """Return the read model and a client of the app; every user may see everything."""
    os.environ.setdefault("AIRFLOW_HOME", str(home / "airflow"))
    from airflow.api_fastapi.core_api.security import get_user
    from fastapi.testclient import TestClient

    from evermodel_provider.ui import rights
    from evermodel_provider.ui.app import build_app

    settings = Settings(
        home=home, lake=home, models=home / "specs", tracking_uri=uri, dvc_remote="", airflow_url=""
    )
    app = build_app(lambda: settings)
    app.dependency_overrides[get_user] = object
    for name, answer in {
        "readable": lambda models, user: set(models), "may_see": lambda model, user: True,
        "may_see_any": lambda user: True, "may_start": lambda dag, user: True,
    }.items():  # fmt: skip
        setattr(rights, name, answer)
    return app.state.overview, TestClient(app)


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


def _cells(seconds: list[float]) -> tuple[str, str]:
    return f"{statistics.median(seconds):.3f} s", f"{max(seconds):.3f} s"
