"""The tables and every migration as SQL of MySQL and PostgreSQL, without a server."""

from __future__ import annotations

import io
import re

import pytest
from alembic.command import upgrade
from alembic.config import Config
from sqlalchemy import Column, String, Text, select
from sqlalchemy.dialects import mysql, postgresql
from sqlalchemy.schema import CreateIndex, CreateTable

from evermodel.core.database import schema
from evermodel.core.database.clock import now
from evermodel.core.database.tables import metadata

LONGEST_KEY = 3072  # bytes of an index of InnoDB, where a character takes four
DIALECTS = {"mysql": mysql.dialect(), "postgresql": postgresql.dialect()}
dialects = pytest.mark.parametrize("name", DIALECTS)


def migrations(dialect: str) -> str:
    """Return the SQL that makes the newest schema from nothing."""
    written = io.StringIO()
    config = Config(output_buffer=written)
    config.set_main_option("script_location", str(schema._MIGRATIONS))
    config.set_main_option("path_separator", "os")
    config.attributes["dialect"] = dialect
    upgrade(config, "head", sql=True)
    return written.getvalue()


def definitions(sql: str) -> dict[str, set[str]]:
    """Return the lines of each table's definition."""
    found = re.findall(r"CREATE TABLE (evermodel_\w+) \((.*?)\n\)", sql, re.DOTALL)
    return {name: {line.strip().rstrip(",") for line in body.strip().split("\n")} for name, body in found}


@dialects
def test_the_migrations_make_the_tables_that_the_code_knows(name: str) -> None:
    sql = migrations(name)
    known = "".join(
        str(CreateTable(table).compile(dialect=DIALECTS[name])) for table in metadata.sorted_tables
    )

    made = definitions(sql)
    assert made.pop(schema.VERSION_TABLE)
    assert made == definitions(known)
    indexes = [index for table in metadata.sorted_tables for index in table.indexes]
    for index in indexes:
        assert str(CreateIndex(index).compile(dialect=DIALECTS[name])).strip() in sql
    assert sql.count("CREATE INDEX") == len(indexes) > 0


def characters(column: Column[object]) -> int:
    assert not isinstance(column.type, Text), f"MySQL cannot index the text {column}"
    return int(column.type.length or 0) if isinstance(column.type, String) else 2


def test_no_key_is_longer_than_mysql_takes_and_names_differ_by_case() -> None:
    keys = [[*table.primary_key.columns] for table in metadata.sorted_tables]
    keys += [[*index.columns] for table in metadata.sorted_tables for index in table.indexes]

    assert all(sum(4 * characters(column) for column in key) <= LONGEST_KEY for key in keys)
    for line in set().union(*definitions(migrations("mysql")).values()):
        assert "VARCHAR(255)" not in line or "utf8mb4_bin" in line or line.split()[0] in ("owner", "host")


@dialects
def test_the_clock_of_the_database_is_read_by_every_dialect(name: str) -> None:
    assert str(select(now()).compile(dialect=DIALECTS[name])).startswith("SELECT ")
