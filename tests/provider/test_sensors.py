"""Sensors: there, not there yet, given up, and data that no waiting brings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from airflow.sdk import DAG
from airflow.sdk.exceptions import AirflowFailException, AirflowSensorTimeout

from evermodel.prediction_log import log_schema, write_batch
from evermodel_provider.sensors.data import NewDataSensor, PredictionsSensor
from worlds import World, flights_world


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


def test_predictions_are_there_when_the_log_has_the_last_day(model: World) -> None:
    assert sensor(PredictionsSensor, "2013-03-11", "drift").poke({}) is False

    write_batch(model.spec, model.settings.lake, "2013-03-10", log_schema(model.spec).empty_table())

    assert sensor(PredictionsSensor, "2013-03-11", "drift").poke({}) is True
    assert sensor(PredictionsSensor, "2013-03-12", "drift").poke({}) is False


@pytest.mark.usefixtures("model")
def test_giving_up_tells_what_was_there_and_what_to_do() -> None:
    waiting = sensor(NewDataSensor, "2014-01-05", mode="poke", poke_interval=0.01, timeout=0)

    with pytest.raises(AirflowSensorTimeout) as caught:
        waiting.execute({})

    assert "model flights: gave up waiting for 2014-01-04 00:00 to 2014-01-05 00:00 UTC" in str(caught.value)
    assert "0 rows in 2014-01-04" in str(caught.value)
    assert "newest row at 2014-01-01 02:10 UTC" in str(caught.value)
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
