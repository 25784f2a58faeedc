"""Whatever the kind of a source, the same rows come out of it, or an error that says what to do."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

import source_functions
from evermodel.core import connections
from evermodel.core.connections import EnvironmentConnections
from evermodel.core.errors import EvermodelError, SourceError, SourceUnavailableError
from evermodel.data.sources import arrival, read_labels, read_window
from support.small_model import between, moment, small_rows, small_spec, write_rows


@pytest.fixture(scope="module")
def databases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the small rows in SQLite, DuckDB and Parquet."""
    folder = tmp_path_factory.mktemp("databases")
    rows = small_rows()
    write_rows(folder / "rows.parquet", rows)
    with duckdb.connect(str(folder / "rows.duckdb")) as duck:
        duck.register("given", rows)
        duck.execute("CREATE TABLE rows AS SELECT * FROM given")
    lite = sqlite3.connect(folder / "rows.sqlite")
    lite.execute(
        "CREATE TABLE rows (id TEXT, at TEXT, temp REAL, wind INT, carrier TEXT, late INT, note TEXT)"
    )
    values = [{**row, "at": f"{row['at']:%Y-%m-%d %H:%M:%S}"} for row in rows.to_pylist()]
    lite.executemany("INSERT INTO rows VALUES (:id, :at, :temp, :wind, :carrier, :late, :note)", values)
    lite.commit()
    lite.close()
    return folder


@pytest.fixture(autouse=True)
def connection(databases: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "_current", EnvironmentConnections())
    monkeypatch.setenv("AIRFLOW_CONN_LITE", f"sqlite:///{databases}/rows.sqlite")
    monkeypatch.setenv("AIRFLOW_CONN_DUCK", f"duckdb:///{databases}/rows.duckdb")


SQL = {"kind": "sql", "connection": "lite", "query": "SELECT * FROM rows"}
DUCK = {"kind": "ibis", "url": "duckdb://{folder}/rows.duckdb"}
KINDS: dict[str, dict[str, Any]] = {
    "sql": SQL,
    "sql in batches": {**SQL, "batch_rows": 3},
    "sql with the interval": {
        **SQL,
        "query": "SELECT *, '10:30' AS hour FROM rows WHERE at >= {{ start }} AND at < :end;",
    },
    "ibis table": {**DUCK, "table": "rows"},
    "ibis schema and table": {**DUCK, "table": "main.rows"},
    "ibis query": {**DUCK, "query": "SELECT * FROM rows", "step": "5h"},
    "python table": {"kind": "python", "function": "source_functions:table"},
    "python pandas": {"kind": "python", "function": "source_functions:pandas", "step": "7h"},
    "python batches": {"kind": "python", "function": "source_functions:batches"},
}


def spec_of(databases: Path, source: dict[str, Any], **sections: Any) -> Any:
    filled = {k: v.replace("{folder}", str(databases)) if k == "url" else v for k, v in source.items()}
    return small_spec("unused", source=filled, **sections)


@pytest.mark.parametrize("source", KINDS.values(), ids=KINDS.keys())
def test_every_kind_gives_the_rows_that_the_files_give(databases: Path, source: dict[str, Any]) -> None:
    files = small_spec(databases / "rows.parquet")
    spec = spec_of(databases, source)
    for window in (between(2, 4.5), between(50, 60)):
        expected = read_window(files, window, with_label=True)
        found = read_window(spec, window, with_label=True)
        assert found.to_pylist() == expected.to_pylist()
        assert found.column_names == expected.column_names
        assert found.schema.field("at").type == pa.timestamp("us", tz="UTC")
    assert read_labels(spec, between(0, 1))["late"].to_pylist() == [0, 1] * 4
    assert "late" not in read_window(spec, between(0, 1), with_label=False).column_names


@pytest.mark.parametrize("source", KINDS.values(), ids=KINDS.keys())
def test_every_kind_tells_what_has_arrived(databases: Path, source: dict[str, Any]) -> None:
    spec = spec_of(databases, source)
    state = arrival(spec, between(2, 3), now=moment(20))
    assert state.rows == 8
    whole_source = source["kind"] == "ibis" or source.get("query") == "SELECT * FROM rows"
    assert state.newest == (moment(9 + 7 / 8) if whole_source else moment(3 - 1 / 8))
    early = arrival(spec, between(2, 3), now=moment(2))
    assert (early.newest, early.future) == ((moment(3), 55) if whole_source else (moment(3 - 1 / 8), 0))


def test_an_expression_of_the_user_runs_in_the_engine(databases: Path) -> None:
    spec = spec_of(databases, {**DUCK, "expression": "source_functions:warmer"})
    assert read_window(spec, between(0, 1), with_label=True)["temp"].to_pylist()[:3] == [0.0, 10.0, 20.0]


def test_a_function_is_called_for_a_step_at_a_time_with_its_arguments() -> None:
    source = {"kind": "python", "function": "source_functions:table", "step": "2d", "arguments": {"wind": 9}}
    source_functions.calls.clear()
    table = read_window(small_spec("unused", source=source), between(1, 6), with_label=True)
    assert [(a, b) for a, b in source_functions.calls] == [
        (moment(1), moment(3)),
        (moment(3), moment(5)),
        (moment(5), moment(6)),
    ]
    assert (table.num_rows, set(table["wind"].to_pylist())) == (40, {9})


def test_the_ends_of_the_interval_are_bound_and_not_pasted(databases: Path) -> None:
    spec = spec_of(databases, {**SQL, "query": "SELECT *, :start AS started, typeof(:end) AS kind FROM rows"})
    assert read_window(spec, between(2, 3), with_label=True).num_rows == 8


PROBLEMS: dict[str, tuple[dict[str, Any], type[EvermodelError], list[str]]] = {
    "no connection": ({**SQL, "connection": "gone"}, SourceError, ["connection gone does not exist", "set AIRFLOW_CONN_GONE"]),
    "no sql table": ({**SQL, "query": "SELECT * FROM rwos"}, SourceError, ["connection lite cannot be read", "no such table: rwos", "run `source.query`"]),
    "sql column missing": ({**SQL, "query": "SELECT id, at, temp AS tempp, wind, carrier, late FROM rows"}, SourceError, ["connection lite lacks the columns temp (did you mean tempp?)"]),
    "sql column twice": ({**SQL, "query": "SELECT *, wind AS temp FROM rows"}, SourceError, ["several columns named temp"]),
    "sql column of another type": ({**SQL, "query": "SELECT id, at, carrier AS temp, wind, carrier, late FROM rows"}, SourceError, ["column temp holds 'BB', which is not a number", "cast the column"]),
    "no ibis table": ({**DUCK, "table": "rwos"}, SourceError, ["the table rwos does not exist", "did you mean rows?"]),
    "no ibis column": ({**DUCK, "query": "SELECT * EXCLUDE (temp) FROM rows"}, SourceError, ["lacks the columns temp"]),
    "ibis syntax": ({**DUCK, "query": "SELEC 1"}, SourceError, ["cannot be read", "syntax error", "in a notebook"]),
    "ibis url": ({"kind": "ibis", "url": "nosuch://x", "table": "rows"}, SourceError, ["cannot be read", "nosuch"]),
    "no module": ({"kind": "python", "function": "no_such_module:rows"}, SourceError, ["`source.function: no_such_module:rows` cannot be imported", "PYTHONPATH"]),
    "no function": ({"kind": "python", "function": "source_functions:tabel"}, SourceError, ["has no attribute 'tabel'"]),
    "no rows at all": ({"kind": "python", "function": "source_functions:nothing"}, SourceError, ["returned a NoneType", "return an Arrow table"]),
    "a function that raises": ({"kind": "python", "function": "source_functions:refuses"}, SourceError, ["the warehouse has no such day", "fix source_functions:refuses"]),
    "breaks off": ({"kind": "python", "function": "source_functions:breaks_off"}, SourceUnavailableError, ["source_functions:breaks_off cannot be read: connection reset by peer"]),
    "mixed types": ({"kind": "python", "function": "source_functions:mixed"}, SourceError, ["mixes types", "temp"]),
    "type changes on the way": ({"kind": "python", "function": "source_functions:changes_type"}, SourceError, ["column temp changes its type between batches, from double to string"]),
}  # fmt: skip


@pytest.mark.parametrize(("source", "kind", "says"), PROBLEMS.values(), ids=PROBLEMS.keys())
def test_what_is_wrong_is_told_with_what_to_do(
    databases: Path, source: dict[str, Any], kind: type[EvermodelError], says: list[str]
) -> None:
    with pytest.raises(EvermodelError) as caught:
        read_window(spec_of(databases, source), between(0, 2), with_label=True)
    assert type(caught.value) is kind
    assert caught.value.advice
    assert [part for part in says if part not in str(caught.value)] == []


def test_a_function_that_gives_no_batch_gives_no_row() -> None:
    spec = small_spec("unused", source={"kind": "python", "function": "source_functions:no_batches"})
    assert read_window(spec, between(0, 2), with_label=True).num_rows == 0


def test_a_database_that_is_away_is_told_without_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_AWAY", "postgres://me:hidden@127.0.0.1:1/house")
    for source in ({**SQL, "connection": "away"}, {"kind": "ibis", "connection": "away", "table": "rows"}):
        spec = small_spec("unused", source=source)
        with pytest.raises(SourceUnavailableError, match=r"away.* cannot be read") as caught:
            read_window(spec, between(0, 1), with_label=True)
        assert "hidden" not in str(caught.value)
    monkeypatch.setenv("AIRFLOW_CONN_AWAY", "hidden {")
    with pytest.raises(SourceError, match="AIRFLOW_CONN_AWAY is not a valid connection URI") as refused:
        EnvironmentConnections().engine("away")
    assert "hidden" not in str(refused.value)


def test_connections_are_read_as_airflow_reads_them() -> None:
    environ = {
        "AIRFLOW_CONN_A": '{"conn_type": "postgres", "host": "h", "login": "u", "schema": "d", "port": "5433"}',
        "AIRFLOW_CONN_B": "my-own://u:p%40q@h:1/d?x=1",
        "AIRFLOW_CONN_C": "sqlite:////data/rows.db",
    }
    found = EnvironmentConnections(environ)
    assert found.url("a").render_as_string() == "postgresql+psycopg://u@h:5433/d"
    assert (found.url("b").drivername, found.url("b").password, found.url("b").query) == (
        "my_own",
        "p@q",
        {"x": "1"},
    )
    assert found.url("c").database == "/data/rows.db"
