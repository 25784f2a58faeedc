"""The buttons Approve and Reject in Slack, against Airflow's own API and database."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from evermodel.alerts.approval_message import APPROVE, BUTTONS, REJECT, ApprovalForm
from evermodel.alerts.incident_message import INCIDENT_BUTTONS, IncidentForm
from evermodel.alerts.publisher import message_queue
from support.airflow_runs import Done, database, run
from support.alarmed_model import alarmed as alarmed
from support.alarmed_model import answered
from support.flights import World

pytestmark = pytest.mark.integration

SECRET = "8f742231b10e8888abcd99yyyzzz85a5"
OTHER_SECRET = "another app's secret"
PEOPLE = {"U1": "ada", "U2": "eve", "U3": "nobody", "U4": "bob"}
DIGEST = "0123456789abcdef"


class Replies:
    """The place where Slack takes replies to a pressed button."""

    def __init__(self) -> None:
        self.said: list[dict[str, Any]] = []
        said = self.said

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                said.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                """Stay quiet."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(
            target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        ).start()


@pytest.fixture
def replies() -> Iterator[Replies]:
    made = Replies()
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture
def press(replies: Replies, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Any]]:
    """A Slack that presses a button on the API server; returns the status and what the person was told."""
    monkeypatch.setenv("AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS", "ada:user,eve:user,bob:viewer")
    monkeypatch.setenv("AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE", str(tmp_path / "passwords.json"))
    database()
    from airflow.api_fastapi.app import create_app, purge_cached_app
    from fastapi.testclient import TestClient
    from slack_sdk.signature import SignatureVerifier

    from evermodel_provider.notifications.slack_app import SlackApp
    from evermodel_provider.ui.slack_actions import SlackActions

    purge_cached_app()
    airflow = create_app(apps="core")

    def connect(name: str) -> SlackApp | None:
        """Two Slack apps, as two connections have them; their users are the same."""
        secret = {"slack_api_default": SECRET, "another": OTHER_SECRET}.get(name)
        return SlackApp(name, secret, PEOPLE, f"{replies.address}/api/") if secret else None

    airflow.mount("/buttons", SlackActions(connect, f"sqlite:///{tmp_path}/evermodel.db"))
    # Airflow's single-page app takes every address: ours has to come before it, as plugins do.
    airflow.router.routes.insert(0, airflow.router.routes.pop())
    client = TestClient(airflow)

    # Airflow itself mounts it where docs/approval.md says; without a connection nothing is taken.
    refused = client.post("/evermodel/slack/actions", content=b"payload={}")
    assert (refused.status_code, refused.content) == (401, b"")

    def pressed(
        question: ApprovalForm | IncidentForm,
        person: str = "U1",
        action: str = APPROVE,
        *,
        secret: str = SECRET,
        address: str = "",
        age: float = 0.0,
        reply_to: str = "",
        times: int = 1,
    ) -> tuple[int, str]:
        rows = [{"type": "actions", "block_id": block} for block in (BUTTONS, INCIDENT_BUTTONS)]
        message = {"text": "version 1 waits", "blocks": rows}
        payload = {
            "type": "block_actions",
            "user": {"id": person},
            "trigger_id": str(time.monotonic_ns()),
            "actions": [{"action_id": action, "block_id": BUTTONS, "value": question.dumps()}],
            "message": message,
            "response_url": reply_to or f"{replies.address}/actions/T1/2/3",
        }
        body = urlencode({"payload": json.dumps(payload)})
        stamp = str(int(time.time() - age))
        signature = SignatureVerifier(secret).generate_signature(timestamp=stamp, body=body)
        headers = {"X-Slack-Request-Timestamp": stamp, "X-Slack-Signature": signature or ""}
        headers["Content-Type"] = "application/x-www-form-urlencoded"
        before = len(replies.said)
        for _ in range(times):
            answer = client.post(f"/buttons/actions{address}", content=body, headers=headers)
        assert answer.content == b""
        return answer.status_code, str([said["text"] for said in replies.said[before:]])

    yield pressed
    purge_cached_app()


def dag_that_asks(name: str, done: list[Any]) -> Any:
    """A DAG whose question is asked as the retrain DAG asks it, without a retrain."""
    from airflow.sdk import DAG

    from evermodel.registry.approval import Approval
    from evermodel_provider.operators.approve import ApproveOperator, answer_form

    class Asking(ApproveOperator):
        def _request_approval(self, context: Any) -> None:
            self.subject, self.body = "Make version 1 of flights the champion?", "as you like"
            for key, param in answer_form(DIGEST, "slack_api_default").items():
                self.params[key] = param

        def _step(self, name: str, **inputs: Any) -> dict[str, Any]:
            done.append(Approval(**inputs["approval"]))
            return {}

    with DAG(name, schedule=None) as dag:
        Asking(
            task_id="approve",
            model="flights",
            version="1",
            approvers=("ada",),
            response_timeout=timedelta(days=1),
        )
    return dag


def parked(dag_id: str) -> ApprovalForm:
    """Wait until the DAG's question is asked."""
    from airflow.models.taskinstance import TaskInstance
    from airflow.utils.session import create_session
    from sqlalchemy import select

    for _ in range(1800):  # the first run of a process loads Airflow
        with create_session() as session:
            wanted = (TaskInstance.dag_id == dag_id, TaskInstance.state == "awaiting_input")
            found = session.scalars(select(TaskInstance).where(*wanted)).first()
            if found is not None:
                return ApprovalForm(dag_id, found.run_id, found.task_id, "1", DIGEST)
        time.sleep(0.1)
    raise AssertionError("nothing was asked")


def asked_while(name: str, act: Callable[[ApprovalForm], None]) -> tuple[Done, list[Any]]:
    answers: list[Any] = []
    failed: list[BaseException] = []

    def acting() -> None:
        try:
            act(parked(name))
        except BaseException as error:  # noqa: BLE001 - the test tells
            failed.append(error)
            _give_up(name)

    database()
    thread = threading.Thread(target=acting, daemon=True)
    thread.start()
    done = run(dag_that_asks(name, answers), "2013-03-11")
    thread.join(10)
    assert not failed, failed
    return done, answers


def _give_up(dag_id: str) -> None:
    from airflow.models.taskinstance import TaskInstance
    from airflow.utils.session import create_session
    from sqlalchemy import update

    with create_session() as session:
        session.execute(update(TaskInstance).where(TaskInstance.dag_id == dag_id).values(state="failed"))


def test_only_the_right_person_can_answer_only_this_question_and_only_once(
    press: Callable[..., Any], replies: Replies
) -> None:
    from dataclasses import replace

    def act(question: ApprovalForm) -> None:
        assert "is not mapped to an Airflow user" in press(question, "U9")[1]
        assert "is not mapped to an Airflow user" in press(question, "U3")[1], (
            "mapped to a name that Airflow does not know"
        )
        assert "not among the approvers" in press(question, "U2")[1]
        assert "belongs to an earlier decision" in press(replace(question, digest="f" * 16))[1]
        assert "belongs to an earlier decision" in press(replace(question, version="2"))[1]
        assert "no longer exists" in press(replace(question, run_id="another"))[1]
        assert all(not said["replace_original"] for said in replies.said)
        assert press(question) == (200, "['version 1 waits']")
        assert "already approved or rejected" in press(question, action=REJECT)[1]

    done, noted = asked_while("slack_yes", act)

    assert (done.state, [(one.approved, one.by) for one in noted]) == ("success", [(True, "ada")])
    answer = done.xcom("approve", "approval")
    assert (answer["approved"], answer["by"], answer["digest"]) == (True, "ada", DIGEST)
    (told,) = [said for said in replies.said if said["replace_original"]]
    assert [block.get("block_id") for block in told["blocks"]] == [None], "the buttons are gone"
    assert told["blocks"][0]["text"]["text"] == "Approved by ada, from Slack."


def test_what_is_forged_old_or_a_copy_is_refused_without_a_word(press: Callable[..., Any]) -> None:
    def act(question: ApprovalForm) -> None:
        assert press(question, secret="f" * 32) == (401, "[]")
        assert press(question, address="/another") == (401, "[]")
        assert press(question, address="/unknown") == (401, "[]")
        # Another app's press is genuine, but this model's spec names the first connection.
        _, told = press(question, secret=OTHER_SECRET, address="/another")
        assert "answered through another Slack app" in told
        assert press(question, age=301) == (401, "[]")
        assert press(question, age=-301) == (401, "[]")
        status, told = press(question, "U9", times=2)
        assert (status, told.count("is not mapped")) == (401, 1), "the first is taken, its copy is not"
        assert press(question, action="another_app") == (200, "[]")
        # A reply goes to Slack only, wherever the request says that it should go.
        assert press(question, action=REJECT, reply_to="http://169.254.169.254/latest") == (200, "[]")

    done, noted = asked_while("slack_no", act)

    assert done.state == "success"
    assert [(one.approved, one.by) for one in noted] == [(False, "ada")]


def test_who_may_run_the_drift_dag_answers_an_incident_by_its_buttons(
    press: Callable[..., Any], replies: Replies, alarmed: World
) -> None:
    queue = message_queue(alarmed.settings)
    ((destination, [(_, posted)]),) = [
        (place, found) for place in queue.destinations() if (found := queue.waiting(place))
    ]
    rows = [block for block in posted.message["blocks"] if block.get("block_id") == INCIDENT_BUTTONS]
    buttons = {button["action_id"]: button for button in rows[0]["elements"]}
    assert [button["text"]["text"] for button in buttons.values()] == [
        "Acknowledge",
        "Mute 1 day",
        "Expected",
    ]
    form = IncidentForm.loads(buttons["evermodel_mute"]["value"])

    def pressed(action: str, person: str = "U1", **changes: Any) -> str:
        return str(press(form, person, f"evermodel_{action}", **changes)[1])

    assert "is not mapped to an Airflow user" in pressed("mute", "U3")
    assert "You may not run drift_" in pressed("mute", "U4"), "a viewer"
    assert "through another Slack app" in pressed("mute", secret=OTHER_SECRET, address="/another")
    stale = IncidentForm(alarmed.name, "drift-7")
    assert "has no open incident drift-7" in press(stale, "U1", "evermodel_mute")[1]
    assert answered(alarmed) is None

    pressed("mute")
    muted = answered(alarmed)
    assert muted is not None
    assert (muted.kind, muted.by, bool(muted.until)) == ("muted", "ada", True)
    assert replies.said[-1]["replace_original"]
    left = [block.get("block_id") for block in replies.said[-1]["blocks"]]
    assert INCIDENT_BUTTONS not in left
    assert "Muted by ada until" in str(replies.said[-1]["blocks"])
    pressed("expect", "U2")
    expected = answered(alarmed)
    assert expected is not None
    assert (expected.kind, expected.by, expected.until) == ("expected", "eve", "")
    replied = [entry.message["text"].splitlines()[0] for _, entry in queue.waiting(destination)][1:]
    assert replied == [f"[info] {alarmed.name}: drift {what}" for what in ("muted by ada", "expected by eve")]
