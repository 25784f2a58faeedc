"""The endpoint that takes the buttons Approve and Reject from Slack."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
from starlette.background import BackgroundTask
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from evermodel.alerts.approval_message import APPROVE, BUTTONS, REJECT, ApprovalForm
from evermodel_provider.notifications.slack_app import SlackApp
from evermodel_provider.ui.slack_people import token_for
from evermodel_provider.ui.slack_request import (
    MOST_BYTES,
    RefusedError,
    looks_fresh,
    may_reply,
    payload_of,
    verify,
)

log = logging.getLogger(__name__)
_CHOICES = {APPROVE: "Approve", REJECT: "Reject"}
_PREFIX = "/actions"
_READ_SECONDS = 2.0


class SlackActions:
    """An ASGI app for Slack's *Interactivity* address: ``…/actions``, or ``…/actions/<connection id>``.

    Airflow does not ask who calls it: a request counts only with Slack's signature, within five minutes, once. The
    answer is then given through Airflow's own API, with a token of the person who pressed the button, so that whatever
    Airflow checks and writes down for its form holds for the button too.

    :param connect: Returns the Slack app of a connection id; None where there is none.
    :param seen: Folder that remembers requests, shared by all API servers.
    """

    def __init__(self, connect: Callable[[str], SlackApp | None], seen: Path) -> None:
        self._connect = connect
        self._seen = seen

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Take a button: 200 at once for Slack, which waits for three seconds, then the answer."""
        if scope["type"] != "http":
            return
        # Airflow's own app, which this one is mounted in.
        airflow, request = scope["app"], Request(scope, receive)
        try:
            app, payload = await self._payload(request)
        except RefusedError as error:
            log.warning("A request to the address of Slack's buttons was refused: %s", error)
            await Response(status_code=401)(scope, receive, send)
            return
        task = BackgroundTask(_handle, airflow, app, payload)
        await Response(status_code=200, background=task)(scope, receive, send)

    async def _payload(self, request: Request) -> tuple[SlackApp, dict[str, Any]]:
        headers = {name.lower(): value for name, value in request.headers.items()}
        if request.method != "POST" or not looks_fresh(headers):
            raise RefusedError("it has no signature of the last five minutes")
        try:
            body = await asyncio.wait_for(_read(request), _READ_SECONDS)
        except (TimeoutError, ClientDisconnect) as error:
            raise RefusedError("its body did not come") from error
        app = await asyncio.to_thread(self._connect, _connection_id(request.scope))
        if app is None:
            raise RefusedError("no Slack app with a signing secret is configured for it")
        await asyncio.to_thread(verify, app.signing_secret, headers, body, self._seen)
        return app, payload_of(body)


def _connection_id(scope: Scope) -> str:
    path = str(scope["path"]).removeprefix(str(scope.get("root_path", ""))).rstrip("/")
    name = path.removeprefix(_PREFIX).lstrip("/") if path.startswith(_PREFIX) else "/"
    if "/" in name:
        raise RefusedError("its address is no endpoint")
    return name or "slack_api_default"


async def _read(request: Request) -> bytes:
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > MOST_BYTES:
            raise RefusedError("its body is too large")
    return body


async def _handle(airflow: Any, app: SlackApp, payload: dict[str, Any]) -> None:
    """Answer, and tell in Slack what came of it; a mistake here is seen in the log only."""
    try:
        pressed = _pressed(payload)
        if pressed is None:
            return
        choice, question, person = pressed
        done, said = await _answer(airflow, app, choice, question, person)
        log.info("Slack user %s, version %s: %s", person, question.version, said)
        await _tell(app, payload, done, said)
    except Exception:
        log.exception("A button of Slack could not be handled")


def _pressed(payload: dict[str, Any]) -> tuple[str, ApprovalForm, str] | None:
    """Return choice, question and Slack user; None for anything but our buttons."""
    actions = payload.get("actions") or [{}]
    choice = _CHOICES.get(actions[0].get("action_id"))
    if payload.get("type") != "block_actions" or choice is None:
        return None
    return choice, ApprovalForm.loads(actions[0].get("value", "")), str(payload["user"]["id"])


async def _answer(
    airflow: Any, app: SlackApp, choice: str, question: ApprovalForm, person: str
) -> tuple[bool, str]:
    name = app.users.get(person)
    known = await asyncio.to_thread(token_for, name) if name else None
    if name is None or known is None:
        return False, f"Slack user {person} is no user of Airflow here: an administrator can add the mapping."
    user_id, token = known
    transport = httpx.ASGITransport(airflow, raise_app_exceptions=False)
    headers = {"Authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(transport=transport, base_url="http://airflow", headers=headers) as api:
        asked = await api.get(_address(question))
        problem = _problem(asked, question, user_id)
        if problem:
            return False, problem
        filled_in = {"comment": None, "decision": question.digest}
        given = await api.patch(
            _address(question), json={"chosen_options": [choice], "params_input": filled_in}
        )
    if given.is_success:
        return True, f"{'Approved' if choice == 'Approve' else 'Rejected'} by {name}, from Slack."
    return False, _REFUSALS.get(given.status_code, _FAILED)


_FAILED = "Airflow could not take the answer; please use the form."
_REFUSALS = {
    401: "Airflow does not know you any more.",
    403: "You may not answer this question: you are not among its approvers.",
    404: "This question no longer exists.",
    409: "This question was answered already.",
}


def _address(question: ApprovalForm) -> str:
    dag, run, task = (quote(part, safe="") for part in (question.dag_id, question.run_id, question.task_id))
    return f"/api/v2/dags/{dag}/dagRuns/{run}/taskInstances/{task}/-1/hitlDetails"


def _problem(asked: httpx.Response, question: ApprovalForm, user_id: str) -> str | None:
    """Say why the question in Airflow cannot be answered by this button."""
    if not asked.is_success:
        return _REFUSALS.get(asked.status_code, _FAILED)
    detail = asked.json()
    if detail["response_received"]:
        return _REFUSALS[409]
    shown = detail["params"].get("decision", {}).get("value")
    if shown != question.digest or not detail["subject"].startswith(f"Make version {question.version} of "):
        return "This button is about another decision than the one that waits; please use the form."
    # Airflow checks this too, but not where everybody is its administrator.
    allowed = {str(user["id"]) for user in detail["assigned_users"]}
    return _REFUSALS[403] if allowed and user_id not in allowed else None


async def _tell(app: SlackApp, payload: dict[str, Any], done: bool, said: str) -> None:
    """Put the answer in the place of the buttons, or tell the person alone why there is none."""
    url = str(payload.get("response_url", ""))
    if not may_reply(url, app.base_url):
        log.warning("The address for the reply is not one of Slack's, so nothing is sent there")
        return
    if done:
        message = payload.get("message") or {}
        kept = [block for block in message.get("blocks", []) if block.get("block_id") != BUTTONS]
        note = {"type": "section", "text": {"type": "plain_text", "text": said}}
        reply = {"replace_original": True, "text": message.get("text") or said, "blocks": [*kept, note]}
    else:
        reply = {"replace_original": False, "response_type": "ephemeral", "text": said}
    async with httpx.AsyncClient(timeout=5.0, follow_redirects=False, trust_env=True) as slack:
        answer = await slack.post(url, json=reply)
    if not answer.is_success:
        log.warning("Slack did not take the reply: status %s", answer.status_code)


def build_slack_actions() -> Callable[[Scope, Receive, Send], Awaitable[None]]:
    """Return the app with this installation's connections and lake."""
    from evermodel.core.settings import Settings

    return SlackActions(slack_app, Settings.from_environment().lake / "slack" / "seen")


def slack_app(connection_id: str) -> SlackApp | None:
    """Return the Slack app of an Airflow connection; asked in the API server."""
    from airflow.exceptions import AirflowNotFoundException
    from airflow.models.connection import Connection

    try:
        connection = Connection.get_connection_from_secrets(connection_id)
    except AirflowNotFoundException:
        return None
    return SlackApp.of(connection.extra_dejson) if connection.conn_type == "slack" else None
