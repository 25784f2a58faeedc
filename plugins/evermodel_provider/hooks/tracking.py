"""The MLflow server behind an Airflow connection."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from airflow.providers.common.compat.sdk import AirflowNotFoundException
from airflow.sdk import BaseHook
from airflow.sdk.log import mask_secret

from evermodel.core.logins import split_login, with_login
from evermodel.core.settings import Settings

if TYPE_CHECKING:
    from airflow.sdk import Connection

    from evermodel.registry.client import MlflowClient


class TrackingHook(BaseHook):
    """Connect to the MLflow tracking server and registry.

    Without the connection, ``MLFLOW_TRACKING_URI`` sets the address.

    :param mlflow_conn_id: Airflow connection of type ``mlflow``: host, port, schema, and login with password, or a token as
        the password alone. Instead of a host name, ``databricks``, ``databricks://profile`` or any other URI that MLflow
        knows. In `extra`: ``registry_uri``, and ``databricks_host`` for a token of Databricks.
    :param models: Folder of the model specs. Default: the installation's.
    """

    conn_name_attr = "mlflow_conn_id"
    default_conn_name = "mlflow_default"
    conn_type = "mlflow"
    hook_name = "MLflow"

    def __init__(self, mlflow_conn_id: str = default_conn_name, models: str = "", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.mlflow_conn_id = mlflow_conn_id
        self.models = models

    @cached_property
    def settings(self) -> Settings:
        """The installation's settings, with the connection's address if there is one.

        Its login is not in them: `evermodel.core.logins` keeps it for the client.
        """
        settings = Settings.from_environment().with_models(self.models)
        if self._connection is None:
            return settings
        return settings.model_copy(
            update={"tracking_uri": split_login(_address(self._connection), forget=True)}
        )

    @cached_property
    def client(self) -> MlflowClient:
        """A client of the server and its registry, made after a check that the server answers."""
        from evermodel.registry.tracking import configure_mlflow_process, connect

        configure_mlflow_process(self._databricks)
        return connect(self.settings.tracking_uri, registry_uri=self._registry_uri)

    def get_conn(self) -> MlflowClient:
        """Return the hook's client."""
        return self.client

    def environment(self) -> dict[str, str]:
        """Return the variables by which another process finds the same server and registry, with their logins."""
        found = {"MLFLOW_TRACKING_URI": with_login(self.settings.tracking_uri), **self._databricks}
        if self._registry_uri:
            found["MLFLOW_REGISTRY_URI"] = with_login(self._registry_uri)
        return found

    @cached_property
    def _registry_uri(self) -> str | None:
        """Address of the registry in the connection; None leaves it to the environment."""
        if self._connection is None:
            return None
        return split_login(str(self._connection.extra_dejson.get("registry_uri") or ""))

    @property
    def _databricks(self) -> dict[str, str]:
        """Host and token of Databricks, as its libraries read them; empty for another server."""
        found = self._connection
        if found is None or not str(found.host).startswith("databricks"):
            return {}
        host = str(found.extra_dejson.get("databricks_host") or "")
        if found.password:
            mask_secret(found.password)
        given = {"DATABRICKS_HOST": host, "DATABRICKS_TOKEN": found.password or ""}
        return {name: value for name, value in given.items() if value}

    @cached_property
    def _connection(self) -> Connection | None:
        try:
            found = self.get_connection(self.mlflow_conn_id)
        except AirflowNotFoundException:
            return None
        return found if found.host else None

    @classmethod
    def get_ui_field_behaviour(cls) -> dict[str, Any]:
        """Return how the form of a connection looks."""
        return {
            "hidden_fields": [],
            "relabeling": {"schema": "Scheme", "password": "Password or token"},
            "placeholders": {
                "host": "mlflow.example.com, or databricks",
                "schema": "https",
                "login": "empty for a token",
                "extra": '{"registry_uri": "https://registry.example.com"}',
            },
        }

    def test_connection(self) -> tuple[bool, str]:
        """Return whether the server answers, and accepts the login."""
        uri = self.settings.tracking_uri
        try:
            self.get_conn().get_experiment_by_name("Default")
        except Exception as error:  # noqa: BLE001 - the answer belongs on the page, whatever it is
            return False, str(error)
        return True, f"{uri} answers"


def _address(connection: Connection) -> str:
    host = str(connection.host).rstrip("/")
    if host.startswith(("databricks", "arn:", "sqlite:", "file:")):
        return host
    parts = urlsplit(host if "://" in host else f"{connection.schema or 'http'}://{host}")
    if connection.port and parts.port is None:
        parts = parts._replace(netloc=f"{parts.netloc}:{connection.port}")
    if connection.login or connection.password:  # a password alone is a token
        mask_secret(connection.password or "")
        mask_secret(password := quote(connection.password or "", safe=""))
        parts = parts._replace(netloc=f"{quote(connection.login or '', safe='')}:{password}@{parts.netloc}")
    return parts.geturl()
