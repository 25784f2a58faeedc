"""Databases by the id of an Airflow connection, without Airflow: the caller sets how ids are looked up."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import parse_qsl, unquote, urlsplit

from evermodel.core.errors import SourceError

if TYPE_CHECKING:
    from sqlalchemy.engine import URL, Engine

_PREFIX = "AIRFLOW_CONN_"
# Airflow's connection types whose name is not SQLAlchemy's, and drivers that evermodel's extras install.
_DIALECTS = {"postgres": "postgresql+psycopg", "postgresql": "postgresql+psycopg", "mssql": "mssql+pymssql"}


class Connections(Protocol):
    """Looks up connections."""

    def engine(self, name: str) -> Engine:
        """Return the SQLAlchemy engine of a connection id."""

    def url(self, name: str) -> URL:
        """Return the SQLAlchemy URL of a connection id, with its password."""


class EnvironmentConnections:
    """Connections from ``AIRFLOW_CONN_<ID>``, as Airflow itself reads them: a URI or JSON."""

    def __init__(self, environ: Mapping[str, str] | None = None) -> None:
        self._environ = environ

    def engine(self, name: str) -> Engine:
        """Return the SQLAlchemy engine of a connection id."""
        return self.engine_of(self.url(name), name)

    @staticmethod
    def engine_of(url: URL, name: str) -> Engine:
        """Return the engine of a URL, which keeps no connection open between two uses."""
        from sqlalchemy import create_engine
        from sqlalchemy.exc import ArgumentError
        from sqlalchemy.pool import NullPool

        try:
            return create_engine(url, poolclass=NullPool)
        except (ImportError, ArgumentError) as error:
            raise SourceError(
                f"connection {name} cannot be used: {error}",
                "install the driver of this database for SQLAlchemy",
            ) from error

    def url(self, name: str) -> URL:
        """Return the SQLAlchemy URL of a connection id."""
        environ = os.environ if self._environ is None else self._environ
        text = environ.get(_PREFIX + name.upper())
        if text is None:
            raise SourceError(
                f"connection {name} does not exist",
                f"create it in Airflow, or set {_PREFIX}{name.upper()} to its URI",
            )
        try:
            parts = json.loads(text) if text.lstrip().startswith("{") else _parts(text)
            return database_url(**parts)
        except (ValueError, TypeError, AttributeError):
            # The text holds a password, and so may the message of what went wrong.
            raise SourceError(
                f"{_PREFIX}{name.upper()} is not a valid connection URI",
                "write a URI such as postgres://user:secret@host:5432/database",
            ) from None


def database_url(
    conn_type: str | None,
    host: str | None = None,
    login: str | None = None,
    password: str | None = None,
    port: int | str | None = None,
    schema: str | None = None,
    extra: Any = None,
    **_: Any,
) -> URL:
    """Return the SQLAlchemy URL of an Airflow connection; texts of `extra` become its query."""
    from sqlalchemy.engine import URL

    if not conn_type:
        raise ValueError("a connection has a type")
    extra = json.loads(extra) if isinstance(extra, str) and extra.strip() else extra or {}
    if conn_type == "sqlite":  # Airflow has the file in `host`
        return URL.create("sqlite", database=host or (schema and f"/{schema}") or None)
    return URL.create(
        _DIALECTS.get(conn_type, conn_type),
        username=login or None,
        password=password or None,
        host=host or None,
        port=int(port) if port else None,
        database=schema or None,
        query={key: value for key, value in extra.items() if isinstance(value, str)},
    )


def _parts(uri: str) -> dict[str, Any]:
    found = urlsplit(uri)
    path = unquote(found.path[1:])
    if found.scheme == "sqlite":
        return {"conn_type": "sqlite", "host": unquote(found.hostname or "") or f"{path}"}
    return {
        "conn_type": found.scheme.replace("-", "_"),
        "host": unquote(found.hostname or ""),
        "login": unquote(found.username or ""),
        "password": unquote(found.password or ""),
        "port": found.port,
        "schema": path,
        "extra": dict(parse_qsl(found.query)),
    }


_current: Connections = EnvironmentConnections()


def use_connections(connections: Connections) -> None:
    """Set the connection lookup of this process."""
    global _current
    _current = connections


def connections() -> Connections:
    """Return the connection lookup."""
    return _current
