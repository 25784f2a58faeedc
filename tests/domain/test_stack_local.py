"""The whole local stack for real: started from nothing, used over REST, and gone afterwards."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator
from datetime import UTC, datetime

import httpx
import psutil
import pytest

from evermodel.cli.local_stack import AirflowApi, LocalStack, Ports, sessions
from evermodel.cli.local_stack.airflow_api import (
    AirflowRequestError,
    AirflowUnavailableError,
    RunFailedError,
)
from evermodel.cli.local_stack.ports import free_port

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
pytestmark = [pytest.mark.integration, pytest.mark.timeout(400)]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    folder = tmp_path_factory.mktemp("stack")
    (folder / "project" / "dags").mkdir(parents=True)
    (folder / "project" / "dags" / "simple.py").write_text(textwrap.dedent(DAGS), encoding="utf-8")
    stack = LocalStack(folder / "home", folder / "project", Ports.unused())
    with stack:
        stack.start()
        record = json.loads((stack.home / "services.json").read_text(encoding="utf-8"))
        yield stack
    assert len(record) == 6
    assert sessions.members(*record.values()) == []
    stack.ports.require_free()


@pytest.fixture(scope="module")
def api(stack: LocalStack) -> Iterator[AirflowApi]:
    api = AirflowApi(stack.airflow_url)
    api.wait_until_ready()
    api.wait_for_dags(["works", "fails"])
    yield api
    api.close()


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
