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
from sqlalchemy import insert

from evermodel.core.database.schema import open_database
from evermodel.core.database.tables import serving_reports
from evermodel.core.formats import stamped
from evermodel.registry.serving_heartbeats import InMemory, Reports, ServingReport, VersionCounts
from evermodel.registry.serving_reports import ServingReports
from evermodel.serving.app import create_app
from evermodel.serving.heartbeat import Heartbeat, Process
from support.serving_models import World, request_rows, wait_until
from support.serving_reports import aged, reports_in

NOW = datetime(2013, 6, 1, 12, tzinfo=UTC)
PROCESS = Process("prod", host="web-1", pid=7, nonce="a")


def report(**changed: object) -> ServingReport:
    held = InMemory(
        "3", NOW.isoformat(), "onnx", {"3": 0.9, "4": 0.1}, 2, "rollout-1", {"4": VersionCounts(5, 1)}
    )
    made = replace(PROCESS.report("flights", held), at=NOW.isoformat())
    return replace(made, **changed)  # type: ignore[arg-type]


def wait_for(reports: ServingReports, version: str) -> Reports:
    for _ in range(500):
        found = reports.read("flights")
        if any(one.version == version for one in found.live):
            return found
        time.sleep(0.01)
    raise AssertionError(f"no report of version {version}")


@pytest.fixture(params=["sqlite", "postgresql"])
def reports(request: pytest.FixtureRequest, tmp_path: Path) -> ServingReports:
    """An empty installation."""
    if request.param == "sqlite":
        return reports_in(tmp_path)
    return ServingReports(request.getfixturevalue("postgres_database"), tmp_path / "serving")


def test_a_report_comes_back_as_it_was_written_and_an_older_one_does_not_replace_it(
    reports: ServingReports,
) -> None:
    reports.write(report(number=7))
    reports.write(report(number=6, version="2"))
    assert reports.read("flights") == Reports(live=(report(number=7),), gone=())
    assert reports.live("flights") == (report(number=7),)
    reports.write(report(number=8, version="4"))
    assert [one.version for one in reports.live("flights")] == ["4"]
    assert reports.live("trains") == ()
    assert set(reports.served("flights")) == {"3", "4", "2"}
    assert reports.served("flights")["3"] == NOW


def test_a_process_that_no_longer_writes_is_gone_and_what_it_counted_still_counts(
    reports: ServingReports,
) -> None:
    reports.write(report())
    aged(reports, PROCESS.instance, 60)
    reports.write(report(instance="b"))
    reports.write(report(instance="c", stopped=True))
    reports.write(report(instance="d", rollout="rollout-0"))
    reports.write(report(instance="e", revision=1))

    found = reports.read("flights")

    assert [one.instance for one in found.live] == ["b", "d", "e"]
    assert found.live == reports.live("flights")
    assert found.counts(rollout="rollout-1")["4"].requests == 20
    assert found.counts(rollout="rollout-1", revision=2) == {"4": VersionCounts(15, 3)}
    assert found.counts() == {}


def test_a_row_that_is_no_report_is_left_out_and_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    reports = reports_in(tmp_path)
    reports.write(report())
    row = {"model": "flights", "host": "web-1", "number": 1, "seen": time.time(), "answered": True}
    newer = json.dumps(stamped({**report(instance="b").to_json(), "added_later": 1}))
    with open_database(reports.address).writing() as connection:
        connection.execute(insert(serving_reports).values({**row, "instance": "broken", "content": "{"}))
        connection.execute(insert(serving_reports).values({**row, "instance": "b", "content": newer}))

    assert len(reports.live("flights")) == 2
    assert "serving process broken cannot be read" in caplog.text


def test_only_reports_that_nobody_needs_are_deleted(reports: ServingReports) -> None:
    for instance, counts, hours in (
        ("live", {}, 0.0),
        ("counted", {"3": VersionCounts(1)}, 2.0),
        ("empty", {}, 2.0),
        ("old", {"3": VersionCounts(1)}, 24.0 * 31),
    ):
        reports.write(report(instance=instance, counts=counts))
        aged(reports, instance, 3600 * hours)

    assert reports.clear() == 2
    found = reports.read("flights")
    assert [one.instance for one in (*found.live, *found.gone)] == ["live", "counted"]


def test_a_process_reports_changes_at_once_and_its_end(tmp_path: Path) -> None:
    held, reports = [InMemory("3")], reports_in(tmp_path)
    heartbeat = Heartbeat(PROCESS, reports, {"flights": lambda: held[0]}, every=3600)
    heartbeat.start()
    wait_for(reports, "3")
    held[0] = InMemory("4")
    heartbeat.wake()
    assert wait_for(reports, "4").live[0].host == "web-1"

    heartbeat.stop()

    ended = reports.read("flights")
    assert (ended.live, [one.stopped for one in ended.gone]) == ((), [True])


def test_a_database_that_is_away_is_logged_once_and_hurts_nobody(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    reports = reports_in(tmp_path / "folder")
    (tmp_path / "folder").write_text("a file where the folder should be")
    heartbeat = Heartbeat(PROCESS, reports, {"flights": lambda: InMemory("3")})
    heartbeat.write()
    heartbeat.write()
    (tmp_path / "folder").unlink()
    heartbeat.write()

    lines = [line for line in caplog.messages if line.startswith("event=")]
    assert [line.split()[0] for line in lines] == ["event=report_failed", "event=report_recovered"]
    assert "cannot be made" in lines[0]
    assert reports.live("flights")


def test_what_processes_of_an_earlier_release_write_in_files_is_taken_over(tmp_path: Path) -> None:
    reports, folder = reports_in(tmp_path), tmp_path / "serving"
    for kind in ("reports", "served"):
        (folder / kind / "flights").mkdir(parents=True)
    now = datetime.now(UTC)
    running, ended = folder / "reports" / "flights" / "web-1-8-b.json", "web-1-7-a"
    fields = {key: value for key, value in report().to_json().items() if key != "number"}
    (running.with_stem(ended)).write_text(json.dumps({**fields, "instance": ended}))
    running.write_text(json.dumps({**fields, "instance": running.stem, "at": now.isoformat()}))
    (folder / "reports" / "flights" / "broken.json").write_text("{")
    note = folder / "served" / "flights" / "2"
    note.write_text(NOW.isoformat())

    found = reports.read("flights")

    assert ([one.instance for one in found.live], [one.instance for one in found.gone]) == (
        [running.stem],
        [ended],
    )
    assert reports.served("flights") == {"2": NOW}
    assert {file.name for file in running.parent.iterdir()} == {"broken.json", running.name}
    assert not note.exists()
    later = (now + timedelta(seconds=5)).isoformat()
    running.write_text(json.dumps({**fields, "instance": running.stem, "at": later, "version": "4"}))
    assert [one.version for one in reports.live("flights")] == ["4"]


def test_the_app_reports_which_version_it_serves_and_that_it_ended(world: World) -> None:
    made = world.publish(1)
    app = create_app([world.name], world.settings, poll_seconds=0.2)

    def reports() -> Reports:
        return ServingReports.of(world.settings).read(world.name)

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
