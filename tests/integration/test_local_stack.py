"""The whole local stack for real: used over REST; processes die, people answer, requests arrive twice; gone afterwards."""

from __future__ import annotations

import json
import shutil
import textwrap
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import yaml

from evermodel.cli.local_stack import AirflowApi, LocalStack, Ports, sessions
from evermodel.cli.local_stack.airflow_api import (
    AirflowRequestError,
    AirflowUnavailableError,
    RunFailedError,
)
from evermodel.cli.local_stack.ports import free_port
from evermodel.registry.registry import ModelRegistry
from support.airflow_runs import SCHEDULER, answer_approval
from support.flights import World, flights_world
from support.paths import PROJECT

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

# Loaded by Airflow as a plugin: while the flag file is there, the first try of each task is killed before it works,
# and the second when its work is done but not reported yet.
KILLER = """
import os, pathlib, signal
from airflow.listeners import hookimpl
from airflow.plugins_manager import AirflowPlugin

FLAG = pathlib.Path({flag!r})

def die(*args, **kwargs):
    os.kill(os.getpid(), signal.SIGKILL)

class Listener:
    @hookimpl
    def on_task_instance_running(self, previous_state, task_instance):
        if not FLAG.exists():
            return
        if task_instance.try_number == 1:
            die()
        if task_instance.try_number == 2:
            task_instance.task._post_execute_hook = die

class KillerPlugin(AirflowPlugin):
    name = "killer"
    listeners = [Listener()]
"""

DAGS = """
    from airflow.sdk import dag, task

    @dag(schedule=None)
    def works():
        @task
        def loaded(params=None):
            import sys
            return {"modules": [m for m in ("evidently", "mlflow", "sklearn.ensemble") if m in sys.modules]}
        @task
        def trained(before, **context):
            import numpy as np
            from sklearn.ensemble import HistGradientBoostingClassifier
            x = np.arange(400.0).reshape(200, 2)
            model = HistGradientBoostingClassifier(max_iter=3).fit(x, x[:, 0] > 200)
            return {"accuracy": model.score(x, x[:, 0] > 200), "conf": context["dag_run"].conf}
        trained(loaded())

    @dag(schedule=None)
    def fails():
        @task
        def broken():
            raise ValueError("the cause of it all")
        broken()

    works()
    fails()
"""


class Stage:
    """A running stack with one model on the sample."""

    def __init__(self, world: World, stack: LocalStack, api: AirflowApi, flag: Path) -> None:
        self.world, self.stack, self.api, self.flag = world, stack, api, flag
        self.dag = f"retrain_{world.name}"

    def retrain(self, day: datetime, **conf: Any) -> dict[str, Any]:
        return self.api.run(self.dag, timeout=300, logical_date=day, conf=conf)

    def aliases(self) -> dict[str, str]:
        aliases = self.world.client.get_registered_model(self.world.name).aliases
        return {name: str(version) for name, version in aliases.items()}

    def versions(self) -> int:
        return len(self.world.client.search_model_versions(f"name = '{self.world.name}'"))


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp("stack")
    ports, project = Ports.unused(), folder / "project"
    world = flights_world(folder / "world", f"http://127.0.0.1:{ports.mlflow}", name="late")
    (project / "plugins").mkdir(parents=True)
    (project / "dags").mkdir()
    for file in (PROJECT / "dags").glob("*.py"):
        shutil.copyfile(file, project / "dags" / file.name)
    (project / "dags" / "simple.py").write_text(textwrap.dedent(DAGS), encoding="utf-8")
    flag = folder / "kill"
    (project / "plugins" / "killer.py").write_text(KILLER.format(flag=str(flag)))
    extras = {**world.environment, "AIRFLOW__CORE__DEFAULT_TASK_RETRY_DELAY": "1", **SCHEDULER}
    with LocalStack(folder / "home", project, ports, extras) as stack:
        api = stack.start()
        api.wait_for_dags([f"retrain_{world.name}", "works", "fails"])
        stage = Stage(world, stack, api, flag)
        stage.retrain(datetime(2013, 3, 11, 6, tzinfo=UTC))
        record = json.loads((stack.home / "services.json").read_text(encoding="utf-8"))
        yield stage
    assert len(record) == 6
    assert sessions.members(*record.values()) == []
    stack.ports.require_free()


@pytest.fixture
def stack(stage: Stage) -> LocalStack:
    return stage.stack


@pytest.fixture
def api(stage: Stage) -> AirflowApi:
    return stage.api


def test_killing_every_task_twice_ends_in_one_version_and_one_champion(stage: Stage) -> None:
    before = stage.aliases()["champion"]
    versions, promotions = (
        stage.versions(),
        len(ModelRegistry(stage.world.client).read(stage.world.name).promotions),
    )
    stage.flag.touch()
    try:
        run = stage.retrain(datetime(2013, 4, 1, 6, tzinfo=UTC))
    finally:
        stage.flag.unlink()

    tasks = stage.api.task_instances(stage.dag, run["dag_run_id"])
    assert {task["task_id"]: task["try_number"] for task in tasks} == dict.fromkeys(
        (task["task_id"] for task in tasks), 3
    )
    assert stage.versions() == versions + 1
    after = stage.aliases()
    assert after == {"champion": str(int(before) + 1), "previous": before}
    assert len(ModelRegistry(stage.world.client).read(stage.world.name).promotions) == promotions + 1
    runs = stage.world.client.search_runs(
        [stage.world.client.get_experiment_by_name(stage.world.name).experiment_id],
        "tags.`evermodel.kind` = 'retrain'",
    )
    assert len(runs) == len({r.data.tags["evermodel.run_key"] for r in runs})


def test_a_person_approves_in_airflow(stage: Stage) -> None:
    before = stage.aliases()["champion"]
    run_id = stage.api.trigger(
        stage.dag, datetime(2013, 4, 15, 6, tzinfo=UTC), {"approval": "manual", "reason": "new season"}
    )
    answer_approval(stage.api, stage.dag, run_id, "Approve")

    ended = stage.api.wait(stage.dag, run_id)
    assert ended["state"] == "success", stage.api.explain(stage.dag, run_id)
    assert f"evermodel: Version {int(before) + 1} replaces version {before} as champion" in ended["note"]
    assert "Reason for the retrain: new season" in ended["note"]
    assert "[Decision](<http" in ended["note"]
    assert stage.aliases() == {"champion": str(int(before) + 1), "previous": before}
    last = ModelRegistry(stage.world.client).read(stage.world.name).promotions[-1]
    assert last.reason == "new season"
    assert last.by not in ("auto", "", "nobody (time-out)")


def test_a_rejected_version_does_not_serve(stage: Stage) -> None:
    before = stage.aliases()
    run_id = stage.api.trigger(stage.dag, datetime(2013, 4, 29, 6, tzinfo=UTC), {"approval": "manual"})
    answer_approval(stage.api, stage.dag, run_id, "Reject")

    assert stage.api.wait(stage.dag, run_id)["state"] == "success", stage.api.explain(stage.dag, run_id)
    assert stage.aliases()["champion"] == before["champion"]
    assert stage.api.xcom(stage.dag, run_id, "report")["outcome"] == "rejected"


def test_a_spec_that_breaks_hides_no_other_model(stage: Stage) -> None:
    good = yaml.safe_load(stage.world.spec_file.read_text())
    broken = stage.world.settings.models / "broken.yaml"
    broken.write_text(yaml.safe_dump({**good, "name": "broken", "sedd": 1}))
    (stage.stack.project / "dags" / "broken_specs.py").touch()  # parsed again, as every 30 s by default
    try:
        deadline = time.monotonic() + 120
        while not (errors := stage.api.import_errors()):
            assert time.monotonic() < deadline, "the broken spec was not noticed"
            time.sleep(1)
        assert [Path(error["filename"]).name for error in errors] == ["broken_specs.py"]
        assert "sedd: unknown field; did you mean seed?" in errors[0]["stack_trace"]
        assert stage.dag in stage.api.dag_ids()
    finally:
        broken.unlink()


def test_a_run_succeeds_in_a_worker_that_has_the_libraries_in_memory(api: AirflowApi) -> None:
    run = api.run("works", logical_date=datetime(2013, 5, 1, tzinfo=UTC), conf={"a": 1}, run_id="by-hand")
    assert (run["dag_run_id"], run["logical_date"]) == ("by-hand", "2013-05-01T00:00:00Z")
    assert api.xcom("works", "by-hand", "loaded")["modules"] == ["evidently", "mlflow", "sklearn.ensemble"]
    assert api.xcom("works", "by-hand", "trained") == {"accuracy": 1.0, "conf": {"a": 1}}
    assert {t["task_id"]: t["state"] for t in api.task_instances("works", "by-hand")} == {
        "loaded": "success",
        "trained": "success",
    }
    assert "Returned value was" in api.logs("works", "by-hand", "trained")
    assert [run["dag_run_id"] for run in api.dag_runs("works")] == ["by-hand"]


def test_a_failed_run_is_explained_with_the_log_of_its_task(api: AirflowApi) -> None:
    with pytest.raises(RunFailedError, match="ValueError: the cause of it all"):
        api.run("fails")


def test_requests_that_cannot_be_served_say_why(api: AirflowApi) -> None:
    with pytest.raises(AirflowRequestError, match=r"404: .*no_such_dag"):
        api.trigger("no_such_dag")
    with pytest.raises(AirflowRequestError, match="has not found the DAGs no_such_dag"):
        api.wait_for_dags(["works", "no_such_dag"], timeout=0)
    with pytest.raises(AirflowUnavailableError, match="does not answer"):
        AirflowApi(f"http://127.0.0.1:{free_port()}").dag_ids()


def test_a_dag_can_be_paused(api: AirflowApi) -> None:
    api.pause("works")
    run_id = api.trigger("works", run_id="held")
    with pytest.raises(RunFailedError, match="still queued"):
        api.wait("works", run_id, timeout=1)
    api.unpause("works")
    assert api.wait("works", run_id, timeout=60)["state"] == "success"


def test_mlflow_answers_and_nothing_listens_beyond_loopback(stack: LocalStack, api: AirflowApi) -> None:
    assert httpx.get(f"{stack.mlflow_url}/version", trust_env=False).status_code == 200
    record = json.loads((stack.home / "services.json").read_text(encoding="utf-8"))
    listening = [
        connection.laddr
        for process in sessions.members(*record.values())
        for connection in process.net_connections(kind="inet")
        if connection.status == psutil.CONN_LISTEN
    ]
    assert {address[1] for address in listening} == {stack.ports.airflow, stack.ports.mlflow}
    assert {address[0] for address in listening} == {"127.0.0.1"}


def test_keys_stay_out_of_the_logs(stack: LocalStack, api: AirflowApi) -> None:
    keys = json.loads((stack.home / "secrets.json").read_text(encoding="utf-8")).values()
    text = "".join(
        path.read_text(encoding="utf-8", errors="replace") for path in stack.supervisor.logs.glob("*.log")
    )
    assert text
    assert not any(key in text for key in keys)
