"""The prediction log on its way into a bucket: no row is lost or doubled, whenever the store is away or the process killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fastapi.testclient import TestClient

from evermodel.core.errors import StorageUnavailableError
from evermodel.core.storage import BucketPath, StoragePath
from evermodel.data.day_table import DayTable
from evermodel.data.prediction_log import read_log
from evermodel.modeling.scoring.request_rows import Inputs
from evermodel.serving.app import create_app
from evermodel.serving.log_upload import LogUploader
from evermodel.serving.metrics import Metrics
from evermodel.serving.prediction_writer import LoggedRequest, PredictionLog, log_table, write_log_file
from evermodel.spec.window import Window
from support.object_stores import new_s3_bucket, s3_environment
from support.prediction_logs import log_files, log_rows
from support.serving_models import World, request_rows, wait_until

INPUTS = Inputs(("temp", "carrier"), frozenset({"temp"}))
OTHER = Inputs(("temp", "wind"), frozenset({"temp", "wind"}))


@pytest.fixture
def lake(s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> BucketPath:
    for name, value in s3_environment(s3_endpoint).items():
        monkeypatch.setenv(name, value)
    return new_s3_bucket(s3_endpoint) / "lake"


def _entry(name: str, inputs: Inputs = INPUTS, at: datetime | None = None) -> LoggedRequest:
    values: tuple[Any, ...] = (1.5, "AA") if inputs is INPUTS else (1.5, 2.5)
    return LoggedRequest("m", "3", name, at or datetime.now(UTC), inputs, [values], [name], [0.5])


def _wait_in(spool: Path, *names: str, inputs: Inputs = INPUTS) -> None:
    folder = spool / "predictions" / "m" / "date=2026-03-01"
    for name in names:
        write_log_file(log_table([_entry(name, inputs)]), folder, "online")


def _rows(lake: StoragePath, model: str = "m") -> Counter[str]:
    DayTable(lake / "predictions" / model).take_pending()
    if not log_files(lake, model):
        return Counter()
    return Counter(log_rows(lake, model)["request_id"].to_pylist())


def test_files_are_joined_by_schema_and_none_is_left(lake: BucketPath, tmp_path: Path) -> None:
    spool = tmp_path / "spool"
    _wait_in(spool, "a", "b", "c")
    _wait_in(spool, "d", inputs=OTHER)
    uploader = LogUploader(spool, lake)
    uploader.upload()
    assert _rows(lake) == Counter("abcd")
    files = log_files(lake, "m")
    assert len(files) == 2
    assert {str(file.parent.relative_to(lake)) for file in files} == {
        "predictions/m/date=2026-03-01/source=online"
    }
    assert {*spool.rglob("*")} == {spool / ".lock", spool / "predictions", spool / "predictions" / "m"}
    uploader.upload()
    assert _rows(lake) == Counter("abcd")


def test_a_file_that_an_earlier_release_had_uploaded_when_it_was_killed_counts_once(tmp_path: Path) -> None:
    spool, lake = tmp_path / "spool", tmp_path / "lake"
    day, name = Path("predictions", "m", "date=2026-03-01"), f"online-{'0' * 32}.parquet"
    old, parts = pa.table(log_table([_entry("a")])), {"evermodel.spooled": '["online-1-2.parquet"]'}
    for folder in (spool / day / ".upload", lake / day):
        folder.mkdir(parents=True)
        pq.write_table(old.replace_schema_metadata(parts), folder / name)
    pq.write_table(pa.table(log_table([_entry("c")])), spool / day / "online-1-3.parquet", compression="zstd")
    _wait_in(spool, "b")
    LogUploader(spool, lake).upload()
    assert _rows(lake) == Counter("abc")
    assert list(spool.rglob("*.parquet")) == []


class Killed(BaseException):
    """A kill, before or after one of the steps that change something."""


def _killed_at(number: int, patch: pytest.MonkeyPatch) -> None:
    """Let the process end at the n-th change: odd ones before it, even ones after it."""
    left = [number]

    def dying(change: Any) -> Any:
        def changed(*arguments: Any, **options: Any) -> Any:
            for moment in ("before", "after"):
                left[0] -= 1
                if left[0] == 0:
                    raise Killed(moment)
                if moment == "before":
                    result = change(*arguments, **options)
            return result

        return changed

    patch.setattr(BucketPath, "upload", dying(BucketPath.upload))
    for name in ("announce", "take_pending"):
        patch.setattr(DayTable, name, dying(getattr(DayTable, name)))
    for name in ("unlink", "replace", "rename"):
        patch.setattr(Path, name, dying(getattr(Path, name)))


@pytest.mark.parametrize("kill", range(1, 33))
def test_killed_at_any_step_and_started_again_each_row_is_there_once(
    lake: BucketPath, tmp_path: Path, kill: int
) -> None:
    spool = tmp_path / "spool"
    _wait_in(spool, "a", "b")
    _wait_in(spool, "c", inputs=OTHER)
    with pytest.MonkeyPatch.context() as patch:
        _killed_at(kill, patch)
        with pytest.raises(Killed):
            LogUploader(spool, lake).upload()
    _wait_in(spool, "d")
    LogUploader(spool, lake).upload()
    assert _rows(lake) == Counter("abcd")
    assert list(spool.rglob("*.parquet")) == []


def test_while_the_bucket_is_away_rows_wait_and_beyond_the_bound_they_are_counted(
    lake: BucketPath, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    spool, metrics = tmp_path / "spool", Metrics()

    def away(*arguments: Any, **options: Any) -> None:
        raise StorageUnavailableError("the store is away")

    uploader = LogUploader(spool, lake, seconds=0.01, most_bytes=1)
    log = PredictionLog(spool / "predictions", metrics, uploader, flush_seconds=0.01)
    with monkeypatch.context() as patch:
        patch.setattr(BucketPath, "upload", away)
        log.start()
        log.offer(_entry("a"))
        _until(lambda: list(spool.rglob("online-*.parquet")))
        uploader.upload()
        uploader.upload()
        assert not uploader.has_room
        log.offer(_entry("dropped"))
        dropped = {"model": "m", "reason": "spool_full"}
        _until(lambda: metrics.registry.get_sample_value("evermodel_predictions_dropped_total", dropped))
    assert [record.message.split()[0] for record in caplog.records] == [
        "event=log_upload_failed",
        "event=predictions_dropped",
    ]
    uploader.upload()
    assert uploader.has_room
    log.offer(_entry("b"))
    log.stop()
    uploader.start()
    uploader.stop()
    assert _rows(lake) == Counter("ab")


def _until(told: Any) -> None:
    end = time.monotonic() + 60
    while not told():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_damaged_file_is_put_aside_and_stops_no_other(lake: BucketPath, tmp_path: Path) -> None:
    spool = tmp_path / "spool"
    _wait_in(spool, "a")
    (spool / "predictions" / "m" / "date=2026-03-01" / "online-0.parquet").write_bytes(b"PAR1half")
    LogUploader(spool, lake).upload()
    assert _rows(lake) == Counter("a")
    assert [file.name for file in spool.rglob("*.damaged")] == ["online-0.damaged"]


def test_the_app_writes_to_its_own_disk_and_has_uploaded_everything_when_it_ends(
    world: World, lake: BucketPath
) -> None:
    world.publish(1)
    settings = world.settings.model_copy(update={"lake": lake})
    with TestClient(create_app([world.name], settings)) as client:
        wait_until(lambda: client.get("/ready").status_code == 200, "the app is ready")
        client.post("/predict", json={"rows": request_rows(3, 5)}, headers={"X-Request-ID": "r"})
    assert _rows(lake, world.name) == Counter({"r": 3})
    assert list(settings.home.rglob("*.parquet")) == []
    now = datetime.now(UTC)
    window = Window(now - timedelta(hours=1), now + timedelta(hours=1))
    assert read_log(world.spec, lake, window).num_rows == 3


PROCESS = """
import sys, time
from pathlib import Path
from evermodel.core.storage import BucketPath
from evermodel.serving.log_upload import LogUploader
from evermodel.serving.metrics import Metrics
from evermodel.serving.prediction_writer import PredictionLog
from serving.test_serving_log_upload import _entry

spool, lake = Path(sys.argv[1]), BucketPath("s3", sys.argv[2], "lake")
uploader = LogUploader(spool, lake, seconds=0.02)
log = PredictionLog(spool / "predictions", Metrics(), uploader, flush_seconds=0.01)
log.start()
uploader.start()
number = 0
while True:
    log.offer(_entry(f"{sys.argv[3]}-{number}"))
    number += 1
    time.sleep(0.001)
    if number % 20 == 0:
        print(number, flush=True)
"""


def test_processes_that_are_killed_leave_each_row_once(lake: BucketPath, tmp_path: Path) -> None:
    spool = tmp_path / "spool"
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1]), "NO_PROXY": "127.0.0.1"}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PROCESS, str(spool), lake.bucket, name], env=env, stdout=subprocess.PIPE
        )
        for name in "xy"
    ]
    for process in processes:
        assert process.stdout is not None
        process.stdout.readline()
    _until(lambda: len(log_files(lake, "m")) > 1)
    for process in processes:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    on_disk = Counter(
        name
        for file in spool.rglob("[!.]*.parquet")
        for name in pq.read_table(file, partitioning=None)["request_id"].to_pylist()
    )
    uploaded = set(_rows(lake))
    LogUploader(spool, lake).upload()
    found = _rows(lake)
    assert set(found.values()) == {1}
    assert set(found) == uploaded | set(on_disk)
    for run in "xy":  # of each process, everything up to a point
        numbers = sorted(int(name.split("-")[1]) for name in found if name.startswith(f"{run}-"))
        assert numbers == list(range(len(numbers)))
