"""Settings: folders and addresses, read from the environment."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, SecretStr

from evermodel.core.errors import SettingsError
from evermodel.core.logins import split_login, without_login
from evermodel.core.storage import StoragePath, is_url, storage_path

DEFAULT_TRACKING_URI = "http://127.0.0.1:5000"


Address = Annotated[str, AfterValidator(split_login)]


class Settings(BaseModel):
    """Folders and addresses of one installation.

    No address has a login or a query: `evermodel.core.logins` keeps these for the clients that need them.

    Parameters
    ----------
    home
        Folder of everything evermodel writes on this machine (``EVERMODEL_HOME``).
    lake
        Where snapshots, predictions, labels and profiles are: a folder, or a prefix of a bucket such as
        ``s3://bucket/lake`` (``EVERMODEL_LAKE``).
    models
        Folder of the model specs, one YAML file each (``EVERMODEL_MODELS``).
    tracking_uri
        Address of the MLflow server (``MLFLOW_TRACKING_URI``).
    dvc_remote
        Where DVC pushes snapshots: a folder or any URL that DVC knows (``EVERMODEL_DVC_REMOTE``).
    airflow_url
        Address of Airflow's web pages, for links in messages (``EVERMODEL_AIRFLOW_URL``).
    evidently
        Evidently's workspace, a folder or a prefix of a bucket (``EVERMODEL_EVIDENTLY_WORKSPACE``); inside ``home`` if not
        given, or beside the lake in its bucket.
    database
        SQLAlchemy's URL of the database (``EVERMODEL_DATABASE``); ``evermodel.db`` inside ``home`` if not given.
    feature_store
        Where looked-up features are (``EVERMODEL_FEATURE_STORE``): ``redis://`` or ``rediss://``, or SQLAlchemy's URL of a
        database; ``database`` if not given.
    serving_urls
        Addresses of the serving app whose ``/metrics`` the drift DAG reads, comma separated
        (``EVERMODEL_SERVING_URLS``).
    serving_token
        Token that is sent to them (``EVERMODEL_SERVING_TOKEN``).
    step_python
        Python that runs the steps of Airflow's tasks; empty: the task's own process (``EVERMODEL_STEP_PYTHON``).
    environment
        Name of the environment, shown wherever versions serve (``EVERMODEL_ENVIRONMENT``).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    home: Path
    lake: StoragePath
    models: Path
    tracking_uri: Address
    dvc_remote: Address
    airflow_url: Address
    evidently: StoragePath | None = None
    database: Address | None = None
    feature_store: Address | None = None
    serving_urls: tuple[Address, ...] = ()
    serving_token: SecretStr = SecretStr("")
    step_python: str = ""
    environment: str = "local"

    @property
    def state(self) -> Path:
        """Folder of backtests, and of what earlier releases kept there: the lake, or inside ``home`` beside a bucket."""
        return self.lake if isinstance(self.lake, Path) else self.home / "state"

    @property
    def evidently_workspace(self) -> StoragePath:
        """Where Evidently's own UI finds the history of reports."""
        beside = self.home if isinstance(self.lake, Path) else self.lake
        return self.evidently or beside / "evidently"

    @property
    def database_url(self) -> str:
        """URL of the database that all processes share."""
        return self.database or f"sqlite:///{self.home / 'evermodel.db'}"

    @property
    def feature_store_url(self) -> str:
        """Where looked-up features are written to and read from."""
        return self.feature_store or self.database_url

    @property
    def outbox(self) -> Path:
        """Folder of messages when there is no Slack connection."""
        return self.home / "outbox"

    @property
    def model_cache(self) -> Path:
        """Folder of downloaded models, so that serving can start during a registry outage."""
        return self.home / "model-cache"

    def with_models(self, folder: str | Path) -> Settings:
        """Return the settings with another folder of specs; unchanged if it is empty."""
        return self.model_copy(update={"models": Path(folder)}) if folder else self

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] | None = None) -> Settings:
        """Read the settings; unset ones get a default that works on one machine.

        Raises
        ------
        SettingsError
            A folder is given as a URL, or the lake as one that cannot be used.
        """
        env = os.environ if environ is None else environ
        airflow_home = Path(env.get("AIRFLOW_HOME", Path.home() / "airflow")).expanduser()
        home = _folder(env, "EVERMODEL_HOME", airflow_home / "evermodel")
        lake = storage_path(env.get("EVERMODEL_LAKE", str(home / "lake")), "EVERMODEL_LAKE")
        evidently = env.get("EVERMODEL_EVIDENTLY_WORKSPACE", "").strip()
        pushed_to = str(home / "dvc-remote" if isinstance(lake, Path) else lake / "dvc")
        return cls(
            home=home,
            lake=lake,
            models=_folder(env, "EVERMODEL_MODELS", _models_folder(airflow_home)),
            tracking_uri=env.get("MLFLOW_TRACKING_URI", DEFAULT_TRACKING_URI),
            dvc_remote=env.get("EVERMODEL_DVC_REMOTE", pushed_to),
            airflow_url=env.get("EVERMODEL_AIRFLOW_URL", "http://127.0.0.1:8080").rstrip("/"),
            evidently=storage_path(evidently, "EVERMODEL_EVIDENTLY_WORKSPACE") if evidently else None,
            database=env.get("EVERMODEL_DATABASE", "").strip() or None,
            feature_store=env.get("EVERMODEL_FEATURE_STORE", "").strip() or None,
            serving_urls=tuple(
                url.strip().rstrip("/")
                for url in env.get("EVERMODEL_SERVING_URLS", "").split(",")
                if url.strip()
            ),
            serving_token=SecretStr(env.get("EVERMODEL_SERVING_TOKEN", "").strip()),
            step_python=env.get("EVERMODEL_STEP_PYTHON", "").strip(),
            environment=current_environment(env),
        )


def database_of(environment: str | None = None) -> str:
    """Return the URL of an environment's database, for a process that changes another environment's models.

    Parameters
    ----------
    environment
        Its variable is ``EVERMODEL_DATABASE_<ENVIRONMENT>``; this process's own database if it is not set.
    """
    variable = f"EVERMODEL_DATABASE_{(environment or current_environment()).upper().replace('-', '_')}"
    return os.environ.get(variable, "").strip() or Settings.from_environment().database_url


def current_environment(environ: Mapping[str, str] | None = None) -> str:
    """Return the name of the environment that this process belongs to (``EVERMODEL_ENVIRONMENT``)."""
    return (os.environ if environ is None else environ).get("EVERMODEL_ENVIRONMENT", "").strip() or "local"


def trusted_packages(environ: Mapping[str, str] | None = None) -> frozenset[str]:
    """Return the packages whose code models of this installation may use (``EVERMODEL_TRUSTED_PACKAGES``).

    Raises
    ------
    SettingsError
        One is not the name of a package, or is Python's own.
    """
    given = (os.environ if environ is None else environ).get("EVERMODEL_TRUSTED_PACKAGES", "")
    names = frozenset(name.strip() for name in given.split(",") if name.strip())
    if wrong := sorted(n for n in names if not n.isidentifier() or n in sys.stdlib_module_names):
        raise SettingsError(
            f"EVERMODEL_TRUSTED_PACKAGES names {', '.join(wrong)}, which no model may use",
            "set it to import names of packages of your own, comma separated",
        )
    return names


def feast_python(environ: Mapping[str, str] | None = None) -> str:
    """Return the Python of the environment that has Feast (``EVERMODEL_FEAST_PYTHON``); empty if it is not set."""
    return (os.environ if environ is None else environ).get("EVERMODEL_FEAST_PYTHON", "").strip()


def _folder(env: Mapping[str, str], name: str, default: Path) -> Path:
    """Return the folder that a variable names."""
    given = env.get(name, str(default))
    if is_url(given):
        raise SettingsError(
            f"{name} is {without_login(given)}, which is a URL: only a folder can be used here",
            f"set {name} to the path of a folder",
        )
    return Path(given).expanduser().absolute()


def _models_folder(airflow_home: Path) -> Path:
    """Return Airflow's folder of specs, or the one of the current checkout."""
    places = [home / "include" / "models" for home in (airflow_home, Path())]
    return next((place for place in places if place.is_dir()), places[0])
