"""Connections to the database, SQLite or a server: short transactions, and errors that name its address without a login."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, InterfaceError, NoSuchModuleError, OperationalError
from sqlalchemy.pool import NullPool

from evermodel.core.errors import DatabaseUnavailableError, PermanentError
from evermodel.core.extras import install_command
from evermodel.core.logins import split_login, with_login, without_login

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

_BUSY_SECONDS = 30.0
# Without them a host that is cut off keeps a process waiting for many minutes, and serving with it.
_POSTGRESQL_WAITS = {"connect_timeout": "10", "tcp_user_timeout": "20000"}
# So is a host that is cut off inside a transaction: the server would keep its locks for two hours, and block all others.
_LONGEST_IDLE = "2min"
_WRITES = "evermodel_writes"


class Database:
    """One database; connections are made when they are needed, and a fork makes its own.

    Parameters
    ----------
    address
        SQLAlchemy's URL; its login is kept apart (see `core.logins`).

    Raises
    ------
    PermanentError
        The URL cannot be read, or its driver is not installed.
    """

    def __init__(self, address: str) -> None:
        self.address = split_login(address)
        _ = self.engine

    @property
    def engine(self) -> Engine:
        """SQLAlchemy's engine in this process."""
        return _engine(with_login(self.address), os.getpid())

    @property
    def file(self) -> Path | None:
        """The file of an SQLite database; None for a server's."""
        url = self.engine.url
        return Path(url.database) if url.get_backend_name() == "sqlite" and url.database else None

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Open a connection to read; raises `DatabaseUnavailableError` if it fails."""
        with self._errors(), self.engine.connect() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """Open a transaction that is committed as a whole at the end, or not at all.

        One of SQLite takes the write lock at its beginning: what it reads nobody changes before it ends.

        Raises
        ------
        DatabaseUnavailableError
            The database does not answer, or other writers block it for half a minute.
        """
        with self._errors(), self.engine.connect() as opened:
            connection = opened.execution_options(**{_WRITES: True})
            with connection.begin():
                yield connection

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (OperationalError, InterfaceError) as error:
            raise DatabaseUnavailableError(
                f"the database {self.address} does not answer: {str(error.orig).strip()}",
                "check it with `evermodel db status`, correct EVERMODEL_DATABASE if it is wrong, and repeat the command",
            ) from error


@cache
def _engine(url: str, process: int) -> Engine:
    try:
        parsed = make_url(_with_driver(url))
        if parsed.get_backend_name() == "sqlite":
            return _sqlite(parsed)
        if parsed.get_driver_name() == "psycopg":
            parsed = parsed.update_query_dict({**_POSTGRESQL_WAITS, **parsed.query})
        made = create_engine(parsed, hide_parameters=True, pool_pre_ping=True, pool_size=2, pool_recycle=1800)
        if parsed.get_backend_name() == "postgresql":
            event.listen(made, "connect", _limit_idling)
        return made
    except ArgumentError:
        problem = "the URL of the database cannot be read"
    except (NoSuchModuleError, ModuleNotFoundError) as error:
        problem = f"the database {without_login(url)} cannot be used: {error}"
    raise PermanentError(
        problem,
        "set EVERMODEL_DATABASE to a URL such as postgresql+psycopg://user:password@host/evermodel "
        f"({install_command(['postgres'])}) or sqlite:////folder/evermodel.db",
    )


def _limit_idling(connection: Any, _: object) -> None:
    cursor = connection.cursor()
    cursor.execute(f"SET idle_in_transaction_session_timeout = '{_LONGEST_IDLE}'")
    cursor.close()
    connection.commit()


def _with_driver(url: str) -> str:
    """Return a PostgreSQL URL without a driver with the one of the extra ``postgres``: defaults differ by release."""
    scheme, mark, rest = url.partition("://")
    return f"postgresql+psycopg{mark}{rest}" if scheme in ("postgres", "postgresql") else url


def _sqlite(url: Any) -> Engine:
    engine = create_engine(
        url, hide_parameters=True, poolclass=NullPool, connect_args={"timeout": _BUSY_SECONDS}
    )

    @event.listens_for(engine, "do_connect")
    def opening(*_: object) -> None:
        folder = Path(url.database or "").parent
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DatabaseUnavailableError(
                f"the folder {folder} of the database cannot be made: {error.strerror}",
                "give this user write access, or set EVERMODEL_DATABASE",
            ) from error

    @event.listens_for(engine, "connect")
    def opened(connection: sqlite3.Connection, _: object) -> None:
        connection.isolation_level = None  # BEGIN is written below
        with suppress(sqlite3.OperationalError):  # another process sets it at this moment, and it stays set
            connection.execute("PRAGMA journal_mode = WAL")

    @event.listens_for(engine, "begin")
    def begun(connection: Connection) -> None:
        writes = connection.get_execution_options().get(_WRITES)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine
