"""A task that fails in a real DAG run tells people, through Airflow's own callback machinery."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from support.airflow_runs import database
from support.slack_server import FakeSlack

pytestmark = pytest.mark.integration


def test_failed_task_posts_to_slack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow.dag_processing.dagbag import DagBag, sync_bag_to_db
    from airflow.sdk import DAG, task

    from evermodel_provider.notifications.failure import FailureNotifier

    monkeypatch.setenv("EVERMODEL_HOME", str(tmp_path))
    notifier = FailureNotifier(model="flights", connection_id="slack_api_default", channel="#ml-alerts")
    with DAG("failing_flights", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC)) as dag:

        @task(retries=0, on_failure_callback=notifier)
        def train() -> None:
            raise ValueError("one class only in the test window")

        train()
    database()
    bag = DagBag(os.devnull, collect_dags=False)
    bag.bag_dag(dag)
    sync_bag_to_db(bag, "testing", None)

    with FakeSlack() as slack:
        monkeypatch.setenv("AIRFLOW_CONN_SLACK_API_DEFAULT", slack.connection_json())
        run = dag.test()
    (posted,) = slack.messages
    assert run.state == "failed"
    assert "ValueError: one class only in the test window" in posted.text
    assert posted.metadata["event_payload"]["key"] == f"failure-failing_flights-{run.run_id}-train"
    assert "Log: http" in posted.text
    assert "/dags/failing_flights/runs/" in posted.text
