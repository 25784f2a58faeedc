"""Users of Airflow with every role below Admin try to put a version into service; only the named approver can.

A real scheduler and API server with the FAB auth manager. Each attempt uses Airflow's own REST API, as a user of that role.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import httpx
import pytest
import yaml

from evermodel.cli.local_stack import AirflowApi, LocalStack, Ports
from evermodel.registry.registry import ModelRegistry
from evermodel.registry.tags import APPROVED_BY
from support.airflow_runs import SCHEDULER, form_fields, form_path, wait_until_parked
from support.flights import FAST, World, flights_world
from support.paths import PROJECT
from support.serving_models import wait_until

pytestmark = [pytest.mark.integration, pytest.mark.server, pytest.mark.slow, pytest.mark.timeout(600)]

# The approver comes first: FAB numbers users from 1.
ROLES = {"boss": "User", "viewer": "Viewer", "user": "User", "op": "Op"}
CREATE_USERS = """
from airflow.providers.fab.auth_manager.cli_commands.utils import get_application_builder
with get_application_builder() as builder:
    manager = builder.sm
    manager.sync_roles()
    for name, role in {roles}.items():
        assert manager.add_user(name, name, name, name + "@example.com", manager.find_role(role), password=name)
"""
FAB = "airflow.providers.fab.auth_manager.fab_auth_manager.FabAuthManager"
DAG, STRICT = "retrain_guarded", "retrain_strict"
ENDED = ("success", "skipped", "failed")
FORGED = {"by": "boss", "reason": "boss said so", "run_key": "forged", "version": "1", "as_of": "2013-03-11"}


class Person:
    """One user at Airflow's REST API."""

    def __init__(self, url: str, name: str) -> None:
        answer = httpx.post(f"{url}/auth/token", json={"username": name, "password": name}, trust_env=False)
        self.name, self.api = name, AirflowApi(url, str(answer.raise_for_status().json()["access_token"]))

    def __call__(self, method: str, path: str, body: Any = None) -> int:
        """Send a request, and return the status of the answer."""
        return self.api._authorized(method, f"/api/v2{path}", json=body).status_code

    def mark(self, run: str, task: str, state: str) -> int:
        return self("PATCH", f"{_run(DAG, run)}/taskInstances/{task}", {"new_state": state})

    def clear(self, dag: str, run: str, *tasks: str) -> int:
        what = {"dry_run": False, "only_failed": False, "include_downstream": True}
        return self(
            "POST", f"/dags/{dag}/clearTaskInstances", {**what, "dag_run_id": run, "task_ids": list(tasks)}
        )

    def write(self, dag: str, run: str, task: str, key: str, value: Any) -> int:
        entries = f"{_run(dag, run)}/taskInstances/{task}/xcomEntries"
        created = self("POST", entries, {"key": key, "value": value})
        changed = self("PATCH", f"{entries}/{key}", {"value": value})
        return min(created, changed)

    def answer(self, run: str, option: str, **fields: Any) -> int:
        form = form_path(DAG, run).removeprefix("/api/v2")
        return self("PATCH", form, {"chosen_options": [option], "params_input": fields})

    def trigger(self, dag: str, run: str, **conf: Any) -> int:
        return self("POST", f"/dags/{dag}/dagRuns", {"dag_run_id": run, "logical_date": None, "conf": conf})


def _run(dag: str, run: str) -> str:
    return f"/dags/{dag}/dagRuns/{quote(run, safe='')}"


class Stage:
    """A stack with two models: ``guarded`` waits for its approver, ``strict`` has a gate that nothing passes."""

    def __init__(self, world: World, url: str) -> None:
        self.world = world
        self.people = {name: Person(url, name) for name in ROLES}
        self.boss = self.people["boss"]
        self.runs = 0
        self.day = datetime(2013, 3, 11, 6, tzinfo=UTC)

    def start(self, dag: str, **conf: Any) -> str:
        self.runs += 1
        return self.boss.api.trigger(dag, self.day + timedelta(weeks=self.runs), conf, f"run{self.runs}")

    def promotions(self) -> int:
        registry = ModelRegistry(self.world.client)
        return sum(len(registry.read(model).promotions) for model in ("guarded", "strict"))

    def until(self, dag: str, run: str, task: str, *states: str) -> str:
        """Wait for the state of a task."""
        deadline = time.monotonic() + 180
        while True:
            state = {t["task_id"]: t["state"] for t in self.boss.api.task_instances(dag, run)}.get(task)
            if state in states:
                return str(state)
            assert time.monotonic() < deadline, (state, self.boss.api.explain(dag, run))
            time.sleep(0.3)

    def ask(self, run: str) -> str:
        """Return a run that waits for its approver: this one, asked again, or another if it was promoted."""
        if self.boss.api.dag_run(DAG, run)["state"] in ("success", "failed") and self.deployed(run):
            run = self.start(DAG)
        elif self.boss.api.dag_run(DAG, run)["state"] != "running":
            wait_until(lambda: self.boss.clear(DAG, run, "approve") == 200, "the approval is asked again")
        self.until(DAG, run, "approve", "awaiting_input")
        time.sleep(1)  # Airflow may lose what comes in the moment of parking
        return run

    def end(self, run: str) -> None:
        """End a run; Airflow's SQLite may be locked by the scheduler at the first try."""
        wait_until(lambda: self.boss("PATCH", _run(DAG, run), {"state": "failed"}) == 200, f"{run} ends")

    def deployed(self, run: str) -> bool:
        states = {t["task_id"]: t["state"] for t in self.boss.api.task_instances(DAG, run)}
        return states["deploy"] == "success"

    def ended(self, dag: str, run: str) -> str:
        return str(self.boss.api.wait(dag, run, timeout=180)["state"])

    def form(self, run: str) -> dict[str, Any]:
        """Return the fields of the form as Airflow's page sends them."""
        return form_fields(self.boss.api, DAG, run)


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp("security")
    ports, project = Ports.unused(), folder / "project"
    world = flights_world(folder / "world", f"http://127.0.0.1:{ports.mlflow}", name="guarded")
    world.change(candidates=[FAST], approvers=["boss#1"], approval="manual", schedule={"retrain": None})
    strict = yaml.safe_load(world.spec_file.read_text())
    strict |= {"name": "strict", "approval": "auto", "gate": {**strict["gate"], "floor": 0.99}}
    (world.settings.models / "strict.yaml").write_text(yaml.safe_dump(strict))
    (project / "dags").mkdir(parents=True)
    for name in ("retrain", "rollout"):
        shutil.copy(PROJECT / "dags" / f"{name}.py", project / "dags")
    extras = {
        **world.environment,
        "AIRFLOW__CORE__AUTH_MANAGER": FAB,
        **SCHEDULER,
    }
    with LocalStack(folder / "home", project, ports, extras) as stack:
        stack.start()
        command = [sys.executable, "-c", CREATE_USERS.format(roles=ROLES)]
        subprocess.run(command, env=stack.environment, check=True, capture_output=True, timeout=120)
        made = Stage(world, stack.airflow_url)
        made.boss.api.wait_for_dags([DAG, STRICT, "rollout_guarded"])
        yield made


Attempt = Callable[[Stage, Person, str], list[int]]


def marks_the_approval_as_successful(stage: Stage, person: Person, run: str) -> list[int]:
    return [person.mark(run, "approve", "success")]


def skips_the_approval(stage: Stage, person: Person, run: str) -> list[int]:
    return [person.mark(run, "approve", "skipped")]


def writes_the_approval_as_an_xcom(stage: Stage, person: Person, run: str) -> list[int]:
    digest = stage.form(run).get("decision")
    said = {"approved": True, "by": "boss", "version": "1", "digest": digest, "at": "", "comment": ""}
    written = person.write(DAG, run, "approve", "approval", said)
    return [written, person.mark(run, "approve", "success")]


def writes_that_no_approval_is_required(stage: Stage, person: Person, run: str) -> list[int]:
    written = person.write(DAG, run, "request", "approval", "auto")
    cleared = person.clear(DAG, run, "approve")
    if cleared == 200:
        stage.ended(DAG, run)
        person.write(DAG, run, "request", "approval", "manual")  # for the next attempt
    return [written, cleared]


def answers_the_form(stage: Stage, person: Person, run: str) -> list[int]:
    return [person.answer(run, "Approve", **stage.form(run))]


def starts_a_run_without_approval(stage: Stage, person: Person, run: str) -> list[int]:
    name = f"hurry-{person.name}"
    status = person.trigger(DAG, name, approval="auto", reason="boss said so")
    if status == 200:
        stage.end(run)  # one run of the DAG at a time
    if status == 200:
        assert stage.ended(DAG, name) in ("success", "failed")
    return [status]


def forces_what_the_gates_refused(stage: Stage, person: Person, run: str) -> list[int]:
    name = f"force-{person.name}"
    status = person.trigger(STRICT, name, force=True, reason="boss said so")
    if status == 200:
        stage.ended(STRICT, name)
    return [status]


def writes_the_force_as_an_xcom(stage: Stage, person: Person, run: str) -> list[int]:
    refused = "run2"  # of the strict model: it ended with the champion kept
    written = person.write(STRICT, refused, "request", "force_reason", "boss said so (boss)")
    status = person.clear(STRICT, refused, "evaluate")
    if status == 200:
        stage.ended(STRICT, refused)
    return [written, status]


def posts_events_in_another_name(stage: Stage, person: Person, run: str) -> list[int]:
    assets = stage.boss.api._pages("/api/v2/assets", "assets")
    wanted = {a["name"]: a["id"] for a in assets if a["name"].startswith("guarded_")}
    before = {r["dag_run_id"] for r in stage.boss.api._pages(f"/api/v2/dags/{DAG}/dagRuns", "dag_runs")}
    status = [person("POST", "/assets/events", {"asset_id": n, "extra": FORGED}) for n in wanted.values()]
    if 200 in status:
        stage.end(run)
        started = _started_by_event(stage, before)
        stage.until(DAG, started, "request", "success")
        request = {key: stage.boss.api.xcom(DAG, started, "request", key) for key in ("run_key", "reason")}
        assert "forged" not in request["run_key"], "an event chose the identity of the retrain"
        assert "boss" not in request["reason"], "an event spoke as the approver"
        stage.end(started)
    return status


def _started_by_event(stage: Stage, before: set[str]) -> str:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        runs = {r["dag_run_id"] for r in stage.boss.api._pages(f"/api/v2/dags/{DAG}/dagRuns", "dag_runs")}
        if runs - before:
            return str((runs - before).pop())
        time.sleep(0.3)
    raise AssertionError("the event started no run")


def rolls_the_version_out(stage: Stage, person: Person, run: str) -> list[int]:
    name = f"rollout-{person.name}"
    status = person.trigger("rollout_guarded", name, version="1", reason="boss said so")
    if status == 200:
        stage.ended("rollout_guarded", name)
    return [status]


# What an Op may do, a User may mostly do too: the long ones are tried once with the most rights.
TRIED: dict[Attempt, tuple[str, ...]] = {
    marks_the_approval_as_successful: ("viewer", "user"),
    skips_the_approval: ("viewer", "op"),
    writes_the_approval_as_an_xcom: ("viewer", "user", "op"),
    writes_that_no_approval_is_required: ("viewer", "op"),
    answers_the_form: ("viewer", "user", "op"),
    forces_what_the_gates_refused: ("viewer", "user"),
    writes_the_force_as_an_xcom: ("viewer", "op"),
    rolls_the_version_out: ("viewer", "user"),
    starts_a_run_without_approval: ("viewer", "op"),
    posts_events_in_another_name: ("viewer", "op"),
}


def test_only_the_named_approver_puts_a_version_into_service(stage: Stage) -> None:
    run, refused = stage.start(DAG), stage.start(STRICT)
    assert (run, refused) == ("run1", "run2")
    assert stage.ended(STRICT, refused) == "success"
    promoted: list[str] = []
    for attempt, names in TRIED.items():
        for name in names:
            run, before = stage.ask(run), stage.promotions()
            statuses = attempt(stage, stage.people[name], run)
            said = f"{name} {attempt.__name__.replace('_', ' ')}: {statuses}"
            if name == "viewer":
                assert set(statuses) == {403}, said
            elif stage.until(DAG, run, "approve", *ENDED, "awaiting_input") != "awaiting_input":
                stage.ended(DAG, run)
            print(said, "promoted" if stage.promotions() > before else "no promotion", flush=True)
            promoted += [said] if stage.promotions() > before else []
    assert promoted == []

    run = stage.ask(run)
    wait_until_parked(stage.boss.api, DAG, run)
    assert stage.boss.answer(run, "Approve", **{**stage.form(run), "comment": "looks good"}) == 200

    assert stage.ended(DAG, run) == "success", stage.boss.api.explain(DAG, run)
    champion = ModelRegistry(stage.world.client).champion("guarded")
    assert champion.tags[APPROVED_BY] == "boss"
    (line,) = ModelRegistry(stage.world.client).read("guarded").promotions
    assert (line.version, line.by) == (str(champion.version), "boss")
