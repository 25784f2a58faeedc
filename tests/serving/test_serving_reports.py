"""What serving processes report, and what is made of reports of processes that are gone."""

from __future__ import annotations

import json
import logging
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from evermodel.registry.serving_heartbeats import (
    InMemory,
    Reports,
    ServingReport,
    VersionCounts,
    clear_reports,
    read_reports,
    reports_folder,
    write_report,
)
from evermodel.serving.app import create_app
from evermodel.serving.heartbeat import Heartbeat, Process
from support.serving_models import World, request_rows, wait_until

NOW = datetime(2013, 6, 1, 12, tzinfo=UTC)
PROCESS = Process("prod", host="web-1", pid=7, nonce="a")


def report(**changed: object) -> ServingReport:
    held = InMemory(
        "3", NOW.isoformat(), "onnx", {"3": 0.9, "4": 0.1}, 2, "rollout-1", {"4": VersionCounts(5, 1)}
    )
    made = replace(PROCESS.report("flights", held), at=NOW.isoformat())
    return replace(made, **changed)  # type: ignore[arg-type]


def wait_for(lake: Path, version: str) -> Reports:
    for _ in range(200):
        found = read_reports(lake, "flights", datetime.now(UTC))
        if any(one.version == version for one in found.live):
            return found
        time.sleep(0.01)
    raise AssertionError(f"no report of version {version}")


def test_a_report_comes_back_as_it_was_written(tmp_path: Path) -> None:
    write_report(tmp_path, report())
    assert read_reports(tmp_path, "flights", NOW) == Reports(live=(report(),), gone=())


def test_a_process_that_no_longer_writes_is_gone_and_what_it_counted_still_counts(tmp_path: Path) -> None:
    write_report(tmp_path, report(at=(NOW - timedelta(minutes=1)).isoformat()))
    write_report(tmp_path, report(instance="b"))
    write_report(tmp_path, report(instance="c", stopped=True))
    write_report(tmp_path, report(instance="d", rollout="rollout-0"))
    write_report(tmp_path, report(instance="e", revision=1))

    found = read_reports(tmp_path, "flights", NOW)

    assert [one.instance for one in found.live] == ["b", "d", "e"]
    assert found.counts(rollout="rollout-1")["4"].requests == 20
    assert found.counts(rollout="rollout-1", revision=2) == {"4": VersionCounts(15, 3)}
    assert found.counts() == {}


def test_a_file_that_is_no_report_is_left_out_and_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_report(tmp_path, report())
    (reports_folder(tmp_path, "flights") / "broken.json").write_text("{")
    newer = {**report(instance="b").to_json(), "added_later": 1}
    (reports_folder(tmp_path, "flights") / "b.json").write_text(json.dumps(newer))

    assert len(read_reports(tmp_path, "flights", NOW).live) == 2
    assert "broken.json" in caplog.text


def test_only_reports_that_nobody_needs_are_deleted(tmp_path: Path) -> None:
    hours = {name: (NOW - timedelta(hours=span)).isoformat() for name, span in (("two", 2), ("old", 24 * 31))}
    write_report(tmp_path, report(instance="live"))
    write_report(tmp_path, report(instance="counted", at=hours["two"]))
    write_report(tmp_path, report(instance="empty", at=hours["two"], counts={}))
    write_report(tmp_path, report(instance="old", at=hours["old"]))

    assert clear_reports(tmp_path, "flights", NOW) == 2
    assert {file.stem for file in reports_folder(tmp_path, "flights").iterdir()} == {"live", "counted"}


def test_a_process_reports_changes_at_once_and_its_end(tmp_path: Path) -> None:
    held = [InMemory("3")]
    heartbeat = Heartbeat(PROCESS, tmp_path, {"flights": lambda: held[0]}, every=3600)
    heartbeat.start()
    wait_for(tmp_path, "3")
    held[0] = InMemory("4")
    heartbeat.wake()
    assert wait_for(tmp_path, "4").live[0].host == "web-1"

    heartbeat.stop()

    ended = read_reports(tmp_path, "flights", datetime.now(UTC))
    assert (ended.live, [one.stopped for one in ended.gone]) == ((), [True])


def test_a_lake_that_is_away_is_logged_once_and_hurts_nobody(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    lake = tmp_path / "lake"
    lake.write_text("a file where the folder should be")
    heartbeat = Heartbeat(PROCESS, lake, {"flights": lambda: InMemory("3")})
    heartbeat.write()
    heartbeat.write()
    lake.unlink()
    heartbeat.write()

    assert [line.split()[0] for line in caplog.messages] == ["event=report_failed", "event=report_recovered"]
    assert read_reports(lake, "flights", datetime.now(UTC)).live


def test_the_app_reports_which_version_it_serves_and_that_it_ended(world: World) -> None:
    made = world.publish(1)
    app, lake = create_app([world.name], world.settings, poll_seconds=0.2), world.settings.lake

    def reports() -> Reports:
        return read_reports(lake, world.name, datetime.now(UTC))

    with TestClient(app) as client:
        wait_until(lambda: client.get("/ready").status_code == 200, "the app is ready")
        wait_until(
            lambda: [one.version for one in reports().live] == [made.version], "it reports the version"
        )
        (told,) = reports().live
        assert (told.environment, told.engine, told.since[:10]) == ("local", "onnx", told.at[:10])
        client.post("/predict", json={"rows": request_rows(2, 1)})
    (ended,) = reports().gone
    assert ended.stopped
    assert ended.counts[made.version].requests == 1
