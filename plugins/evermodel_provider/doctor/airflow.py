"""Check of Airflow: installation, processes, and DAGs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import httpx
from airflow.providers.common.compat.sdk import conf
from sqlalchemy.engine import make_url

from evermodel.core.diagnostics import Finding, first_line
from evermodel.core.settings import Settings

_DAGS = ("retrain.py", "score.py", "drift.py", "rollback.py", "messages.py", "broken_specs.py")
_PARTS = ("metadatabase", "scheduler", "triggerer", "dag_processor")
_SECONDS = 25


def check_airflow(settings: Settings) -> Iterator[Finding]:
    """Check the installation, the DAG folder, the API and the import errors."""
    yield Finding(
        "Airflow", "green", f"{version('apache-airflow')}, home {os.environ.get('AIRFLOW_HOME', '~/airflow')}"
    )
    yield _folder(Path(conf.get("core", "dags_folder")))
    yield from _api(settings.airflow_url, named="EVERMODEL_AIRFLOW_URL" in os.environ)
    yield _import_errors(conf.get("database", "sql_alchemy_conn"))


def _folder(folder: Path) -> Finding:
    missing = [name for name in _DAGS if not (folder / name).is_file()]
    if not missing:
        return Finding("DAG folder", "green", f"{folder} has evermodel's DAGs")
    if len(missing) == len(_DAGS) and any(
        "evermodel_provider" in _text(file) for file in folder.glob("*.py")
    ):
        return Finding("DAG folder", "green", f"{folder} has DAGs with evermodel's operators")
    return Finding(
        "DAG folder",
        "yellow",
        f"{folder} lacks {', '.join(missing)}",
        "run evermodel dags write, or set AIRFLOW__CORE__DAGS_FOLDER; nothing is scheduled without DAG files",
    )


def _text(file: Path) -> str:
    return file.read_text(encoding="utf-8", errors="replace")


def _api(url: str, *, named: bool) -> Iterator[Finding]:
    """Read the version and the health of the other processes from the API server."""
    try:
        info = httpx.get(f"{url}/api/v2/version", timeout=5, trust_env=False).raise_for_status().json()
        health = httpx.get(f"{url}/api/v2/monitor/health", timeout=5, trust_env=False).json()
    except (httpx.HTTPError, ValueError) as error:
        yield Finding(
            "Airflow API",
            "red" if named else "yellow",
            f"{url} does not answer as an Airflow API ({first_line(error)})",
            "start the API server, or set EVERMODEL_AIRFLOW_URL; the command line works without Airflow running",
        )
        return
    yield Finding("Airflow API", "green", f"{url} runs {info.get('version')}")
    ill = [name for name in _PARTS if _status(health, name) == "unhealthy"]
    if ill:
        yield Finding(
            "Airflow processes",
            "red",
            f"not healthy: {', '.join(ill)}",
            "restart them and check their logs; without a scheduler nothing runs",
        )
    else:
        yield Finding("Airflow processes", "green", ", ".join(f"{n} {_status(health, n)}" for n in _PARTS))


def _status(health: dict[str, Any], name: str) -> str:
    return str((health.get(name) or {}).get("status") or "missing")


def _import_errors(connection: str) -> Finding:
    """Run Airflow's own command line, in a process that can be ended."""
    database = make_url(connection)
    if database.get_backend_name() == "sqlite" and not Path(database.database or "").is_file():
        return Finding(
            "Airflow database",
            "yellow",
            f"{database.database} does not exist",
            "create it with airflow db migrate or airflow standalone; the command line works without it",
        )
    command = [sys.executable, "-m", "airflow", "dags", "list-import-errors", "--output", "json"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS)
    except subprocess.TimeoutExpired:
        problem = f"airflow dags list-import-errors did not end within {_SECONDS} s"
        return Finding("Airflow database", "red", problem, "check the database: airflow db check")
    errors = _errors_in(done.stdout)
    if errors is None and "No data found" not in done.stdout:
        last = (done.stderr or done.stdout).strip().split("\n")[-1][:300]
        return Finding(
            "Airflow database",
            "red",
            f"{database.render_as_string(hide_password=True)}: {last}",
            "run airflow db check and airflow db migrate",
        )
    if errors:
        files = ", ".join(str(found.get("filepath") or found.get("filename")) for found in errors[:5])
        return Finding(
            "import errors",
            "red",
            f"{len(errors)}: {files}",
            "see airflow dags list-import-errors",
        )
    return Finding("import errors", "green", "the database answers, no DAG file fails to import")


def _errors_in(output: str) -> list[dict[str, Any]] | None:
    """Return the list in the command's output, which may begin with warnings."""
    start = output.find("[{")
    if start < 0:
        return None
    try:
        found: list[dict[str, Any]] = json.loads(output[start:])
    except ValueError:
        return None
    return found
