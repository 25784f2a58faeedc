"""What goes wrong in production: the run fails with what is wrong and what to do, and nothing is half-registered."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from mlflow.exceptions import MlflowException

from evermodel.cli.local_stack.ports import free_port
from evermodel.pipelines.quarantined import last_quarantined
from support.airflow_runs import Done, messages, parse, retrain, run
from support.flights import World
from support.paths import SAMPLE

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("without_evidence")]

DAY = "2013-03-11"
LOGISTIC = {"name": "logistic", "estimator": "sklearn.linear_model.LogisticRegression", "params": {}}
BROKEN = {**LOGISTIC, "name": "broken", "params": {"C": -1.0}}


def nothing_registered(world: World) -> bool:
    """Tell whether the registry has neither the model, nor a version, nor an alias."""
    if world.client.search_model_versions(f"name = '{world.name}'"):
        return False
    try:
        return not world.client.get_registered_model(world.name).aliases
    except MlflowException as error:
        return bool(error.error_code == "RESOURCE_DOES_NOT_EXIST")


def failure(world: World, done: Done, task: str) -> str:
    """Return what people were told about the one task that failed."""
    assert done.state == "failed"
    told = [message for message in messages(world) if message["severity"] == "failure"]
    assert [message["title"].split(" ", 1)[1] for message in told] == [f"{world.name}: {task} failed"]
    assert done.states[task] == "failed"
    return str(told[0]["text"])


def use_data(world: World, table: pa.Table) -> None:
    file = world.folder / "data" / "flights.parquet"
    file.unlink()
    pq.write_table(table, file)


def with_label(since: str, value: int) -> pa.Table:
    """Return the sample with one class only since a day."""
    table = pq.read_table(SAMPLE)
    moment = pa.scalar(datetime.fromisoformat(since).replace(tzinfo=UTC), table["scheduled_at"].type)
    late = pc.greater_equal(table["scheduled_at"], moment)
    label = pc.if_else(late, pa.scalar(value, pa.int32()), table["late"])
    return table.set_column(table.column_names.index("late"), "late", label)


def test_mlflow_is_down(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    address = f"http://127.0.0.1:{free_port()}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)

    done = retrain(world, DAY)

    told = failure(world, done, "extract")
    assert f"the MLflow server at {address} does not answer" in told
    assert "`mlflow_default` or MLFLOW_TRACKING_URI" in told
    assert done.tries["extract"] == 3, "a server that is away is worth a retry"
    assert nothing_registered(world)


def test_the_data_file_is_missing(world: World) -> None:
    (world.folder / "data" / "flights.parquet").unlink()

    done = retrain(world, DAY)

    told = failure(world, done, "new_data")
    assert f"{world.folder}/data/flights.parquet does not exist" in told
    assert "run the export that writes it" in told
    assert done.tries["new_data"] == 1, "waiting does not mend it"


def test_an_empty_week_makes_the_run_wait_and_then_give_up(world: World) -> None:
    dag = parse(world, "retrain")
    sensor = dag.get_task("new_data")
    sensor.timeout, sensor.retries = 0, 0

    done = run(dag, "2015-03-16")

    told = failure(world, done, "new_data")
    assert "timed out waiting for 2015-01-11 00:00 to 2015-03-15 00:00 UTC" in told
    assert "newest row at 2014-01-01 02:10 UTC" in told
    assert "check the job that delivers this data" in told


def test_an_empty_week_is_no_snapshot(world: World) -> None:
    done = run(parse(world, "retrain"), "2015-03-16", skip="new_data")

    told = failure(world, done, "extract")
    assert f"model {world.name}: the source has no row in 2015-01-11 00:00" in told
    assert "check that the data of this interval has arrived" in told
    assert nothing_registered(world)


def test_a_snapshot_of_one_class_stops_before_training(world: World) -> None:
    use_data(world, with_label("2013-01-01", 0))

    done = retrain(world, DAY)

    told = failure(world, done, "validate")
    assert "both classes of late: found 0 positive and" in told
    assert "fix the data" in told
    assert {done.states["train[0]"], done.states["train[1]"], done.states["report"]} == {"upstream_failed"}
    assert nothing_registered(world)


def with_far_flights() -> pa.Table:
    """Return the sample with a distance that no airliner flies in one of a hundred rows."""
    table = pq.read_table(SAMPLE)
    distance = [None if d is None else float(d) for d in table["distance"].to_pylist()]
    distance[::100] = [123_456.0] * len(distance[::100])
    return table.set_column(table.column_names.index("distance"), "distance", pa.array(distance))


def test_a_value_out_of_range_stops_the_run_and_people_see_examples(world: World) -> None:
    world.change(validation={"ranges": {"distance": [0, 20_000]}, "severity": {"range": "fail"}})
    use_data(world, with_far_flights())

    told = failure(world, retrain(world, DAY), "validate")

    assert "distance" in told
    assert "123456" in told.replace(",", "")
    assert nothing_registered(world)


def test_bad_rows_go_aside_and_the_version_names_the_cleaned_snapshot(world: World) -> None:
    world.change(
        candidates=[LOGISTIC],
        validation={"ranges": {"distance": [0, 20_000]}, "severity": {"range": "quarantine"}},
    )
    use_data(world, with_far_flights())

    done = retrain(world, DAY)

    assert done.state == "success"
    assert done.xcom("validate")["path"] != done.xcom("extract")["path"]
    version = world.client.get_model_version_by_alias(world.name, "champion")
    assert version.tags["evermodel.snapshot"] == done.xcom("validate")["path"]
    cleaned = pq.read_table(world.settings.lake / done.xcom("validate")["path"])
    assert pc.max(cleaned["distance"]).as_py() < 20_000
    (aside,) = (world.settings.lake / "quarantine" / world.name).glob("*.parquet")
    assert set(pq.read_table(aside)["distance"].to_pylist()) == {123_456.0}


def test_a_spelling_that_changed_on_the_newest_days_stops_the_run_and_the_rows_can_be_listed(
    world: World,
) -> None:
    table = pq.read_table(SAMPLE)
    since = pa.scalar(datetime(2013, 3, 8, tzinfo=UTC), table["scheduled_at"].type)
    padded = pc.binary_join_element_wise(table["carrier"].cast(pa.string()), pa.scalar(" "), "")
    carrier = pc.if_else(
        pc.greater_equal(table["scheduled_at"], since), padded, table["carrier"].cast(pa.string())
    )
    use_data(world, table.set_column(table.column_names.index("carrier"), "carrier", carrier))

    told = failure(world, retrain(world, DAY), "validate")

    assert "quarantined rows of the newest day (2013-03-09)" in told
    assert "values end in blanks" in told
    assert nothing_registered(world)
    found = last_quarantined(world.client, world.spec, world.settings)
    assert found is not None
    assert found.verdict == "failed"
    assert "values of carrier end in blanks: 'UA ' for 'UA'" in {reason.reason for reason in found.reasons}
    assert {reason.first[:7] for reason in found.reasons} == {"2013-03"}


def test_a_test_part_of_one_class_cannot_be_judged(world: World) -> None:
    world.change(candidates=[LOGISTIC])
    use_data(world, with_label("2013-03-03", 1))

    done = retrain(world, DAY)

    told = failure(world, done, "evaluate")
    assert "rows of the test window are all of one class" in told
    assert "widen `split.test`" in told
    assert (done.states["register"], done.tries["evaluate"]) == ("upstream_failed", 1)
    assert nothing_registered(world)


def test_a_typo_in_the_spec_after_parsing_fails_the_task_with_line_and_field(world: World) -> None:
    dag = parse(world, "retrain")
    world.spec_file.write_text(world.spec_file.read_text().replace("id_column:", "id_colum:"))

    done = run(dag, DAY)

    told = failure(world, done, "request")
    assert f"{world.spec_file}: line " in told
    assert "id_colum: unknown field; did you mean id_column?" in told
    assert done.tries["request"] == 1


def test_one_candidate_breaks_and_the_other_ships(world: World) -> None:
    world.change(candidates=[BROKEN, LOGISTIC])

    done = retrain(world, DAY)

    assert [done.states[f"train[{index}]"] for index in (0, 1)] == ["failed", "success"]
    assert done.xcom("report")["outcome"] == "deployed"
    assert done.xcom("evaluate")["candidate"] == "logistic"
    (told,) = [message["text"] for message in messages(world) if message["severity"] == "failure"]
    assert "candidate broken cannot be fitted" in told
    assert "the other candidates continue" in told
    assert len(world.client.search_model_versions(f"name = '{world.name}'")) == 1


def test_no_candidate_can_be_trained(world: World) -> None:
    world.change(candidates=[BROKEN])

    done = retrain(world, DAY)

    told = failure(world, done, "train[0]")
    assert "candidate broken cannot be fitted" in told
    assert done.states["evaluate"] == "upstream_failed"
    assert nothing_registered(world)


def test_force_without_a_reason_is_refused_at_once(world: World) -> None:
    done = retrain(world, DAY, force=True)

    told: Any = failure(world, done, "request")
    assert "`force` is set without a reason" in told
    assert "start the run again with a reason" in told
    assert done.tries["request"] == 1
