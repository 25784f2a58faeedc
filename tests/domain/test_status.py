"""Which version serves where, from the registry and from what the serving processes report."""

from __future__ import annotations

import json
import logging
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from evermodel.core.settings import Settings
from evermodel.pipelines.status import lines_of, status_of
from evermodel.registry.registry_entry import Promotion
from evermodel.registry.serving_heartbeats import ServingReport
from evermodel.registry.serving_locations import (
    ServingLocations,
    read_serving_locations,
    serving_locations_of,
)
from evermodel.registry.serving_reports import ServingReports
from evermodel.registry.tags import PROMOTION, TRAFFIC_PLAN
from evermodel.registry.traffic_plan import TrafficPlan, split
from evermodel.serving.heartbeat import LocationPublisher, Process
from support.serving_reports import aged, reports_in

NOW = datetime(2013, 6, 1, 12, tzinfo=UTC)
PLAN = TrafficPlan(
    model="flights",
    strategy="canary",
    champion="3",
    challenger="4",
    arms=split("3", "4", 0.05),
    salt="s",
    since=NOW.isoformat(),
    step_since=NOW.isoformat(),
    by="ada",
    reason="weekly",
    run_key="rollout 4",
    revision=2,
)


class Registry:
    """The calls to MLflow that are made here, on one model in memory."""

    def __init__(self, aliases: dict[str, str], tags: dict[str, str]) -> None:
        self.aliases = aliases
        promotion = asdict(Promotion(aliases["champion"], None, NOW.isoformat(), "ada", "why", "r/1"))
        self.tags = {f"{PROMOTION}1": json.dumps({"promotion": promotion, "complete": True}), **tags}
        self.calls: list[str] = []

    def get_registered_model(self, name: str) -> Any:
        self.calls.append("get")
        return SimpleNamespace(name=name, aliases=self.aliases, tags=dict(self.tags), creation_timestamp=1)

    def set_registered_model_tag(self, name: str, key: str, value: str) -> None:
        self.calls.append(f"set {key}")
        self.tags[key] = value

    def delete_registered_model_tag(self, name: str, key: str) -> None:
        self.calls.append(f"delete {key}")
        del self.tags[key]


def report(pid: int, version: str, revision: int, host: str = "web-1") -> ServingReport:
    return ServingReport(
        model="flights",
        instance=f"{host}-{pid}-a",
        environment="prod",
        host=host,
        pid=pid,
        since=NOW.isoformat(),
        at=NOW.isoformat(),
        version=version,
        shares={"3": 0.95, "4": 0.05} if revision else {version: 1.0},
        revision=revision,
        rollout="rollout 4" if revision else "",
        engine="onnx",
    )


def test_processes_that_are_behind_are_named_and_other_hosts_come_from_the_registry(tmp_path: Path) -> None:
    reports = reports_in(tmp_path)
    for one in (report(1, "3", 2), report(2, "3", 1), report(3, "2", 0), report(4, "1", 0)):
        reports.write(one)
    aged(reports, "web-1-4-a", 60)
    here = serving_locations_of([report(1, "3", 2)], NOW)
    far = ServingLocations("prod", "web-9", "2", {"2": 1.0}, 2, NOW.isoformat(), NOW.isoformat())
    assert here is not None
    tags = {
        TRAFFIC_PLAN: json.dumps(PLAN.to_json()),
        here.tag: here.dumps(),
        far.tag: far.dumps(),
        f"{far.tag}x": "{",
    }
    client: Any = Registry({"champion": "3", "challenger": "4"}, tags)

    found = status_of(client, "flights", reports_in(tmp_path))

    assert [(place.host, place.pid, place.behind) for place in found.places] == [
        ("web-1", 1, ""),
        ("web-1", 2, "the traffic plan is at revision 2"),
        ("web-1", 3, "the champion is 3"),
        ("web-9", None, "the champion is 3"),
    ]
    assert len(found.behind) == 3
    assert client.calls == ["get"]
    assert lines_of(found)[0] == "flights: version 3 is champion"
    assert "rollout of version 4 by canary, step 0" in lines_of(found)[1]
    assert "version 3 0.95, version 4 0.05" in lines_of(found)[1]
    assert len(lines_of(found)) == 2


def test_a_plan_of_another_champion_is_over(tmp_path: Path) -> None:
    reports_in(tmp_path).write(report(1, "5", 2))
    client: Any = Registry({"champion": "5", "challenger": "6"}, {TRAFFIC_PLAN: json.dumps(PLAN.to_json())})
    found = status_of(client, "flights", reports_in(tmp_path))
    assert (found.rollout, found.places[0].behind) == (None, "the rollout is over")
    assert "version 6 is registered but not champion" in lines_of(found)[1]


def test_where_nothing_serves_the_status_says_so(tmp_path: Path) -> None:
    client: Any = Registry({"champion": "5"}, {})
    assert lines_of(status_of(client, "flights", reports_in(tmp_path)))[1] == "  no serving process reports"


@pytest.fixture
def host(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[Registry, LocationPublisher, ServingReports]:
    client = Registry({"champion": "3"}, {})
    monkeypatch.setattr("evermodel.serving.heartbeat.tracking.connect", lambda uri: client)
    settings = Settings.from_environment({"EVERMODEL_LAKE": str(tmp_path), "EVERMODEL_HOME": str(tmp_path)})
    process = Process("prod", host="web-1", pid=1, nonce="a")
    return client, LocationPublisher(process, ["flights"], settings), ServingReports.of(settings)


def test_one_process_of_a_host_writes_one_tag_and_only_when_something_changes(
    host: tuple[Registry, LocationPublisher, ServingReports],
) -> None:
    client, first, reports = host
    reports.write(report(1, "3", 0))
    reports.write(report(2, "3", 0))
    first.publish(NOW)
    first.publish(NOW + timedelta(seconds=20))
    assert client.calls == ["set evermodel.serving.prod.web-1", "get"]
    (told,) = read_serving_locations(client.tags)
    assert (told.version, told.processes, told.environment) == ("3", 2, "prod")

    later = NOW + timedelta(seconds=40)
    for pid in (1, 2):
        reports.write(report(pid, "4", 0))
    first.publish(later)
    assert [one.version for one in read_serving_locations(client.tags)] == ["4"]
    reports.write(report(0, "4", 0))
    client.calls.clear()
    first.publish(later)
    assert client.calls == [], "another process of this host speaks for it now"


def test_hosts_that_are_gone_leave_the_registry(
    host: tuple[Registry, LocationPublisher, ServingReports],
) -> None:
    client, publisher, reports = host
    old = ServingLocations(
        "prod", "web-8", "2", {}, 1, NOW.isoformat(), (NOW - timedelta(hours=4)).isoformat()
    )
    client.tags[old.tag] = old.dumps()
    reports.write(report(1, "3", 0))
    publisher.publish(NOW)
    assert [one.host for one in read_serving_locations(client.tags)] == ["web-1"]

    aged(reports, "web-1-1-a", 300)
    publisher.publish(NOW + timedelta(minutes=5))  # its reports have become old: it ended in order, or died
    assert read_serving_locations(client.tags) == []


def test_a_registry_that_is_away_is_logged_once(
    host: tuple[Registry, LocationPublisher, ServingReports],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    _, publisher, reports = host

    def away(uri: str) -> None:
        raise ConnectionError("nobody there")

    monkeypatch.setattr("evermodel.serving.heartbeat.tracking.connect", away)
    reports.write(report(1, "3", 0))
    publisher.publish(NOW)
    publisher.publish(NOW)
    said = [record for record in caplog.records if record.name.startswith("evermodel.serving")]
    assert [record.getMessage().split()[0] for record in said] == ["event=announce_failed"]
