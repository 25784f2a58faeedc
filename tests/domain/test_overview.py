from __future__ import annotations

import json
import math
import sqlite3
import subprocess
import sys
import threading
import time
import uuid
from base64 import b64encode
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.simulations.page_history import Story

from evermodel.alerts.incidents.state import Incident, IncidentState
from evermodel.alerts.incidents.store import Transition, record
from evermodel.cli.local_stack.ports import free_port
from evermodel.core.errors import TrackingUnavailableError
from evermodel.core.settings import Settings
from evermodel.deployment.rollout.history import RolloutRecord
from evermodel.evaluation.decision import Decision, Gate
from evermodel.monitoring.drift.verdict import DriftVerdict
from evermodel.monitoring.retrain_history import tags_of
from evermodel.monitoring.summary_tags import MOST, day_tag, decision_tag, read_mark
from evermodel.registry.approval import Approval, record_answer
from evermodel.registry.registry import ModelRegistry
from evermodel.registry.tags import DAY, DECISION_FACTS, INCIDENTS, TRAFFIC_PLAN
from evermodel.registry.tracking import connect, keyed_run
from evermodel.registry.traffic_plan import TrafficPlan, everything_to, split
from evermodel.reports.overview.history import history_of
from evermodel.reports.overview.overview import Overview
from evermodel.reports.overview.records import record_of
from evermodel.reports.overview.server import TrackingServer
from evermodel.reports.overview.store import Store, StoredModel
from evermodel.reports.overview.sync import load, refresh
from support.fault_proxies import Faults, HttpProxy
from support.registry_shelf import promoted

MONDAY = datetime(2026, 3, 2, tzinfo=UTC)


class Desk:
    """Writes what the DAGs of a model would write, into a real MLflow."""

    def __init__(self, uri: str, home: Path) -> None:
        import random

        self.name, self.client = f"page_{uuid.uuid4().hex[:8]}", connect(uri)
        self.story = Story(self.name, random.Random(1), version=1)
        self.settings = Settings(
            home=home, lake=home, models=home / "models", tracking_uri=uri, dvc_remote="", airflow_url=""
        )
        (home / "models").mkdir(parents=True)
        (home / "models" / f"{self.name}.yaml").write_text("name: x\n")

    def overview(self) -> Overview:
        overview = Overview(lambda: self.settings, every=0)
        overview.update()
        return overview

    def judge(self, day: datetime, **changes: Any) -> DriftVerdict:
        verdict = replace(self.story.next_day(day)[0], **changes)
        key = f"drift/{self.name}/{day:%Y-%m-%d}"
        run = keyed_run(
            self.client, f"{self.name}-monitoring", key, kind="drift", name=key, tags=tags_of(verdict)
        )
        self.client.set_terminated(run.info.run_id, "FINISHED")
        return verdict

    def run_of(self, day: datetime) -> str:
        key = f"drift/{self.name}/{day:%Y-%m-%d}"
        return str(keyed_run(self.client, f"{self.name}-monitoring", key, kind="drift", name=key).info.run_id)

    def retrain(self, day: datetime, decision: Decision) -> None:
        tags = {"evermodel.as_of": day.isoformat(), "evermodel.reason": "why", **decision_tag(decision)}
        tags |= {"evermodel.verdict": decision.verdict, "evermodel.ship": str(decision.ship).lower()}
        tags |= {
            "evermodel.version": "1",
            "evermodel.outcome": "deployed",
            "evermodel.metric": decision.metric,
        }
        keyed_run(self.client, self.name, decision.run_key, kind="retrain", name="retrain", tags=tags)

    def register(self, **aliases: str) -> None:
        self.client.create_registered_model(self.name)
        run = keyed_run(self.client, self.name, "made", kind="candidate", name="made").info
        for _ in set(aliases.values()):
            self.client.create_model_version(self.name, f"{run.artifact_uri}/model", run.run_id)
        for alias, version in aliases.items():
            self.client.set_registered_model_alias(self.name, alias, version)

    def summary(self, overview: Overview) -> dict[str, Any]:
        return overview.store.summary(self.name)


@pytest.fixture
def desk(mlflow_server: str, tmp_path: Path) -> Desk:
    return Desk(mlflow_server, tmp_path / "home")


def decision(**changes: Any) -> Decision:
    gates = (Gate("floor", "pass", 0.7, "at least 0.6", "0.7 on 100 rows"),)
    first = Decision(
        "m", "retrain/m/1", "logistic", "models:/m-1", None, "roc_auc", "better", True, False, "it is better",
        100, (0.7, 0.68, 0.72), (0.6, 0.58, 0.62), (0.1, 0.05, 0.15), gates,
    )  # fmt: skip
    return replace(first, **changes)


def test_a_model_with_a_spec_but_without_a_run_is_in_the_list(desk: Desk) -> None:
    summary = desk.summary(desk.overview())

    assert (summary["registered"], summary["champion"], summary["last"], summary["severity"]) == (
        False, None, None, "none",
    )  # fmt: skip


def test_the_list_knows_champion_metric_incident_plan_and_decision(desk: Desk) -> None:
    desk.register(champion="1", challenger="2")
    promoted(
        ModelRegistry(desk.client),
        desk.name,
        "1",
        expected="1",
        by="ada",
        reason="first",
        run_key="retrain/m/1",
    )
    verdict = desk.judge(MONDAY)
    desk.retrain(MONDAY, decision())
    incident = Incident(
        "drift-1", MONDAY.isoformat(), "critical", "warning", MONDAY.isoformat(), "pressure moved"
    )
    books = {"drift": vars(IncidentState(count=1)) | {"incident": vars(incident)}}
    desk.client.set_registered_model_tag(desk.name, INCIDENTS, json.dumps(books))
    plan = TrafficPlan(
        desk.name, "canary", "1", "2", split("1", "2", 0.05), "s", "2026-03-02T00:00:00+00:00", "2026-03-02", "ada", "why", "k"
    )  # fmt: skip
    desk.client.set_registered_model_tag(desk.name, TRAFFIC_PLAN, json.dumps(plan.to_json()))

    summary = desk.summary(desk.overview())

    assert (summary["champion"]["version"], summary["champion"]["by"], summary["champion"]["value"]) == (
        "1",
        "ada",
        0.7,
    )
    assert (summary["last"]["day"], summary["last"]["value"]) == ("2026-03-02", verdict.performance.value)
    assert summary["last"]["promised"] == verdict.performance.promised
    assert [(i["kind"], i["current"], i["cause"]) for i in summary["incidents"]] == [
        ("drift", "warning", "pressure moved")
    ]
    assert summary["severity"] == "warning"
    assert [arm["share"] for arm in summary["plan"]["arms"]] == [0.95, 0.05]
    assert (summary["decision"]["verdict"], summary["decision"]["outcome"]) == ("better", "deployed")


def test_a_plan_that_a_promotion_has_ended_is_not_in_force(desk: Desk) -> None:
    desk.register(champion="2", previous="1")
    plan = plan_for(desk, "2", "k", "2026-03-02T08:00:00+00:00")
    desk.client.set_registered_model_tag(desk.name, TRAFFIC_PLAN, json.dumps(plan.to_json()))

    found = desk.overview().model(desk.name)

    assert found is not None
    assert (found[0]["plan"], found[1].plan) == (None, None)
    assert [(one["version"], one["state"]) for one in found[1].rollouts] == [("2", "overtaken")]
    assert found[1].rollouts[0]["end"]


def test_every_rollout_is_on_the_time_line_and_not_only_the_last(desk: Desk) -> None:
    desk.register(champion="1", challenger="2")
    first = plan_for(desk, "2", "rollout/first", "2026-03-02T08:00:00+00:00")
    sent_back = replace(
        first, state="rolled_back", verdict="more errors than the champion", arms=everything_to("1")
    )
    RolloutRecord(desk.client, sent_back).record_end()
    now = plan_for(desk, "3", "rollout/second", "2026-03-09T08:00:00+00:00")
    RolloutRecord(desk.client, now).open()
    desk.client.set_registered_model_tag(desk.name, TRAFFIC_PLAN, json.dumps(now.to_json()))
    overview = desk.overview()

    found = overview.model(desk.name)
    assert found is not None
    assert [(one["version"], one["state"], bool(one["end"])) for one in found[1].rollouts] == [
        ("2", "rolled_back", True), ("3", "running", False),
    ]  # fmt: skip
    assert found[1].rollouts[0]["why"] == "more errors than the champion"

    promoted(
        ModelRegistry(desk.client),
        desk.name,
        "2",
        expected="1",
        by="ada",
        reason="by hand",
        run_key="hand",
    )
    overview.wait()
    overview.update()
    found = overview.model(desk.name)
    assert found is not None
    assert (found[1].plan, found[1].rollouts[1]["state"]) == (None, "overtaken")
    assert found[1].rollouts[1]["end"] != ""


def test_who_said_no_to_a_version_is_known(desk: Desk) -> None:
    desk.register(champion="1", challenger="2")
    desk.retrain(MONDAY, decision())
    overview = desk.overview()
    assert desk.summary(overview)["decision"]["rejected_by"] == ""
    plan = plan_for(desk, "1", "rollout/r", "2026-03-02T08:00:00+00:00")
    desk.client.set_registered_model_tag(desk.name, TRAFFIC_PLAN, json.dumps(plan.to_json()))
    RolloutRecord(desk.client, replace(plan, state="rolled_back")).record_end()
    overview.update()
    assert desk.summary(overview)["decision"]["rejected_by"] == "its rollout"
    record_answer(desk.client, desk.name, Approval(False, "ada", "1"))
    overview.update()
    assert desk.summary(overview)["decision"]["rejected_by"] == "ada"


@pytest.mark.parametrize(
    "error", [sqlite3.OperationalError("disk I/O error"), KeyError("name"), OSError("full")]
)
def test_what_nobody_foresaw_is_logged_and_noted(
    desk: Desk, error: Exception, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    overview = desk.overview()
    monkeypatch.setattr(TrackingServer, "models", raiser(error))
    overview.update()

    state = overview.state()
    assert (type(error).__name__ in state.problem, state.away) == (True, False)
    assert caplog.records[-1].exc_info is not None
    monkeypatch.undo()
    overview.update()
    assert overview.state().problem == ""


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("http://ada:se%40cret@mlflow:5000/", "http://mlflow:5000"),
        ("sqlite:////data/mlflow.db", ""),
        ("mlruns", ""),
    ],
)
def test_the_address_that_people_see_has_no_password_and_is_that_of_a_server(
    tmp_path: Path, address: str, shown: str
) -> None:
    settings = Settings(
        home=tmp_path, lake=tmp_path, models=tmp_path, tracking_uri=address, dvc_remote="", airflow_url=""
    )
    overview = Overview(lambda: settings)
    overview.update()

    assert overview.address == shown
    assert "cret" not in overview.state().problem
    assert ("without a server" in overview.state().problem) == (not shown)


def test_a_password_in_the_address_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_USERNAME", raising=False)
    server = TrackingServer("http://ada:se%40cret@127.0.0.1:1")
    monkeypatch.setattr(
        server._client,
        "_transport",
        httpx.MockTransport(lambda request: httpx.Response(401, request=request)),
    )
    seen: list[httpx.Request] = []
    server._client.event_hooks["request"].append(seen.append)

    with pytest.raises(TrackingUnavailableError) as refused:
        server.models()
    assert "cret" not in str(refused.value)
    with suppress(TrackingUnavailableError):
        server.experiments()
    sent = [request.headers.get("authorization", "") for request in seen]
    assert sent
    assert all(value == "Basic " + b64encode(b"ada:se@cret").decode() for value in sent)


def raiser(error: Exception) -> Callable[..., Any]:
    def fail(*_: Any) -> Any:
        raise error

    return fail


def plan_for(desk: Desk, version: str, key: str, since: str) -> TrafficPlan:
    return TrafficPlan(
        desk.name, "canary", "1", version, split("1", version, 0.05), "s", since, since, "ada", "why", key
    )


def test_tags_that_nobody_can_read_do_not_hide_the_model(desk: Desk) -> None:
    desk.register(champion="1")
    for tag in (INCIDENTS, TRAFFIC_PLAN, "evermodel.promotion.x"):
        desk.client.set_registered_model_tag(desk.name, tag, '{"broken": [')
    desk.judge(MONDAY)
    desk.client.set_tag(desk.run_of(MONDAY), DAY, "]")

    found = desk.overview().model(desk.name)

    assert found is not None
    assert (found[0]["champion"]["version"], found[0]["incidents"], found[0]["plan"]) == ("1", [], None)
    assert [day["value"] for day in found[1].days] == [None]


def test_the_time_line_joins_the_days_of_an_incident_and_of_a_champion(desk: Desk) -> None:
    desk.register(champion="1")
    days = [MONDAY + number * timedelta(days=1) for number in range(4)]
    for number, day in enumerate(days):
        desk.judge(day, version="1" if number < 2 else "2")
    steps = [("open", "warning"), ("escalate", "critical"), None, ("resolve", "none")]
    for day, step in zip(days, steps, strict=True):
        if step:
            opened = days[0].isoformat()
            done = Transition(
                "drift-1", "drift", step[0], step[1], day.isoformat(), opened, "1", f"{step[0]} it"
            )  # type: ignore[arg-type]
            record(desk.client, desk.run_of(day), [done])

    found = desk.overview().model(desk.name)

    assert found is not None
    history = found[1]
    assert [(c["version"], c["start"], c["end"]) for c in history.champions] == [
        ("1", "2026-03-02", "2026-03-03"), ("2", "2026-03-04", "2026-03-05"),
    ]  # fmt: skip
    (incident,) = history.incidents
    assert (incident["opened"], incident["ended"], incident["severity"]) == (
        "2026-03-02",
        "2026-03-05",
        "critical",
    )
    assert incident["reason"] == "escalate it"


def test_what_is_new_comes_with_the_next_refresh_and_a_day_judged_again_counts_once(desk: Desk) -> None:
    desk.register(champion="1")
    overview = desk.overview()
    desk.judge(MONDAY)
    overview.update()
    before = desk.summary(overview)["last"]["value"]
    again = desk.judge(MONDAY)
    overview.update()

    assert again.performance.value != before
    assert desk.summary(overview)["last"]["value"] == again.performance.value
    assert len(overview.store.runs(desk.name, "drift", 10)) == 1


def test_a_model_opened_before_its_experiments_are_known_is_read_all_the_same(desk: Desk) -> None:
    desk.register(champion="1")
    desk.judge(MONDAY)
    overview = desk.overview()
    store = Store(overview.store.path.with_name("other.db"))
    store.start_over(desk.settings.tracking_uri)
    store.keep_models({desk.name: StoredModel(desk.name, {}, {})})
    with TrackingServer(desk.settings.tracking_uri) as server:
        load(store, server, desk.name)

    assert [day["day"] for day in store.runs(desk.name, "drift", 10)] == ["2026-03-02"]


def test_a_model_that_is_deleted_goes_away(desk: Desk) -> None:
    desk.register(champion="1")
    desk.judge(MONDAY)
    overview = desk.overview()
    assert overview.store.runs(desk.name, "drift", 10)
    desk.client.delete_registered_model(desk.name)
    (desk.settings.models / f"{desk.name}.yaml").unlink()
    overview.update()

    assert desk.summary(overview) == {}
    assert overview.store.runs(desk.name, "drift", 10) == []


def test_without_mlflow_the_last_known_state_stays(desk: Desk) -> None:
    desk.register(champion="1")
    overview = desk.overview()
    before = overview.summaries()
    overview.wait()
    away = f"http://127.0.0.1:{free_port()}"
    desk.settings = desk.settings.model_copy(update={"tracking_uri": away})
    overview.update()

    assert overview.summaries() == before
    assert away in overview.state().problem
    assert overview.state().seen is not None


def test_a_new_api_server_shows_the_last_known_state_while_mlflow_hangs(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    faults, answers = Faults(), threading.Event()
    proxy = HttpProxy("mlflow", desk.settings.tracking_uri, faults)
    shared = f"sqlite:///{tmp_path}/evermodel.db"
    desk.settings = desk.settings.model_copy(update={"tracking_uri": proxy.url, "database": shared})
    desk.register(champion="1")
    desk.judge(MONDAY)
    first = desk.overview()
    before = first.summaries()
    first.wait()
    monkeypatch.setattr(faults, "kind_for", lambda *_: "" if answers.wait(120) else "cut")
    settings = desk.settings.model_copy(update={"home": tmp_path / "an empty disk"})
    restarted = Overview(lambda: settings)
    try:
        deadline = time.monotonic() + 60
        while not restarted.state().problem:
            shown = restarted.summaries()
            assert time.monotonic() < deadline
        assert shown == before
        history = history_of(restarted.store, desk.name)
        assert history is not None
        assert [day["day"] for day in history.days] == ["2026-03-02"]
        assert "does not answer (ReadTimeout" in restarted.state().problem
        assert restarted.state().seen is not None
        assert restarted._worker is not None
        assert restarted._worker.is_alive()  # MLflow still has the time that a slow one needs
    finally:
        answers.set()
    restarted.wait()
    restarted.update()
    proxy.close()
    assert (restarted.state().problem, restarted.state().stale) == ("", False)


def test_without_mlflow_from_the_start_nothing_waits_for_long(tmp_path: Path) -> None:
    uri = f"http://127.0.0.1:{free_port()}"
    home = tmp_path / "home"
    settings = Settings(home=home, lake=home, models=home, tracking_uri=uri, dvc_remote="", airflow_url="")
    overview = Overview(lambda: settings)
    began = time.monotonic()

    assert overview.summaries() == []
    assert overview.model("flights") is None
    assert time.monotonic() - began < 5
    overview.wait()
    assert overview.state().seen is None
    assert "does not answer" in overview.state().problem


def test_another_server_is_another_world(desk: Desk, tmp_path: Path) -> None:
    desk.register(champion="1")
    overview = desk.overview()
    overview.store.start_over("http://elsewhere")

    assert overview.store.summaries() == []


def test_the_number_of_searches_does_not_grow_with_the_models(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    call: Callable[..., Any] = TrackingServer._call
    monkeypatch.setattr(
        TrackingServer, "_call", lambda self, *a, **k: (asked.append(a[1]), call(self, *a, **k))[1]
    )
    overview = desk.overview()
    asked.clear()
    names = [desk.name, *(f"{desk.name}_{number}" for number in range(20))]
    for name in names:
        (desk.settings.models / f"{name}.yaml").write_text("name: x\n")
    with TrackingServer(desk.settings.tracking_uri) as server:
        refresh(overview.store, server, names)

    assert len(overview.store.summaries()) >= 21
    assert len(asked) <= 9


def test_infinite_and_missing_numbers_of_a_day_become_none() -> None:
    tags = {
        "evermodel.kind": "drift",
        "evermodel.run_key": "drift/m/2026-03-02",
        DAY: '{"value": NaN, "low": Infinity}',
    }
    data = {"tags": [{"key": key, "value": value} for key, value in tags.items()]}

    found = record_of({"info": {"run_id": "1", "experiment_id": "2"}, "data": data})

    assert found is not None
    assert (found.facts["value"], found.facts["low"], found.facts["high"]) == (None, None, None)


def test_a_decision_with_many_gates_keeps_those_that_failed() -> None:
    gates = [Gate(f"slice number {n}", "pass", 0.5, "at most 0.1", "x" * 200) for n in range(100)]
    gates.insert(50, Gate("the one", "fail", 0.1, "at least 0.6", "too low"))

    text = decision_tag(decision(gates=tuple(gates)))[DECISION_FACTS]
    facts = read_mark({DECISION_FACTS: text}, DECISION_FACTS)

    assert len(text) <= MOST
    assert "the one" in [gate["name"] for gate in facts["gates"]]
    assert facts["left_out"] == len(gates) - len(facts["gates"]) > 0


def test_the_tag_of_a_day_with_many_columns_fits(desk: Desk) -> None:
    verdict = desk.judge(MONDAY)
    column = replace(verdict.columns[0], severity="critical", column="c" * 500, effect=math.pi)
    text = day_tag(replace(verdict, columns=(column,) * 300))[DAY]

    assert len(text) < 3000
    assert json.loads(text)["drifting"] == 300


def test_two_processes_share_one_file(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from evermodel.reports.overview.store import StoredModel, Store\n"
        "store = Store(Path(sys.argv[1]))\n"
        "for n in range(20): store.keep_models({f'm{n}': StoredModel(f'm{n}', {}, {}) for n in range(50)})"
    )
    file = tmp_path / "overview.db"
    workers = [subprocess.Popen([sys.executable, "-c", code, str(file)]) for _ in range(2)]

    assert [worker.wait(60) for worker in workers] == [0, 0]
    assert len(Store(file).loaded()) == 50
