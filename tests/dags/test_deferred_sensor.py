"""The sensor in a DAG that Airflow runs: deferred, waited for by its trigger, and resumed; its source in a database."""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG

from evermodel_provider.sensors.data import NewDataSensor
from support.airflow_runs import run
from support.flights import World, flights_world


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    made = flights_world(tmp_path, "http://127.0.0.1:1")
    for name, value in made.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AIRFLOW_CONN_HOUSE", f"sqlite:///{tmp_path}/house.db")
    with sqlite3.connect(tmp_path / "house.db") as house:
        house.execute("CREATE TABLE flights (flight_id TEXT, scheduled_at TEXT)")
        house.execute("INSERT INTO flights VALUES ('a', '2013-03-10 12:00:00')")
    made.change(source={"kind": "sql", "connection": "house", "query": "SELECT * FROM flights", "path": None})
    spec = made.spec_file.read_text()
    made.spec_file.write_text(spec.replace("  path: null\n", ""))
    return made


def sensor_dag(world: World, name: str) -> DAG:
    with DAG(name, schedule=None, start_date=datetime(2013, 1, 1, tzinfo=UTC)) as dag:
        NewDataSensor(
            task_id="new_data",
            model=world.name,
            as_of="{{ logical_date }}",
            deferrable=True,
            poke_interval=0.05,
            timeout=0.3,
        )
    return dag


def test_data_that_is_there_is_not_waited_for(world: World) -> None:
    assert run(sensor_dag(world, "there"), "2013-03-11").states == {"new_data": "success"}


def test_data_that_does_not_come_is_waited_for_by_the_trigger_and_given_up(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[dict[str, str]] = []
    complete = NewDataSensor.execute_complete

    def kept(self: NewDataSensor, context: Any, event: dict[str, str]) -> None:
        events.append(event)
        complete(self, context, event)

    monkeypatch.setattr(NewDataSensor, "execute_complete", kept)
    assert run(sensor_dag(world, "missing"), "2013-03-12").states == {"new_data": "failed"}
    assert [event["outcome"] for event in events] == ["timeout"]
    assert events[0]["missing"] == "1 of 1 rows in 2013-03-11 00:00 to 2013-03-12 00:00 UTC"


def test_data_that_comes_while_the_trigger_waits_lets_the_task_go_on(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    from evermodel_provider.triggers.data import WindowTrigger

    look = WindowTrigger.check

    def deliver_first(self: WindowTrigger) -> object:
        with sqlite3.connect(world.folder / "house.db") as house:
            house.execute("INSERT INTO flights VALUES ('b', '2013-03-11 12:00:00')")
        return look(self)

    monkeypatch.setattr(WindowTrigger, "check", deliver_first)
    assert run(sensor_dag(world, "late"), "2013-03-12").states == {"new_data": "success"}
