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

    :param mlflow_conn_id: Airflow connection of type ``mlflow`` (host, port, schema, login, password).
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
        """A client of the server, made after a check that it answers."""
        from evermodel.registry.tracking import configure_mlflow_process, connect

        configure_mlflow_process()
        return connect(self.settings.tracking_uri)

    def get_conn(self) -> MlflowClient:
        """Return the hook's client."""
        return self.client

    def environment(self) -> dict[str, str]:
        """Return the variables by which another process finds the same server, with its login."""
        return {"MLFLOW_TRACKING_URI": with_login(self.settings.tracking_uri)}

    @cached_property
    def _connection(self) -> Connection | None:
        try:
            found = self.get_connection(self.mlflow_conn_id)
        except AirflowNotFoundException:
            return None
        return found if found.host else None

    def test_connection(self) -> tuple[bool, str]:
        """Return whether the server answers."""
        from evermodel.core.errors import EvermodelError
        from evermodel.registry.tracking import check_health

        try:
            check_health(self.settings.tracking_uri)
        except EvermodelError as error:
            return False, str(error)
        return True, f"{self.settings.tracking_uri} answers"


def _address(connection: Connection) -> str:
    host = str(connection.host).rstrip("/")
    parts = urlsplit(host if "://" in host else f"{connection.schema or 'http'}://{host}")
    if connection.port and parts.port is None:
        parts = parts._replace(netloc=f"{parts.netloc}:{connection.port}")
    if connection.login:
        mask_secret(password := quote(connection.password or "", safe=""))
        parts = parts._replace(netloc=f"{quote(connection.login, safe='')}:{password}@{parts.netloc}")
    return parts.geturl()
