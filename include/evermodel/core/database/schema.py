"""The schema's version and its migrations: made at first use, read by older releases of the same major version."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import column, inspect, select, table, text
from sqlalchemy.exc import DBAPIError

from evermodel.core.database.database import Database
from evermodel.core.errors import DatabaseSchemaError

if TYPE_CHECKING:
    from sqlalchemy import Connection

# The revision of the last migration. A minor one adds tables, or columns with a default; releases that know an earlier one
# read and write on. A major one is what they cannot use.
SCHEMA = "1.10"
VERSION_TABLE = "evermodel_schema"
_LOCK = 0x6576726D  # of PostgreSQL's advisory locks
_MIGRATIONS = Path(__file__).parent / "migrations"


def open_database(address: str) -> Database:
    """Return a database whose schema this release can use; what is missing is made first.

    Raises
    ------
    DatabaseSchemaError
        A newer release changed the schema in a way that this one cannot use, or this login may not change it.
    DatabaseUnavailableError
        The database does not answer.
    """
    database = Database(address)
    _require_schema(database.address, str(database.engine.url))
    return database


@cache
def _require_schema(address: str, url: str) -> None:
    """Bring the schema up to date once a process."""
    database = Database(address)
    found = stored_schema(database)
    if found is None or _numbers(found) < _numbers(SCHEMA):
        upgrade(database)
    else:
        _require_usable(found, database)


def stored_schema(database: Database) -> str | None:
    """Return the version of a database's schema; None if it has none yet."""
    with database.reading() as connection:
        return _stored(connection)


def is_usable(found: str | None) -> bool:
    """Tell whether this release can use a schema, after an upgrade if it is an older one.

    >>> is_usable("1.9"), is_usable("2.0"), is_usable(None)
    (True, False, True)
    """
    return found is None or _numbers(found)[0] <= _numbers(SCHEMA)[0]


def upgrade(database: Database) -> str:
    """Bring the schema to this release's version, and return it; one process at a time, the others wait.

    Raises
    ------
    DatabaseSchemaError
        See `open_database`.
    """
    try:
        with _alone(database), database.writing() as connection:
            if connection.dialect.name == "postgresql":
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
            found = _stored(connection)
            _require_usable(found, database)
            if found is None or _numbers(found) < _numbers(SCHEMA):
                _migrate(connection)
            return _stored(connection) or SCHEMA
    except DBAPIError as error:
        raise DatabaseSchemaError(
            f"the schema of the database {database.address} cannot be made or changed: {str(error.orig).strip()}",
            "run `evermodel db upgrade` once with a login that may create tables",
        ) from error


def _require_usable(found: str | None, database: Database) -> None:
    if not is_usable(found):
        raise DatabaseSchemaError(
            f"the database {database.address} has the schema {found} of a newer release; this one knows {SCHEMA}",
            "upgrade evermodel in this process's environment",
        )


def _stored(connection: Connection) -> str | None:
    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    found = connection.scalar(select(column("version_num")).select_from(table(VERSION_TABLE)))
    return None if found is None else str(found)


@contextmanager
def _alone(database: Database) -> Iterator[None]:
    """Keep other processes from changing the schema; the transactions of SQLite and PostgreSQL have a lock of their own."""
    if database.engine.dialect.name not in ("mysql", "mariadb"):  # whose DDL commits
        yield
        return
    with database.reading() as connection:  # the lock is its own, and outlives the other's commit
        connection.execute(text("SELECT GET_LOCK('evermodel_schema', 120)"))
        try:
            yield
        finally:
            connection.execute(text("SELECT RELEASE_LOCK('evermodel_schema')"))


def _migrate(connection: Connection) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))
