"""The answer of a person, or of nobody; whole runs with an answer are in tests/dags."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from airflow.sdk import DAG, BaseOperator

from evermodel_provider.operators.approve import ApproveOperator


class Pushed(dict[str, Any]):
    """A task instance that keeps what is pushed."""

    def xcom_push(self, key: str, value: Any) -> None:
        self[key] = value


@pytest.fixture
def skipped(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    names: list[str] = []
    monkeypatch.setattr(
        ApproveOperator, "skip", lambda self, ti, tasks: names.extend(task.task_id for task in tasks)
    )
    return names


def approve(approval: str = "manual") -> ApproveOperator:
    with DAG("approval", schedule=None):
        task = ApproveOperator(
            task_id="approve",
            model="flights",
            version="7",
            run_key="k",
            approval=approval,
            response_timeout=timedelta(days=3),
        )
        deploy, report = BaseOperator(task_id="deploy"), BaseOperator(task_id="report")
        task >> deploy >> report
    return task


def answer(task: ApproveOperator, choice: str, user: Any) -> dict[str, Any]:
    ti = Pushed()
    event = {
        "chosen_options": [choice],
        "params_input": {},
        "responded_at": datetime(2013, 3, 11, tzinfo=UTC),
        "responded_by_user": user,
    }
    context: Any = {"ti": ti, "task_instance": ti, "task": task}
    task.execute_complete(context, event)
    return ti


def test_auto_goes_on_without_asking_and_says_so() -> None:
    ti = Pushed()
    context: Any = {"ti": ti}
    assert approve("auto").execute(context) == {"approved": True, "by": "auto", "version": "7"}
    assert ti["approval"]["by"] == "auto"


def test_yes_lets_the_run_go_on(skipped: list[str]) -> None:
    pushed = answer(approve(), "Approve", {"id": "1", "name": "ada"})
    assert pushed["approval"] == {"approved": True, "by": "ada", "version": "7"}
    assert skipped == []


def test_no_skips_the_deployment_but_not_the_report(skipped: list[str]) -> None:
    pushed = answer(approve(), "Reject", {"id": "1", "name": "ada"})
    assert pushed["approval"] == {"approved": False, "by": "ada", "version": "7"}
    assert skipped == ["deploy"]


def test_silence_is_a_no(skipped: list[str]) -> None:
    task = approve()
    assert (task.defaults, task.response_timeout) == (["Reject"], timedelta(days=3))
    pushed = answer(task, "Reject", None)
    assert pushed["approval"] == {"approved": False, "by": "nobody (time-out)", "version": "7"}
    assert skipped == ["deploy"]
