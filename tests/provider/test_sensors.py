"""Sensors: there, not there yet, given up, and data that no waiting brings."""

from __future__ import annotations

import asyncio
import importlib
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from airflow.sdk import DAG
from airflow.sdk.exceptions import (
    AirflowFailException,
    AirflowSensorTimeout,
    AirflowSkipException,
    TaskDeferred,
)

from evermodel.core import connections
from evermodel.core.errors import SourceError
from evermodel.data.prediction_log import log_schema, write_plain_day
from evermodel_provider.connections import use_airflow_connections
from evermodel_provider.sensors.data import DaysToScoreSensor, NewDataSensor, PredictionsSensor
from support.flights import World, flights_world


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    made = flights_world(tmp_path, "http://127.0.0.1:1", "flights")
    for name, value in made.environment.items():
        monkeypatch.setenv(name, value)
    return made


def sensor(kind: Any, as_of: str, window: str = "day", **options: Any) -> Any:
    with DAG("waiting", schedule=None):
        return kind(task_id="wait", model="flights", as_of=as_of, window=window, **options)


@pytest.mark.parametrize(
    ("window", "as_of", "there"),
    [
        ("day", "2013-03-11", True),
        ("training", "2013-03-11", True),
        ("training", "2014-01-02", True),  # its last day is 31 December: labels take a day
        ("day", "2014-01-03", False),
        ("training", "2014-01-05", False),
    ],
)
@pytest.mark.usefixtures("model")
def test_new_data_is_there_when_the_last_day_of_the_window_has_rows(
    window: str, as_of: str, there: bool
) -> None:
    assert sensor(NewDataSensor, as_of, window).poke({}) is there


@pytest.mark.usefixtures("model")
def test_days_to_score_are_those_of_the_range_once_its_last_one_is_there() -> None:
    def days(as_of: str, **range_: str) -> Any:
        waiting = sensor(DaysToScoreSensor, as_of, **{"first": "", "last": ""} | range_)
        waiting.mode, waiting.timeout, waiting.poke_interval = "poke", 0, 0.01
        return [moment[:10] for moment in waiting.execute({})]

    assert days("2013-03-11T03:00:00") == ["2013-03-11"]
    assert days("2013-03-11", first="2013-03-08", last="2013-03-09") == ["2013-03-09", "2013-03-10"]
    assert days("2013-03-11", first="2013-03-10") == ["2013-03-11"]
    with pytest.raises(AirflowSensorTimeout, match="0 rows in 2014-01-04"):
        days("2014-03-01", first="2013-12-30", last="2014-01-04")
    with pytest.raises(AirflowFailException, match="`from` is missing"):
        days("2013-03-11", last="2013-03-10")


def test_predictions_are_there_when_the_log_has_the_last_day(model: World) -> None:
    assert sensor(PredictionsSensor, "2013-03-11", "drift").poke({}) is False

    schema = log_schema(model.spec)
    write_plain_day(model.spec, model.settings.lake, "2013-03-10", schema.empty_table())
    assert sensor(PredictionsSensor, "2013-03-11", "drift").poke({}) is False
    write_plain_day(
        model.spec, model.settings.lake, "2013-03-10", pa.Table.from_pylist([{"score": 0.5}], schema)
    )

    assert sensor(PredictionsSensor, "2013-03-11", "drift").poke({}) is True
    assert sensor(PredictionsSensor, "2013-03-12", "drift").poke({}) is False


@pytest.mark.usefixtures("model")
def test_giving_up_tells_what_was_there_and_what_to_do() -> None:
    waiting = sensor(NewDataSensor, "2014-01-05", mode="poke", poke_interval=0.01, timeout=0)

    with pytest.raises(AirflowSensorTimeout) as caught:
        waiting.execute({})

    assert "model flights: timed out waiting for 2014-01-04 00:00 to 2014-01-05 00:00 UTC" in str(
        caught.value
    )
    assert "0 rows in 2014-01-04" in str(caught.value)
    assert "newest row at 2014-01-01 02:10 UTC" in str(caught.value)
    assert "Missing: 1 of 1 rows in 2014-01-04" in str(caught.value)
    assert "check the job that delivers this data" in str(caught.value)


def test_a_missing_file_fails_at_once(model: World) -> None:
    (model.folder / "data" / "flights.parquet").unlink()

    with pytest.raises(AirflowFailException, match=r"flights\.parquet does not exist") as caught:
        sensor(NewDataSensor, "2013-03-11", mode="poke").execute({})
    assert "correct `source.path` in the spec" in str(caught.value)


def test_a_damaged_file_fails_at_once(model: World) -> None:
    file = model.folder / "data" / "flights.parquet"
    whole = file.read_bytes()
    file.unlink()
    file.write_bytes(whole[: len(whole) // 2])

    with pytest.raises(AirflowFailException, match=r"flights\.parquet cannot be read"):
        sensor(NewDataSensor, "2013-03-11", mode="poke").execute({})


def test_a_source_without_the_time_column_fails_at_once(model: World) -> None:
    file = model.folder / "data" / "flights.parquet"
    table = pq.read_table(file).rename_columns({"scheduled_at": "scheduled"})
    file.unlink()
    pq.write_table(table, file)

    with pytest.raises(
        AirflowFailException, match=r"lacks the columns scheduled_at \(did you mean scheduled\?"
    ):
        sensor(NewDataSensor, "2013-03-11", mode="poke").execute({})


def test_between_two_looks_no_worker_slot_is_held() -> None:
    waiting = sensor(NewDataSensor, "2013-03-11")
    assert (waiting.mode, waiting.poke_interval, waiting.timeout) == ("reschedule", 300, 6 * 3600)


def deferral(as_of: str, **options: Any) -> TaskDeferred:
    with pytest.raises(TaskDeferred) as caught:
        sensor(NewDataSensor, as_of, deferrable=True, **options).execute({})
    return caught.value


async def event_of(trigger: Any) -> dict[str, Any]:
    path, arguments = json.loads(json.dumps(trigger.serialize()))
    module, _, name = path.rpartition(".")
    again = getattr(importlib.import_module(module), name)(**arguments)
    payload: dict[str, Any] = (await anext(again.run())).payload
    return payload


@pytest.mark.usefixtures("model")
def test_a_deferrable_sensor_does_not_wait_for_what_is_there() -> None:
    assert sensor(NewDataSensor, "2013-03-11", deferrable=True).execute({}) is None


@pytest.mark.usefixtures("model")
async def test_waiting_in_the_triggerer_ends_with_the_same_words_as_on_a_worker() -> None:
    waits = deferral("2014-01-05", poke_interval=0.01, timeout=0)

    event = await event_of(waits.trigger)
    assert event["outcome"] == "timeout"
    with pytest.raises(AirflowSensorTimeout) as caught:
        sensor(NewDataSensor, "2014-01-05").execute_complete({}, event)
    assert "timed out waiting for 2014-01-04 00:00 to 2014-01-05 00:00 UTC. Found 0 rows" in str(caught.value)
    assert "Missing: 1 of 1 rows in 2014-01-04" in str(caught.value)
    with pytest.raises(AirflowSkipException):
        sensor(NewDataSensor, "2014-01-05", soft_fail=True).execute_complete({}, event)


async def test_the_triggerer_sees_data_that_comes_while_it_waits(model: World) -> None:
    waits = deferral("2014-01-05", poke_interval=0.05, timeout=60)
    file = model.folder / "data" / "flights.parquet"
    table = pq.read_table(file)
    place = table.column_names.index("scheduled_at")
    moved = pc.add(table["scheduled_at"], pa.scalar(timedelta(days=5)))

    async def deliver() -> None:
        await asyncio.sleep(0.2)
        pq.write_table(table.set_column(place, "scheduled_at", moved), file.with_suffix(".new"))
        file.with_suffix(".new").replace(file)

    event, _ = await asyncio.gather(event_of(waits.trigger), deliver())
    assert event["outcome"] == "ready"
    sensor(NewDataSensor, "2014-01-05").execute_complete({}, event)


async def test_what_no_waiting_mends_ends_the_waiting(model: World) -> None:
    waits = deferral("2014-01-05", timeout=60)
    (model.folder / "data" / "flights.parquet").unlink()

    event = await event_of(waits.trigger)
    with pytest.raises(AirflowFailException, match=r"flights\.parquet does not exist") as caught:
        sensor(NewDataSensor, "2014-01-05").execute_complete({}, event)
    assert "correct `source.path`" in str(caught.value)


async def test_predictions_are_waited_for_in_the_triggerer_too(model: World) -> None:
    with pytest.raises(TaskDeferred) as caught:
        sensor(PredictionsSensor, "2013-03-11", deferrable=True, timeout=0).execute({})
    rows = pa.Table.from_pylist([{"score": 0.5}], log_schema(model.spec))

    assert (await event_of(caught.value.trigger))["missing"].startswith("predictions of 2013-03-10")
    write_plain_day(model.spec, model.settings.lake, "2013-03-10", rows)
    assert (await event_of(caught.value.trigger))["outcome"] == "ready"


def test_sources_find_their_database_among_the_connections_of_airflow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "_current", connections.connections())
    monkeypatch.setenv(
        "AIRFLOW_CONN_LITE", json.dumps({"conn_type": "sqlite", "host": str(tmp_path / "a.db")})
    )
    monkeypatch.setenv("AIRFLOW_CONN_PG", "postgres://me:se%2Fcret@db:5433/house?sslmode=require")
    use_airflow_connections()
    found = connections.connections()

    assert str(found.engine("lite").url) == f"sqlite:///{tmp_path / 'a.db'}"
    url = found.url("pg")
    assert (url.drivername, url.host, url.port, url.database) == ("postgresql+psycopg", "db", 5433, "house")
    assert (url.username, url.password, url.query) == ("me", "se/cret", {"sslmode": "require"})
    with pytest.raises(SourceError, match="Airflow has no connection nowhere"):
        found.engine("nowhere")
