"""Database connections from Airflow for the domain."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from evermodel.core.connections import EnvironmentConnections, database_url, use_connections
from evermodel.core.errors import SourceError

if TYPE_CHECKING:
    from sqlalchemy.engine import URL, Engine

_FIELDS = ("conn_type", "host", "login", "password", "port", "schema", "extra")


class AirflowConnections:
    """Connections of Airflow: from its database, its secrets backends or the environment."""

    def engine(self, name: str) -> Engine:
        """Return the engine of the connection's own hook, or one by its URL if the hook is not installed."""
        from airflow.providers.common.compat.sdk import AirflowException
        from sqlalchemy.exc import ArgumentError, NoSuchModuleError

        connection = self._connection(name)
        try:
            hook = connection.get_hook()
            if hasattr(hook, "get_sqlalchemy_engine"):
                engine: Engine = hook.get_sqlalchemy_engine()
                return engine
        except (AirflowException, ImportError, ArgumentError, NoSuchModuleError, NotImplementedError):
            pass  # the provider of this type is not installed, or lacks SQLAlchemy support: try the URL
        return EnvironmentConnections.engine_of(self.url(name), name)

    def url(self, name: str) -> URL:
        """Return the SQLAlchemy URL of a connection id."""
        return database_url(**self.fields(name))

    def fields(self, name: str) -> dict[str, Any]:
        """Return the fields of a connection id, with its password."""
        found = self._connection(name)
        return {field: getattr(found, field) for field in _FIELDS}

    def _connection(self, name: str) -> Any:
        from airflow.providers.common.compat.sdk import AirflowNotFoundException
        from airflow.sdk import Connection

        try:
            return Connection.get(name)
        except AirflowNotFoundException as error:
            raise SourceError(
                f"Airflow has no connection {name}", "create it under Admin, Connections, or correct the spec"
            ) from error


def use_airflow_connections() -> None:
    """Read the connections of sources from Airflow in this process from now on."""
    use_connections(AirflowConnections())
