"""The local stack: MLflow, Airflow's four processes and serving, on one machine without any other program."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path

import httpx

from evermodel.cli.local_stack.airflow_api import AirflowApi
from evermodel.cli.local_stack.environment import build_environment
from evermodel.cli.local_stack.ports import LOOPBACK, Ports
from evermodel.cli.local_stack.processes import Service, Supervisor

_LOCAL_SETTINGS = '''"""Written by evermodel's local stack: the scheduler loads heavy libraries once, and its workers share them."""

from evermodel_provider.preload import preload

preload()
'''


class LocalStack:
    """Everything that one machine needs: services, their folders and their addresses.

    Parameters
    ----------
    home
        Folder of everything that the stack writes: databases, logs, lake, keys.
    project
        Folder with ``dags/`` and ``include/models/``.
    ports
        Where the services listen; by default as the environment says.
    models
        Models that serving answers for; none leaves serving out.
    """

    def __init__(
        self,
        home: Path,
        project: Path,
        ports: Ports | None = None,
        extras: Mapping[str, str] | None = None,
        models: Sequence[str] = (),
    ) -> None:
        self.home = home.absolute()
        self.project = project.absolute()
        self.ports = ports or Ports.from_environment()
        self.models = tuple(models)
        self.environment = build_environment(self.home, self.project, self.ports, extras or {})
        self.supervisor = Supervisor(self.home)

    @property
    def airflow_url(self) -> str:
        """Address of Airflow's web pages and REST API."""
        return f"http://{LOOPBACK}:{self.ports.airflow}"

    @property
    def mlflow_url(self) -> str:
        """Address of the MLflow server."""
        return f"http://{LOOPBACK}:{self.ports.mlflow}"

    @property
    def serving_url(self) -> str:
        """Address of the serving app."""
        return f"http://{LOOPBACK}:{self.ports.serving}"

    def __enter__(self) -> LocalStack:
        self.supervisor.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self.supervisor.stop()

    def start(self, ready: Callable[[str, float], None] | None = None) -> AirflowApi:
        """Start every service and return a client of Airflow once all are healthy.

        Parameters
        ----------
        ready
            Called with the name of each service that became ready and the seconds it took.

        Raises
        ------
        PortTakenError
            Another program holds one of the ports.
        ServiceError
            A service did not become ready; the message has the end of its log.
        """
        self.ports.require_free()
        config = self.home / "airflow" / "config"
        for folder in (config, self.home / "mlflow", self.home / "lake", self.home / "data"):
            folder.mkdir(parents=True, exist_ok=True)
        (config / "airflow_local_settings.py").write_text(_LOCAL_SETTINGS, encoding="utf-8")
        self.supervisor.start(self.services(), ready)
        return AirflowApi(self.airflow_url)

    def services(self) -> list[Service]:
        """Return the services in the order in which their start makes sense on few cores."""
        database = ("airflow-database",)
        services = [
            Service("airflow-database", self._airflow("db", "migrate"), self.environment, None),
            # The scheduler takes longest, because it loads the libraries that its tasks share.
            Service(
                "airflow-scheduler",
                self._airflow("scheduler", "--skip-serve-logs"),
                {**self.environment, "EVERMODEL_PRELOAD": "1"},
                self._heartbeat("scheduler"),
                after=database,
            ),
            Service(
                "airflow-api-server",
                self._airflow("api-server"),
                self.environment,
                # This address also builds the API of the tasks, which would cost the first task seconds.
                f"{self.airflow_url}/execution/health",
                after=database,
                grace=5.0,
                ends_last=True,
            ),
            Service("mlflow", self._mlflow(), self.environment, f"{self.mlflow_url}/health", ends_last=True),
            Service(
                "airflow-dag-processor",
                self._airflow("dag-processor"),
                self.environment,
                self._heartbeat("dag_processor"),
                after=database,
            ),
            Service(
                "airflow-triggerer",
                self._airflow("triggerer", "--skip-serve-logs"),
                self.environment,
                self._heartbeat("triggerer"),
                after=database,
                grace=2.0,  # it often waits 10 s for a child that has ended already
            ),
        ]
        if self.models:
            serve = ("-m", "evermodel.cli", "serve", *self.models, "--port", str(self.ports.serving))
            health = f"{self.serving_url}/health"  # alive, also before there is a first champion
            services.append(
                Service("serving", (sys.executable, *serve), self.environment, health, ("mlflow",))
            )
        return services

    @staticmethod
    def _airflow(*arguments: str) -> tuple[str, ...]:
        # The two log servers would listen on all interfaces; logs are read from the shared folder instead.
        return (sys.executable, "-m", "airflow", *arguments)

    def _mlflow(self) -> tuple[str, ...]:
        folder = self.home / "mlflow"
        return (
            *(sys.executable, "-m", "mlflow", "server"),
            *("--host", LOOPBACK, "--port", str(self.ports.mlflow), "--workers", "1"),
            *("--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}"),
            *("--artifacts-destination", (folder / "artifacts").as_uri()),
        )

    def _heartbeat(self, component: str) -> Callable[[float], bool]:
        """Return a check for a heartbeat that is younger than the service, in spite of earlier runs."""

        def beats(started: float) -> bool:
            try:
                answer = httpx.get(f"{self.airflow_url}/api/v2/monitor/health", timeout=2, trust_env=False)
                beat = answer.raise_for_status().json()[component][f"latest_{component}_heartbeat"]
            except (httpx.HTTPError, ValueError, KeyError, TypeError):
                return False
            return beat is not None and datetime.fromisoformat(beat).timestamp() >= started

        return beats
