"""A real Airflow for tests: a home of its own, the project's DAGs, and runs of them inside this process."""

from __future__ import annotations

import atexit
import json
import os
import secrets
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, get_type_hints
from urllib.parse import quote

import pytest

from evermodel.cli.local_stack import AirflowApi
from support.flights import World
from support.paths import PROJECT

DAGS = PROJECT / "dags"
KINDS = ("retrain", "score", "drift", "rollback", "rollout", "stop_rollout", "backtest")
# A scheduler that says soon that it lives (see wait_until_parked), looks for work less often than in the demo, and starts
# nothing because the clock says so; DAG files are parsed again only when they change.
SCHEDULER = {
    "AIRFLOW__SCHEDULER__SCHEDULER_HEARTBEAT_SEC": "1",
    "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.25",
    "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "600",
    "EVERMODEL_SCHEDULES": "off",
}


@cache
def claim_airflow_home() -> Path:
    """Give this process an Airflow home of its own; Airflow reads it when it is first imported, and never again."""
    assert "airflow.configuration" not in sys.modules, "a test imports airflow before its home is set"
    home = Path(tempfile.mkdtemp(prefix="airflow-home-"))
    atexit.register(shutil.rmtree, home, ignore_errors=True)
    (home / "dags").mkdir()
    os.environ |= {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__UNIT_TEST_MODE": "True",
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__DAGS_FOLDER": str(home / "dags"),
        "AIRFLOW__CORE__DEFAULT_TASK_RETRY_DELAY": "0",
        # Airflow keeps what signs and what checks tokens from their first use on, each on its own.
        "AIRFLOW__API_AUTH__JWT_SECRET": secrets.token_hex(64),
    }
    return home


@cache
def database() -> None:
    """Make Airflow's database, once."""
    from airflow.models.dagbundle import DagBundleModel
    from airflow.utils.db import initdb
    from airflow.utils.session import create_session

    initdb()
    with create_session() as session:
        session.merge(DagBundleModel(name="testing"))


def parse(world: World, kind: str) -> Any:
    """Return one DAG of the world's model, as the project's DAG file makes it."""
    return parse_file(kind)[f"{kind}_{world.name}"]


def parse_file(name: str) -> dict[str, Any]:
    """Return the DAGs of one of the project's DAG files."""
    from airflow.dag_processing.dagbag import DagBag

    bag = DagBag(str(DAGS / f"{name}.py"))
    assert bag.import_errors == {}
    return dict(bag.dags)


@dataclass(frozen=True)
class Done:
    """A DAG run that has ended."""

    run: Any

    @property
    def state(self) -> str:
        return str(self.run.state)

    @property
    def states(self) -> dict[str, str]:
        """State of each task; of a mapped one under ``task[index]``."""
        return {
            ti.task_id if ti.map_index < 0 else f"{ti.task_id}[{ti.map_index}]": str(ti.state)
            for ti in self.run.get_task_instances()
        }

    @property
    def tries(self) -> dict[str, int]:
        return {ti.task_id: ti.try_number for ti in self.run.get_task_instances()}

    def xcom(self, task: str, key: str = "return_value") -> Any:
        from airflow.models.xcom import XComModel
        from airflow.utils.session import create_session

        with create_session() as session:
            query = XComModel.get_many(
                run_id=self.run.run_id, dag_ids=self.run.dag_id, task_ids=task, key=key
            )
            found = session.scalars(query).first()
            return None if found is None else found.value


def run(dag: Any, day: str, conf: dict[str, Any] | None = None, skip: str | None = None) -> Done:
    """Run a DAG in this process, as of a day; the form's values go in as ``conf``."""
    from airflow.dag_processing.dagbag import DagBag, sync_bag_to_db

    database()
    bag = DagBag(os.devnull, collect_dags=False)
    bag.bag_dag(dag)
    sync_bag_to_db(bag, "testing", None)
    moment = datetime.fromisoformat(day).replace(tzinfo=UTC)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time, "sleep", _impatient(seconds=150))
        done = Done(dag.test(logical_date=moment, run_conf=conf, mark_success_pattern=skip))
    _check_results(dag, done)
    return done


def _check_results(dag: Any, done: Done) -> None:
    """Hold every operator to the type that it says it returns: all keys, no other, each of its type."""
    from airflow.models.xcom import XComModel
    from airflow.utils.session import create_session
    from pydantic import TypeAdapter

    from evermodel_provider import results

    for task in dag.tasks:
        kind = getattr(task, "operator_class", type(task))
        if not kind.__module__.startswith("evermodel_provider.operators"):
            continue
        method = getattr(kind, "run_step", kind.execute)
        declared = get_type_hints(method, localns={"Context": Any, **vars(results)}).get("return", Any)
        with create_session() as session:
            query = XComModel.get_many(
                run_id=done.run.run_id, dag_ids=dag.dag_id, task_ids=task.task_id, key="return_value"
            )
            for pushed in session.scalars(query):
                assert TypeAdapter(declared).validate_python(pushed.value, strict=True) == pushed.value


def _impatient(seconds: float) -> Callable[[float], None]:
    """Return a short sleep: dag.test() sleeps a second for every task that cannot run yet, and waits for ever."""
    sleep, deadline = time.sleep, time.monotonic() + seconds

    def nap(wanted: float) -> None:
        if time.monotonic() > deadline:
            raise TimeoutError("the run waits for something that does not happen")
        sleep(min(wanted, 0.02))

    return nap


def retrain(world: World, day: str, **form: Any) -> Done:
    """Run the world's retrain DAG."""
    return run(parse(world, "retrain"), day, form or None)


def messages(world: World) -> list[dict[str, Any]]:
    """Return what was sent to people, oldest first."""
    files = sorted(world.settings.outbox.glob("*/message.json"), key=lambda file: file.stat().st_mtime_ns)
    return [json.loads(file.read_text(encoding="utf-8")) for file in files]


@contextmanager
def answering(choice: str, user: str = "reviewer", comment: str = "") -> Iterator[list[dict[str, str]]]:
    """Answer the first question that a run parks on, as Airflow's web page does; yields what was asked."""
    database()
    asked: list[dict[str, str]] = []
    failed: list[BaseException] = []
    stop = threading.Event()
    filled_in = (choice, user, comment)
    thread = threading.Thread(target=_answer, args=(filled_in, asked, failed, stop), daemon=True)
    thread.start()
    try:
        yield asked
    finally:
        stop.set()
        thread.join(10)
    assert not failed, failed


def _answer(
    filled_in: tuple[str, str, str], asked: list[Any], failed: list[BaseException], stop: threading.Event
) -> None:
    from airflow.models.taskinstance import TaskInstance
    from airflow.utils.session import create_session
    from sqlalchemy import select

    while not asked and not stop.wait(0.2):
        with create_session() as session:
            parked = session.scalars(
                select(TaskInstance).where(TaskInstance.state == "awaiting_input")
            ).first()
            if parked is None:
                continue
            try:
                asked.append(_respond(parked, *filled_in, session))
            except Exception as error:  # noqa: BLE001 - the run has to end, and the test to tell
                failed.append(error)
                parked.state = "failed"
                return


def _respond(parked: Any, choice: str, name: str, comment: str, session: Any) -> dict[str, str]:
    from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser
    from airflow.api_fastapi.core_api.datamodels.hitl import UpdateHITLDetailPayload
    from airflow.api_fastapi.core_api.routes.public.hitl import update_hitl_detail
    from airflow.models.hitl import HITLDetail
    from sqlalchemy import select

    detail = session.scalars(select(HITLDetail).where(HITLDetail.ti_id == parked.id)).one()
    question = {"subject": detail.subject, "body": detail.body}
    # The page sends every field of the form, also those that nobody touched.
    fields = {key: param["value"] for key, param in detail.params.items()}
    fields["comment"] = comment or None
    payload = UpdateHITLDetailPayload(chosen_options=[choice], params_input=fields)
    user = SimpleAuthManagerUser(username=name, role="admin")
    update_hitl_detail(parked.dag_id, parked.run_id, parked.task_id, payload, user, session)
    return question


def wait_until_parked(api: AirflowApi, dag: str, run: str, task: str = "approve") -> None:
    """Wait until a task waits for input, and until the scheduler knows that its process has ended.

    Airflow takes a task that is resumed in between for one that was killed. A person needs longer than that to answer.
    """
    deadline = time.monotonic() + 180
    while {t["task_id"]: t["state"] for t in api.task_instances(dag, run)}.get(task) != "awaiting_input":
        assert time.monotonic() < deadline, api.explain(dag, run)
        time.sleep(0.3)
    time.sleep(1.5)  # the worker learns of its task's end with its next heartbeat
    for _ in range(2):  # after the second, a whole loop of the scheduler has passed
        before = _heartbeat(api)
        while _heartbeat(api) == before:
            assert time.monotonic() < deadline, "the scheduler is not alive"
            time.sleep(0.2)


def form_path(dag: str, run: str) -> str:
    """Return the address of the approval form of a run."""
    return f"/api/v2/dags/{dag}/dagRuns/{quote(run, safe='')}/taskInstances/approve/-1/hitlDetails"


def form_fields(api: AirflowApi, dag: str, run: str) -> dict[str, Any]:
    """Return the fields of the approval form as Airflow's page sends them."""
    shown = api._call("GET", form_path(dag, run)).json()["params"]
    return {name: field["value"] for name, field in shown.items()}


def answer_approval(api: AirflowApi, dag: str, run: str, option: str) -> None:
    """Wait for the form and answer it as a person would, through the REST API."""
    wait_until_parked(api, dag, run)
    answer = {"chosen_options": [option], "params_input": form_fields(api, dag, run)}
    api._call("PATCH", form_path(dag, run), json=answer)


def _heartbeat(api: AirflowApi) -> str:
    return str(api._call("GET", "/api/v2/monitor/health").json()["scheduler"]["latest_scheduler_heartbeat"])
