"""Sources of kind sql and ibis on a real PostgreSQL that the test starts; its time zone is not UTC."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from evermodel.core import connections
from evermodel.core.connections import EnvironmentConnections
from evermodel.core.errors import SourceError, SourceUnavailableError
from evermodel.data.snapshots.dvc import SnapshotStore
from evermodel.data.snapshots.snapshot import take_snapshot
from evermodel.data.sources import arrival, read_window
from evermodel.data.sources.sql import SqlRelation
from evermodel.spec import ModelSpec
from evermodel.spec.window import Window
from support.event_tables import ON_ENGINES, START, events_spec, in_engine, mismatches, rows_and_events
from support.small_model import between, moment, settings_in, small_rows, small_spec, write_rows

pytestmark = pytest.mark.integration
COLUMNS = ("id", "at", "temp", "wind", "carrier", "late")


@pytest.fixture(scope="module")
def server(postgres: str) -> str:
    with psycopg.connect(postgres, autocommit=True) as house:
        house.execute(
            "CREATE TABLE flights (id text, at timestamptz, temp numeric, wind int, carrier text, late boolean)"
        )
        house.execute(
            "CREATE VIEW without_zone AS "
            "SELECT id, at AT TIME ZONE 'UTC' AS at, temp, wind, carrier, late FROM flights"
        )
        with house.cursor().copy("COPY flights FROM STDIN") as copy:
            for row in small_rows().to_pylist():
                copy.write_row([*(row[name] for name in COLUMNS[:-1]), row["late"] == 1])
    return postgres


@pytest.fixture(autouse=True)
def connection(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "_current", EnvironmentConnections())
    monkeypatch.setenv("AIRFLOW_CONN_HOUSE", server)


def sql(query: str, **options: Any) -> ModelSpec:
    return small_spec("", source={"kind": "sql", "connection": "house", "query": query, **options})


def ibis(**source: Any) -> ModelSpec:
    return small_spec("", source={"kind": "ibis", "connection": "house", **source})


SPECS = {
    "sql": sql("SELECT * FROM flights"),
    "sql in batches": sql("SELECT * FROM flights", batch_rows=5),
    "sql, times without zone": sql("SELECT * FROM without_zone"),
    "sql with casts and the interval": sql(
        "SELECT id, at::timestamptz, temp, wind, carrier, late FROM flights "
        "WHERE at >= {{ start }} AND at < :end AND carrier <> '10:30 %';"
    ),
    "ibis table": ibis(table="flights"),
    "ibis, times without zone": ibis(table="public.without_zone"),
    "ibis query": ibis(query="SELECT * FROM flights", step="10h"),
}


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS.keys())
def test_the_rows_are_those_of_the_files(spec: ModelSpec, tmp_path: Path) -> None:
    window = between(2, 4.5)
    expected = read_window(small_spec(write_rows(tmp_path / "rows.parquet")), window, with_label=True)
    assert read_window(spec, window, with_label=True).to_pylist() == expected.to_pylist()
    state = arrival(spec, window, now=moment(20))
    assert (state.rows, state.future) == (20, 0)
    assert state.newest in (moment(9 + 7 / 8), moment(4.5 - 1 / 8))


def test_sql_and_files_make_the_same_snapshot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SnapshotStore, "track", lambda self, file: "")
    rows = small_rows(wind=[float(n % 5) for n in range(80)])  # the model's type, as sql reads numbers
    files = take_snapshot(
        small_spec(write_rows(tmp_path / "rows.parquet", rows)), moment(8), settings_in(tmp_path)
    )
    assert take_snapshot(SPECS["sql"], moment(8), settings_in(tmp_path)) == files
    assert take_snapshot(SPECS["sql"], moment(8), settings_in(tmp_path)) == files


def test_the_rows_are_streamed_by_a_cursor_of_the_server(server: str) -> None:
    spec = sql("SELECT * FROM flights", batch_rows=5)
    batches = SqlRelation(spec, spec.source)._batches(between(0, 10), spec.columns)
    assert next(batches).num_rows == 5
    with psycopg.connect(server) as other:
        said = [row[0] for row in other.execute("SELECT query FROM pg_stat_activity").fetchall()]
    assert any(query.startswith("FETCH FORWARD ") for query in said), said
    assert sum(batch.num_rows for batch in batches) == 75


def test_a_server_that_ends_the_connection_half_way_is_told_as_away() -> None:
    late = "CASE WHEN id = 'r00060' THEN pg_terminate_backend(pg_backend_pid()) ELSE late END AS late"
    ordered = "(SELECT * FROM flights ORDER BY id) AS ordered"
    spec = sql(f"SELECT id, at, temp, wind, carrier, {late} FROM {ordered}", batch_rows=5)
    with pytest.raises(SourceUnavailableError, match="connection house cannot be read"):
        read_window(spec, between(0, 10), with_label=True)


def test_wrong_sql_is_told_in_the_words_of_the_server() -> None:
    with pytest.raises(SourceError, match='relation "flihgts" does not exist'):
        read_window(sql("SELECT * FROM flihgts"), between(0, 1), with_label=True)
    with pytest.raises(SourceError, match="column temp holds 'BB', which is not a number"):
        read_window(
            sql("SELECT id, at, carrier AS temp, wind, carrier, late FROM flights"),
            between(0, 1),
            with_label=True,
        )
    with pytest.raises(SourceError, match="several columns named id"):
        read_window(sql("SELECT *, carrier AS id FROM flights"), between(0, 1), with_label=True)


def test_aggregates_are_those_of_plain_python_here_and_in_files(tmp_path: Path, server: str) -> None:
    data = rows_and_events(rows=10_000, keys=300)
    whole = Window(START, START + timedelta(days=12))
    for name, table in data.items():
        pq.write_table(table, tmp_path / f"{name}.parquet")
        _copy(server, "asked" if name == "rows" else name, table)
    spec = in_engine(ON_ENGINES, connection="house")
    here = read_window(spec, whole, with_label=True)
    assert mismatches(spec, data, here) == 0
    tables = {
        name: {
            **table.model_dump(exclude_unset=True),
            "path": f"{tmp_path}/{name}.parquet",
            "table": None,
            "query": None,
        }
        for name, table in spec.source.tables.items()
    }
    files = events_spec(ON_ENGINES, path=f"{tmp_path}/rows.parquet", tables=tables)
    names = [aggregate["name"] for aggregate in ON_ENGINES]
    in_files = read_window(files, whole, with_label=True)
    assert in_files.select(["id", *names]).to_pylist() == here.select(["id", *names]).to_pylist()


def _copy(server: str, name: str, table: pa.Table) -> None:
    kinds = {"int64": "bigint", "double": "float8", "string": "text", "timestamp[us, tz=UTC]": "timestamptz"}
    columns = ", ".join(f"{field.name} {kinds[str(field.type)]}" for field in table.schema)
    with psycopg.connect(server, autocommit=True) as house:
        house.execute(f"CREATE TABLE {name} ({columns})")
        with house.cursor().copy(f"COPY {name} FROM STDIN") as copy:
            for row in zip(*(column.to_pylist() for column in table.columns), strict=True):
                copy.write_row(row)
