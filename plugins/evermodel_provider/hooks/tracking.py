"""The MLflow server behind an Airflow connection."""

from __future__ import annotations

import os
from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from airflow.sdk import BaseHook
from airflow.sdk.exceptions import AirflowNotFoundException

from evermodel.core.settings import Settings

if TYPE_CHECKING:
    from evermodel.registry.client import MlflowClient


class TrackingHook(BaseHook):
    """Connect to the MLflow tracking server and registry.

    Without the connection the address comes from ``MLFLOW_TRACKING_URI``.

    :param mlflow_conn_id: Airflow connection of type ``mlflow`` (host, port, schema, login, password).
    """

    conn_name_attr = "mlflow_conn_id"
    default_conn_name = "mlflow_default"
    conn_type = "mlflow"
    hook_name = "MLflow"

    def __init__(self, mlflow_conn_id: str = default_conn_name, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.mlflow_conn_id = mlflow_conn_id

    @cached_property
    def settings(self) -> Settings:
        """The installation's settings, with the connection's address if there is one."""
        settings = Settings.from_environment()
        try:
            connection = self.get_connection(self.mlflow_conn_id)
        except AirflowNotFoundException:
            return settings
        if not connection.host:
            return settings
        if connection.login:
            os.environ["MLFLOW_TRACKING_USERNAME"] = connection.login
            os.environ["MLFLOW_TRACKING_PASSWORD"] = connection.password or ""
        return settings.model_copy(update={"tracking_uri": _address(connection)})

    def get_conn(self) -> MlflowClient:
        """Return a client of the server, after a check that it answers."""
        from evermodel.registry.tracking import connect

        return connect(self.settings.tracking_uri)

    def test_connection(self) -> tuple[bool, str]:
        """Tell whether the server answers."""
        from evermodel.core.errors import EvermodelError
        from evermodel.registry.tracking import check_health

        try:
            check_health(self.settings.tracking_uri)
        except EvermodelError as error:
            return False, str(error)
        return True, f"{self.settings.tracking_uri} answers"


def _address(connection: Any) -> str:
    host = str(connection.host).rstrip("/")
    parts = urlsplit(host if "://" in host else f"{connection.schema or 'http'}://{host}")
    if connection.port and parts.port is None:
        parts = parts._replace(netloc=f"{parts.netloc}:{connection.port}")
    return parts.geturl()
