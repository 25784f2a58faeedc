"""The environment of the local stack's processes: Airflow, MLflow and evermodel, all on the loopback interface."""

from __future__ import annotations

import base64
import json
import os
import secrets
import sys
import sysconfig
from collections.abc import Mapping
from pathlib import Path

from evermodel.cli.local_stack.ports import LOOPBACK, Ports

# Settings of another Airflow or MLflow on this machine must not leak in. Connections and variables of Airflow
# (AIRFLOW_CONN_..., AIRFLOW_VAR_...) are the user's way to name Slack and other services, so they stay.
_DROPPED = (
    "AIRFLOW__",
    "AIRFLOW_HOME",
    "MLFLOW_",
    "_MLFLOW_",
    "PYTHONDONTWRITEBYTECODE",
    "EVERMODEL_PRELOAD",
)


def build_environment(
    home: Path,
    project: Path,
    ports: Ports,
    extras: Mapping[str, str],
    environ: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """Return the environment that every process of the stack gets.

    Parameters
    ----------
    home
        Folder of everything that the stack writes.
    extras
        Variables that win over everything here.
    environ
        What to start from; the environment of this process by default.
    """
    inherited = os.environ if environ is None else environ
    kept = {name: value for name, value in inherited.items() if not name.startswith(_DROPPED)}
    return {
        **_defaults(home, project),
        **kept,
        **_python(home, kept),
        **_addresses(home, ports),
        **_airflow(home, project, ports),
        **_mlflow(),
        **extras,
    }


def _defaults(home: Path, project: Path) -> dict[str, str]:
    """What the user's own environment may change."""
    return {
        "EVERMODEL_LAKE": str(home / "lake"),
        "EVERMODEL_DATA": str(home / "data"),
        "EVERMODEL_MODELS": str(project / "include" / "models"),
        # Several tasks train at once, and each would otherwise start as many threads as there are cores.
        "OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // 2)),
        "DO_NOT_TRACK": "1",
        "DVC_NO_ANALYTICS": "1",
    }


def _python(home: Path, kept: Mapping[str, str]) -> dict[str, str]:
    proxies = [kept.get("NO_PROXY") or kept.get("no_proxy") or "", LOOPBACK, "localhost"]
    no_proxy = ",".join(part for part in proxies if part)
    values = {
        "NO_PROXY": no_proxy,
        "no_proxy": no_proxy,
        "PYTHONUNBUFFERED": "1",
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), kept.get("PATH", os.defpath)]),
    }
    # Without cached byte code every start takes twice as long.
    if not os.access(sysconfig.get_path("purelib"), os.W_OK):
        values["PYTHONPYCACHEPREFIX"] = kept.get("PYTHONPYCACHEPREFIX", str(home / "pycache"))
    return values


def _addresses(home: Path, ports: Ports) -> dict[str, str]:
    return {
        "EVERMODEL_HOME": str(home),
        "EVERMODEL_AIRFLOW_URL": f"http://{LOOPBACK}:{ports.airflow}",
        "MLFLOW_TRACKING_URI": f"http://{LOOPBACK}:{ports.mlflow}",
    }


def _mlflow() -> dict[str, str]:
    return {
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # job workers cost seconds at start and are not used
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    }


def _airflow(home: Path, project: Path, ports: Ports) -> dict[str, str]:
    folder = home / "airflow"
    url = f"http://{LOOPBACK}:{ports.airflow}"
    keys = _secrets(home / "secrets.json")
    settings = {
        "CORE__DAGS_FOLDER": str(project / "dags"),
        "CORE__LOAD_EXAMPLES": "False",
        "CORE__EXECUTOR": "LocalExecutor",
        # A worker often learns of its task's end only at the next heartbeat, 5 s later by default (select() on sockets
        # that are closed already). Short heartbeats and spare workers keep that from holding up the next task.
        "CORE__PARALLELISM": "8",
        "CORE__MAX_ACTIVE_TASKS_PER_DAG": "4",
        "WORKERS__MIN_HEARTBEAT_INTERVAL": "1",
        "CORE__DEFAULT_TIMEZONE": "utc",
        "CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
        "CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
        "CORE__EXECUTION_API_SERVER_URL": f"{url}/execution/",
        "CORE__HOSTNAME_CALLABLE": "socket.gethostname",  # the default asks the name service, which may be slow
        "CORE__FERNET_KEY": keys["fernet_key"],
        "DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{folder / 'airflow.db'}",
        "API__HOST": LOOPBACK,
        "API__PORT": str(ports.airflow),
        "API__BASE_URL": url,
        "API__SECRET_KEY": keys["api_secret_key"],
        "API_AUTH__JWT_SECRET": keys["jwt_secret"],
        "SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.1",
        "DAG_PROCESSOR__REFRESH_INTERVAL": "10",  # new files are seen soon
        "DAG_PROCESSOR__BUNDLE_REFRESH_CHECK_INTERVAL": "1",
        "LOGGING__COLORED_CONSOLE_LOG": "False",
        "USAGE_DATA_COLLECTION__ENABLED": "False",
    }
    if (project / "plugins").is_dir():
        settings["CORE__PLUGINS_FOLDER"] = str(project / "plugins")
    return {"AIRFLOW_HOME": str(folder), **{f"AIRFLOW__{name}": value for name, value in settings.items()}}


def _secrets(path: Path) -> dict[str, str]:
    """Read the keys of this home, or make them once; only their owner may read the file."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        keys = {
            "fernet_key": base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
            "api_secret_key": secrets.token_urlsafe(64),
            "jwt_secret": secrets.token_urlsafe(64),
        }
        draft = path.with_suffix(".new")
        draft.unlink(missing_ok=True)
        with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            json.dump(keys, file)
        draft.replace(path)
    kept: dict[str, str] = json.loads(path.read_text(encoding="utf-8"))
    return kept
