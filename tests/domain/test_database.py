"""The database on SQLite and PostgreSQL: schema and migrations, transactions, leases with fencing tokens."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import text
from sqlalchemy.engine import make_url

from evermodel.core.database import database as database_module
from evermodel.core.database import lease as lease_module
from evermodel.core.database import schema
from evermodel.core.database.clock import now
from evermodel.core.database.database import Database
from evermodel.core.database.lease import Lease, leased, owners
from evermodel.core.database.process import is_gone, this_process
from evermodel.core.database.schema import SCHEMA, open_database, stored_schema, upgrade
from evermodel.core.database.tables import metadata
from evermodel.core.errors import (
    DatabaseSchemaError,
    DatabaseUnavailableError,
    LeaseHeldError,
    LeaseLostError,
    PermanentError,
)
from evermodel.core.settings import Settings

FORK = multiprocessing.get_context("fork")
BOTH = ("sqlite", "postgresql")


@pytest.fixture
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """URL of an empty database of the kind that a test is parametrized with."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/new folder/evermodel.db"
    address: str = request.getfixturevalue("postgres_database")
    return address.replace("postgres://", "postgresql://")


both = pytest.mark.parametrize("url", BOTH, indirect=True)


@both
def test_the_first_use_makes_the_tables_that_the_code_knows(url: str) -> None:
    database = Database(url)
    assert stored_schema(database) is None

    assert stored_schema(open_database(url)) == SCHEMA

    with database.reading() as connection:
        context = MigrationContext.configure(connection, opts={"version_table": schema.VERSION_TABLE})
        assert compare_metadata(context, metadata) == []
        assert abs(float(connection.scalar(now()) or 0) - time.time()) < 60


def _opens(url: str, barrier: Any, answers: Any) -> None:
    barrier.wait(30)
    answers.put(stored_schema(open_database(url)))


@both
def test_processes_that_meet_an_empty_database_at_once_make_it_once(url: str) -> None:
    barrier, answers = FORK.Barrier(4), FORK.Queue()
    workers = [FORK.Process(target=_opens, args=(url, barrier, answers)) for _ in range(4)]
    for worker in workers:
        worker.start()
    assert [answers.get(timeout=60) for _ in workers] == [SCHEMA] * 4
    for worker in workers:
        worker.join(30)


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_a_newer_minor_schema_is_used_and_a_newer_major_one_is_refused(url: str) -> None:
    database = open_database(url)
    for found, usable in (("1.99", True), ("2.0", False)):
        with database.writing() as connection:
            connection.execute(text("UPDATE evermodel_schema SET version_num = :v"), {"v": found})
        schema._require_schema.cache_clear()
        if usable:
            with leased(open_database(url), "a"):
                pass
            assert upgrade(database) == found
        else:
            for use in (lambda: open_database(url), lambda: upgrade(database)):
                with pytest.raises(
                    DatabaseSchemaError, match=r"has the schema 2.0 of a newer release; this one knows"
                ):
                    use()


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
def test_a_login_that_may_not_make_tables_is_told_how_to_make_them(url: str) -> None:
    role = f"r{uuid.uuid4().hex[:8]}"
    with Database(url).writing() as connection:
        connection.execute(text(f"CREATE ROLE {role} LOGIN"))
        connection.execute(text("REVOKE CREATE ON SCHEMA public FROM PUBLIC"))
    service = make_url(url).set(username=role).render_as_string(hide_password=False)
    with pytest.raises(DatabaseSchemaError, match="permission denied") as caught:
        open_database(service)
    assert "evermodel db upgrade" in caught.value.advice
    assert "not-asked-for" not in str(caught.value)

    upgrade(Database(url))
    with Database(url).writing() as connection:
        connection.execute(
            text(f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {role}")
        )
    with leased(open_database(service), "a") as lease:
        assert lease.token == 1


def test_a_database_that_does_not_answer_is_named_without_its_login() -> None:
    with pytest.raises(
        DatabaseUnavailableError, match=r"postgresql://127\.0\.0\.1:1/x does not answer"
    ) as caught:
        open_database("postgresql://ada:secret@127.0.0.1:1/x?connect_timeout=2")
    assert "secret" not in f"{caught.value} {caught.value.__cause__!r}"


def test_a_folder_that_cannot_be_made_is_an_error_and_only_a_connection_makes_one(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    database = Database(f"sqlite:///{tmp_path}/file/evermodel.db")
    with pytest.raises(DatabaseUnavailableError, match=r"/file of the database cannot be made"):
        stored_schema(database)
    Database(f"sqlite:///{tmp_path}/later/evermodel.db")
    assert not (tmp_path / "later").exists()


@pytest.mark.parametrize("url", ["nonsense", "oracle+nothing://host/x", "mysql+nodriver://ada:secret@host/x"])
def test_a_url_that_cannot_be_used_is_an_error_with_an_example(url: str) -> None:
    with pytest.raises(PermanentError) as caught:
        Database(url)
    assert "EVERMODEL_DATABASE" in caught.value.advice
    assert "secret" not in str(caught.value)


def test_settings_keep_the_login_of_the_database_apart() -> None:
    settings = Settings.from_environment({"EVERMODEL_DATABASE": "postgresql://ada:secret@host/evermodel"})
    assert settings.database_url == "postgresql://host/evermodel"
    assert "secret" not in repr(settings)
    assert Database(settings.database_url).engine.url.password == "secret"
    assert Settings.from_environment({"EVERMODEL_HOME": "/x"}).database_url == "sqlite:////x/evermodel.db"


def test_the_tables_can_be_made_in_mysql() -> None:
    from sqlalchemy.dialects import mysql
    from sqlalchemy.schema import CreateTable

    for table in metadata.sorted_tables:
        assert "CREATE TABLE" in str(CreateTable(table).compile(dialect=mysql.dialect()))
    assert "unix_timestamp" in str(now().compile(dialect=mysql.dialect()))


# Leases


@both
def test_tokens_grow_and_a_second_holder_waits(url: str) -> None:
    database = open_database(url)
    with leased(database, "model/a") as first:
        assert list(owners(database)) == ["model/a"]
        with leased(database, "model/b"):
            pass
        with pytest.raises(LeaseHeldError, match=f"model/a is being changed by process {os.getpid()}"):
            _taken(database, wait=0.1)
    assert owners(database) == {}
    with leased(database, "model/a") as second:
        assert second.token > first.token


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
def test_a_host_that_is_cut_off_in_a_transaction_does_not_block_the_others(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database_module, "_LONGEST_IDLE", "1s")
    database = open_database(url)
    with leased(database, "model/a"):
        pass
    cut_off = database.engine.connect()
    cut_off.execute(text("SELECT * FROM evermodel_lease FOR UPDATE"))

    _taken(database)

    cut_off.invalidate()


def _taken(database: Database, wait: float = 10) -> None:
    with leased(database, "model/a", wait=wait):
        pass


@both
def test_a_holder_that_stopped_renewing_loses_its_lease_and_every_later_step_fails(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = open_database(url)
    monkeypatch.setattr(lease_module, "LEASE_SECONDS", 0.2)
    monkeypatch.setattr(lease_module, "_renew", lambda *_: None)
    with leased(database, "model/a") as lost:
        lost.keep()
        with leased(database, "model/a", wait=10) as taken:
            assert taken.token == lost.token + 1
            with pytest.raises(LeaseLostError, match="taken over"):
                lost.keep()
            with pytest.raises(LeaseLostError):
                _changes_and_keeps(lost)
            taken.keep()
        lost.release()  # changes nothing


def _changes_and_keeps(lease: Lease) -> None:
    with lease.database.writing() as connection:
        connection.execute(text("UPDATE evermodel_lease SET token = 99"))
        lease.keep_in(connection)


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_a_lease_is_renewed_for_as_long_as_its_block_runs(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    database = open_database(url)
    monkeypatch.setattr(lease_module, "LEASE_SECONDS", 1.0)
    with leased(database, "model/a") as held:
        with pytest.raises(LeaseHeldError):
            _taken(database, wait=1.5)
        held.keep()


def _holds(url: str, began: Any) -> None:
    with leased(open_database(url), "model/a"):
        began.set()
        time.sleep(60)


@both
def test_a_killed_holder_of_this_machine_is_followed_at_once_and_a_stopped_one_is_not(url: str) -> None:
    database, began = open_database(url), FORK.Event()
    holder = FORK.Process(target=_holds, args=(url, began))
    holder.start()
    assert began.wait(30)
    os.kill(holder.pid or 0, signal.SIGSTOP)
    with pytest.raises(LeaseHeldError):
        _taken(database, wait=0.1)
    os.kill(holder.pid or 0, signal.SIGKILL)
    holder.join(30)

    began_at = time.monotonic()
    _taken(database)
    assert time.monotonic() - began_at < lease_module.LEASE_SECONDS / 2


def test_processes_that_cannot_be_seen_from_here_count_as_running() -> None:
    me = this_process()
    host, machine, pid, start = me.split(" ")
    assert not is_gone(me)
    assert is_gone(f"{host} {machine} {pid} {int(start) - 1}"), "another process had the number"
    assert not is_gone(f"{host} elsewhere {pid} 1")
    assert not is_gone("")
    assert len(me) < 255


def test_what_needs_no_database_imports_neither_sqlalchemy_nor_alembic() -> None:
    code = """
import sys, evermodel.registry.registry, evermodel.serving, evermodel.deployment.promotion, evermodel.cli.root
from evermodel.core.settings import Settings
Settings.from_environment()
print([name for name in ("sqlalchemy", "alembic") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
