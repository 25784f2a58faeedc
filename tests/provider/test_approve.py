"""The answer of a person, or of nobody; whole runs with an answer are in tests/dags."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk import DAG, BaseOperator
from airflow.sdk.exceptions import AirflowFailException

from evermodel.core.errors import SpecError
from evermodel.registry.approval import Approval
from evermodel_provider.operators.approve import ApproveOperator, assigned
from evermodel_provider.results import ApprovalResult
from support.flights import flights_world


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


ADA = {"id": "1", "name": "ada"}


@pytest.fixture(autouse=True)
def recorded(monkeypatch: pytest.MonkeyPatch) -> list[Approval]:
    """Answers that were recorded on a version; its decision is d1."""
    noted: list[Approval] = []
    here = "evermodel.pipelines.approval"
    monkeypatch.setattr(f"{here}.record_answer", lambda client, model, answer: noted.append(answer))
    monkeypatch.setattr(f"{here}.decision_of", lambda *args: SimpleNamespace(digest="d1"))
    client = SimpleNamespace(get_model_version=lambda model, version: None)
    monkeypatch.setattr("evermodel_provider.hooks.tracking.TrackingHook.get_conn", lambda self: client)
    return noted


def approve(approval: str = "manual", approvers: tuple[str, ...] = ()) -> ApproveOperator:
    with DAG("approval", schedule=None):
        task = ApproveOperator(
            task_id="approve",
            model="flights",
            version="7",
            approval=approval,
            approvers=approvers,
            response_timeout=timedelta(days=3),
        )
        deploy, report = BaseOperator(task_id="deploy"), BaseOperator(task_id="report")
        task >> deploy >> report
    return task


def answer(task: ApproveOperator, choice: str, user: Any, **filled_in: str | None) -> dict[str, Any]:
    ti = Pushed()
    event = {
        "chosen_options": [choice],
        "params_input": filled_in,
        "responded_at": datetime(2013, 3, 11, tzinfo=UTC),
        "responded_by_user": user,
    }
    context: Any = {"ti": ti, "task_instance": ti, "task": task}
    task.execute_complete(context, event)
    return ti


def test_auto_goes_on_without_asking_and_says_so() -> None:
    ti = Pushed()
    context: Any = {"ti": ti}
    assert approve("auto").execute(context)["by"] == "auto"
    assert Approval(**ti["approval"]) == Approval(True, "auto", "7")


def test_yes_lets_the_run_go_on_and_keeps_who_when_and_why(
    skipped: list[str], recorded: list[Approval]
) -> None:
    pushed = answer(approve(), "Approve", ADA, comment=" looks good ", decision="d1")
    assert pushed["approval"].keys() == ApprovalResult.__required_keys__
    assert Approval(**pushed["approval"]) == Approval(
        True, "ada", "7", "d1", "2013-03-11T00:00:00+00:00", "looks good"
    )
    assert (skipped, recorded) == ([], [Approval(**pushed["approval"])])


def test_no_skips_the_deployment_but_not_the_report_and_is_noted_on_the_version(
    skipped: list[str], recorded: list[Approval]
) -> None:
    pushed = answer(approve(), "Reject", ADA, comment=None, decision="d1")
    assert (pushed["approval"]["approved"], pushed["approval"]["by"]) == (False, "ada")
    assert skipped == ["deploy"]
    assert [one.tags()["evermodel.rejected_by"] for one in recorded] == ["ada"]


def test_silence_is_a_no(skipped: list[str]) -> None:
    task = approve(approvers=("ada",))
    assert (task.defaults, task.response_timeout) == (["Reject"], timedelta(days=3))
    pushed = answer(task, "Reject", None)
    assert (pushed["approval"]["approved"], pushed["approval"]["by"]) == (False, "nobody (time-out)")
    assert skipped == ["deploy"]


@pytest.mark.parametrize("choice", ["Approve", "Reject"])
def test_an_answer_of_somebody_else_is_none(
    choice: str, skipped: list[str], recorded: list[Approval]
) -> None:
    with pytest.raises(AirflowFailException, match=r"eve .* is not an approver: the spec names ada, bob#4"):
        answer(approve(approvers=("ada", "bob#4")), choice, {"id": "eve", "name": "eve"}, decision="d1")
    assert (skipped, recorded) == ([], [])
    bob = {"id": "4", "name": "Bob"}
    task = approve(approvers=("ada", "bob#4"))
    assert answer(task, "Approve", bob, comment=None, decision="d1")["approval"]


@pytest.mark.parametrize(
    ("user", "filled_in", "said"),
    [
        (ADA, {"decision": "d0"}, "approved the decision d0, but the current one is d1"),
        (ADA, {}, r"approved the decision \(none\), but the current one is d1"),
        (None, {"decision": "d1"}, "nobody approved the version"),
    ],
)
def test_a_yes_to_another_decision_or_of_nobody_is_none(
    user: Any, filled_in: dict[str, str], said: str, recorded: list[Approval]
) -> None:
    with pytest.raises(AirflowFailException, match=said):
        answer(approve(), "Approve", user, **filled_in)
    assert recorded == []


def test_a_spec_that_requires_approval_and_names_nobody_asks_nobody(tmp_path: Path) -> None:
    world = flights_world(tmp_path, "http://127.0.0.1:1", "flights")
    world.change(approval="manual")
    task = approve()
    task.model = str(world.spec_file)
    context: Any = {}
    with pytest.raises(AirflowFailException, match="`approval: manual` and names no approvers"):
        task.execute(context)


def test_airflow_gets_the_approvers_by_the_ids_that_its_auth_manager_knows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert assigned([]) is None
    assert assigned(["ada", "bob#4"]) == [{"id": "ada", "name": "ada"}, {"id": "4", "name": "bob"}]
    monkeypatch.setattr(
        "evermodel_provider.operators.approve.conf.get", lambda *a, **k: "airflow...FabAuthManager"
    )
    with pytest.raises(SpecError, match="ada: the FAB auth manager identifies users by number"):
        assigned(["ada", "bob#4"])
    assert assigned(["bob#4"]) == [{"id": "4", "name": "bob"}]
