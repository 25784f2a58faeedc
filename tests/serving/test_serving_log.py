from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fastapi.testclient import TestClient

from evermodel.data.prediction_log import read_log
from evermodel.modeling.scoring.request_rows import Inputs
from evermodel.serving.app import create_app
from evermodel.serving.metrics import Metrics
from evermodel.serving.prediction_writer import LoggedRequest, PredictionLog, log_table, write_log_file
from evermodel.spec.window import Window
from support.prediction_logs import log_files
from support.serving_models import World, request_rows, wait_until

INPUTS = Inputs(("temp", "carrier"), frozenset({"temp"}))
COLUMNS = ["prediction_id", "event_time", "model_version", "score", "predicted", "source", "request_id"]


def entry(request_id: str, rows: int = 1, at: datetime | None = None) -> LoggedRequest:
    when = at or datetime(2026, 3, 1, 12, tzinfo=UTC)
    ids = [f"{request_id}-{number}" for number in range(rows)]
    return LoggedRequest("m", "3", request_id, when, INPUTS, [(float("nan"), None)] * rows, ids, [0.5] * rows)


def count(metrics: Metrics, name: str, **labels: str) -> float | None:
    value: float | None = metrics.registry.get_sample_value(name, {"model": "m", **labels})
    return value


def test_every_answer_is_in_the_log_after_shutdown(world: World) -> None:
    made = world.publish(1)
    rows = request_rows(3, 5)
    before = datetime.now(UTC) - timedelta(seconds=1)
    with TestClient(create_app([world.name], world.settings)) as client:
        wait_until(lambda: client.get("/ready").status_code == 200, "the app is ready")
        for number in range(4):
            client.post("/predict", json={"rows": rows}, headers={"X-Request-ID": f"r{number}"})
        client.post("/predict", json={"rows": [{}]})
    log = world.logged()
    assert list(log.columns) == [*COLUMNS, "temp", "wind", "carrier"]
    assert sorted(log["prediction_id"]) == [f"r{n}-{i}" for n in range(4) for i in range(3)]
    first = log[log["request_id"] == "r0"].sort_values("prediction_id")
    assert first["score"].tolist() == pytest.approx(made.scores(rows), abs=1e-12)
    assert first["wind"].tolist() == pytest.approx([row["wind"] for row in rows])
    assert first["carrier"].tolist() == [None, *(row["carrier"] for row in rows[1:])]
    assert set(log["source"]) == {"online"}
    assert set(log["model_version"]) == {made.version}
    assert (log["event_time"] > before).all()
    files = log_files(world.settings.lake, world.name)
    assert {path.parent.name for path in files} == {"source=online"}
    assert list((world.settings.home / "spool").rglob("*.parquet")) == []
    window = Window(before, before + timedelta(hours=1))
    assert read_log(world.spec, world.settings.lake, window).num_rows == len(log) == 12
    schema = pq.read_schema(files[0])
    assert schema.field("event_time").type == pa.timestamp("us", tz="UTC")
    assert schema.field("temp").type == pa.float64()
    assert schema.field("carrier").type == pa.string()


def test_dates_get_folders_and_nulls_stay_null(tmp_path: Path) -> None:
    log = PredictionLog(tmp_path, Metrics(), flush_seconds=60)
    log.start()
    log.offer(entry("a", at=datetime(2026, 3, 1, 23, 59, tzinfo=UTC)))
    log.offer(entry("b", at=datetime(2026, 3, 2, 0, 1, tzinfo=UTC)))
    log.stop()
    found = {path.parent.name: pq.ParquetFile(path).read() for path in tmp_path.glob("m/date=*/*.parquet")}
    assert {day: table["request_id"].to_pylist() for day, table in found.items()} == {
        "date=2026-03-01": ["a"],
        "date=2026-03-02": ["b"],
    }
    assert [table["temp"].null_count for table in found.values()] == [1, 1]
    assert [table["carrier"].null_count for table in found.values()] == [1, 1]


def test_enough_rows_are_written_without_waiting(tmp_path: Path) -> None:
    metrics = Metrics()
    log = PredictionLog(tmp_path, metrics, flush_seconds=600, flush_rows=10)
    log.start()
    log.offer(entry("a", rows=10))
    wait_until(lambda: count(metrics, "evermodel_predictions_logged_total") == 10, "ten rows are written")
    log.stop()


def test_rows_that_become_columns_in_several_parts_are_one_file(tmp_path: Path) -> None:
    log = PredictionLog(tmp_path, Metrics(), flush_seconds=600)
    log.start()
    for number in range(13):
        log.offer(entry(f"r{number}", rows=100))
    wait_until(lambda: log._batches, "the first part is converted")
    log.stop()
    (file,) = tmp_path.rglob("*.parquet")
    wanted = [f"r{number}" for number in range(13) for _ in range(100)]
    assert pq.ParquetFile(file).read()["request_id"].to_pylist() == wanted


def test_what_a_split_answers_is_written_beside_what_one_version_answers(tmp_path: Path) -> None:
    log = PredictionLog(tmp_path, Metrics(), flush_seconds=600)
    log.start()
    log.offer(entry("alone", rows=600))
    wait_until(lambda: log._batches, "the first part is converted")
    log.offer(replace(entry("split", rows=2), subject_hash="00ff"))
    log.stop()
    found = {file["request_id"][0].as_py(): file for file in map(pq.read_table, tmp_path.rglob("*.parquet"))}
    assert {name: table.num_rows for name, table in found.items()} == {"alone": 600, "split": 2}
    assert "subject_hash" not in found["alone"].column_names
    assert found["split"]["subject_hash"].to_pylist() == ["00ff"] * 2


def test_a_file_is_written_in_parts_between_which_requests_have_their_turn(tmp_path: Path) -> None:
    table = log_table([entry(f"r{number}", rows=100) for number in range(50)])
    write_log_file(table, tmp_path, "online")
    (file,) = tmp_path.iterdir()
    groups = pq.ParquetFile(file).metadata
    assert [groups.row_group(place).num_rows for place in range(groups.num_row_groups)] == [2000, 2000, 1000]
    assert pq.ParquetFile(file).read()["request_id"].to_pylist() == pa.table(table)["request_id"].to_pylist()


def test_a_full_queue_drops_and_counts(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    metrics = Metrics()
    log = PredictionLog(tmp_path, metrics, capacity=10)
    for number in range(5):
        log.offer(entry(f"r{number}", rows=4))
    assert count(metrics, "evermodel_predictions_dropped_total", reason="queue_full") == 12
    assert caplog.text.count("event=predictions_dropped") == 1
    log.start()
    log.stop()
    assert count(metrics, "evermodel_predictions_logged_total") == 8


def test_a_failing_disk_drops_counts_and_recovers(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    metrics = Metrics()
    folder = tmp_path / "predictions"
    folder.write_text("a file where the folder should be")
    log = PredictionLog(folder, metrics, flush_seconds=0.02)
    log.start()
    log.offer(entry("lost", rows=3))
    dropped = "evermodel_predictions_dropped_total"
    wait_until(lambda: count(metrics, dropped, reason="write_failed") == 3, "the loss is counted")
    assert "reason=write_failed" in caplog.text
    folder.unlink()
    log.offer(entry("kept"))
    log.stop()
    assert count(metrics, "evermodel_predictions_logged_total") == 1
    (file,) = folder.rglob("*.parquet")
    assert pq.ParquetFile(file).read()["request_id"].to_pylist() == ["kept"]


def test_sigterm_writes_what_was_answered(world: World) -> None:
    world.publish(1)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = world.settings
    env = {
        **os.environ,
        "EVERMODEL_HOME": str(settings.home),
        "EVERMODEL_LAKE": str(settings.lake),
        "EVERMODEL_MODELS": str(settings.models),
        "MLFLOW_TRACKING_URI": settings.tracking_uri,
    }
    code = f"from evermodel.serving.run import serve; serve([{world.name!r}], port={port}, poll_seconds=0.2)"
    process = subprocess.Popen([sys.executable, "-c", code], env=env, stderr=subprocess.PIPE, text=True)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
            wait_until(lambda: _ready(client), "the process is ready", seconds=60)
            answer = client.post(
                "/predict", json={"rows": request_rows(2, 1)}, headers={"X-Request-ID": "last"}
            )
            assert answer.status_code == 200
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=30)
    finally:
        process.kill()
    assert world.logged()["prediction_id"].tolist() == ["last-0", "last-1"]
    assert f"event=swap model={world.name} from=none to=1" in errors
    assert "Traceback" not in errors


def _ready(client: httpx.Client) -> bool:
    try:
        return client.get("/ready").status_code == 200
    except httpx.HTTPError:
        return False


def test_the_app_is_built_without_heavy_imports() -> None:
    heavy = ("airflow", "jinja2", "mlflow", "numpy", "pandas", "pyarrow", "sklearn", "skops")
    code = f"import sys, evermodel.serving.run; print([m for m in {heavy!r} if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
