"""The endpoint of Slack's buttons: those of an approval, and those of an incident."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import quote

import httpx
from starlette.background import BackgroundTask
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from evermodel.alerts.approval_message import APPROVE, BUTTONS, REJECT, ApprovalForm
from evermodel.alerts.incident_message import INCIDENT_BUTTONS, RESPONSES
from evermodel.core.logins import log_hosts_only
from evermodel_provider.notifications.slack_app import DEFAULT_CONNECTION, SlackApp
from evermodel_provider.ui.airflow_users import token_for
from evermodel_provider.ui.slack_incidents import press_button, unmapped
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

    Airflow does not authenticate the caller: a request is accepted only with Slack's signature, within five minutes, once.
    The approval goes through Airflow's own API, with a token of the user who pressed the button, so that Airflow's checks
    and logs apply as they do for the form.

    :param connect: Returns the Slack app of a connection id; None if there is none.
    :param database: URL of the database, which remembers accepted requests for all API servers.
    """

    def __init__(self, connect: Callable[[str], SlackApp | None], database: str) -> None:
        self._connect = connect
        self._database = database

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Accept a button: 200 at once, because Slack waits for three seconds, then the approval."""
        if scope["type"] != "http":
            return
        # Airflow's own app, in which this one is mounted.
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
            raise RefusedError("no signature of the last five minutes")
        try:
            body = await asyncio.wait_for(_read(request), _READ_SECONDS)
        except (TimeoutError, ClientDisconnect) as error:
            raise RefusedError("its body is incomplete") from error
        app = self._connect(_connection_id(request.scope))
        if app is None:
            raise RefusedError("no Slack app with a signing secret is configured for it")
        await asyncio.to_thread(verify, app.signing_secret, headers, body, self._database)
        return app, payload_of(body)


def _connection_id(scope: Scope) -> str:
    path = str(scope["path"]).removeprefix(str(scope.get("root_path", ""))).rstrip("/")
    name = path.removeprefix(_PREFIX).lstrip("/") if path.startswith(_PREFIX) else "/"
    if "/" in name:
        raise RefusedError("its address is not an endpoint")
    return name or DEFAULT_CONNECTION


async def _read(request: Request) -> bytes:
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > MOST_BYTES:
            raise RefusedError("its body is too large")
    return body


async def _handle(airflow: Any, app: SlackApp, payload: dict[str, Any]) -> None:
    """Send the approval to Airflow and the result to Slack; errors are logged."""
    try:
        if payload.get("type") != "block_actions":
            return
        pressed, person = (payload.get("actions") or [{}])[0], str(payload["user"]["id"])
        action, value = pressed.get("action_id"), pressed.get("value", "")
        if action in _CHOICES:
            form = ApprovalForm.loads(value)
            done, text = await _answer(airflow, app, _CHOICES[action], form, person)
        elif action in RESPONSES:
            done, text = await asyncio.to_thread(press_button, app, action, value, person)
        else:
            return
        log.info("Slack user %s, %s %s: %s", person, action, value, text)
        await _reply(app, payload, done, text)
    except Exception:
        log.exception("A Slack button could not be handled")


async def _answer(
    airflow: Any, app: SlackApp, choice: str, form: ApprovalForm, person: str
) -> tuple[bool, str]:
    name = app.users.get(person)
    known = await asyncio.to_thread(token_for, name) if name else None
    if name is None or known is None:
        return False, unmapped(person)
    user_id, token = known
    transport = httpx.ASGITransport(airflow, raise_app_exceptions=False)
    headers = {"Authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(transport=transport, base_url="http://airflow", headers=headers) as api:
        pending = await api.get(_address(form))
        problem = _problem(pending, form, user_id, app.connection)
        if problem:
            return False, problem
        filled_in = {"comment": None, "decision": form.digest}
        response = await api.patch(
            _address(form), json={"chosen_options": [choice], "params_input": filled_in}
        )
    if response.is_success:
        return True, f"{'Approved' if choice == 'Approve' else 'Rejected'} by {name}, from Slack."
    return False, _REFUSALS.get(response.status_code, _FAILED)


_FAILED = "Airflow did not accept the approval. Use the form."
_REFUSALS = {
    401: "Your Airflow account is no longer valid. Ask an administrator.",
    403: "You are not among the approvers of this version.",
    404: "This approval request no longer exists.",
    409: "This version was already approved or rejected.",
}


def _address(form: ApprovalForm) -> str:
    dag, run, task = (quote(part, safe="") for part in (form.dag_id, form.run_id, form.task_id))
    return f"/api/v2/dags/{dag}/dagRuns/{run}/taskInstances/{task}/-1/hitlDetails"


def _problem(pending: httpx.Response, form: ApprovalForm, user_id: str, connection: str) -> str | None:
    """Return why this button does not match the pending approval."""
    if not pending.is_success:
        return _REFUSALS.get(pending.status_code, _FAILED)
    detail = pending.json()
    if detail["response_received"]:
        return _REFUSALS[409]
    asked = detail["params"].get("decision", {})
    shown = asked.get("value")
    if asked.get("schema", {}).get("slack_connection") != connection:
        return "This model's approvals are answered through another Slack app. Use the form."
    if shown != form.digest or not detail["subject"].startswith(f"Make version {form.version} of "):
        return "This button belongs to an earlier decision. Use the form."
    # Airflow checks this too, except for its administrators.
    allowed = {str(user["id"]) for user in detail["assigned_users"]}
    return _REFUSALS[403] if allowed and user_id not in allowed else None


async def _reply(app: SlackApp, payload: dict[str, Any], done: bool, text: str) -> None:
    """Replace the buttons by the result, or show the reason to this user only."""
    url = str(payload.get("response_url", ""))
    if not may_reply(url, app.base_url):
        log.warning("The reply address is not Slack's, so no reply is sent")
        return
    if done:
        message = payload.get("message") or {}
        rows = (BUTTONS, INCIDENT_BUTTONS)
        kept = [block for block in message.get("blocks", []) if block.get("block_id") not in rows]
        note = {"type": "section", "text": {"type": "plain_text", "text": text}}
        reply = {"replace_original": True, "text": message.get("text") or text, "blocks": [*kept, note]}
    else:
        reply = {"replace_original": False, "response_type": "ephemeral", "text": text}
    log_hosts_only()
    async with httpx.AsyncClient(timeout=5.0, follow_redirects=False, trust_env=True) as slack:
        answer = await slack.post(url, json=reply)
    if not answer.is_success:
        log.warning("Slack refused the reply: status %s", answer.status_code)


def build_slack_actions() -> Callable[[Scope, Receive, Send], Awaitable[None]]:
    """Return the app with this installation's environment and database."""
    from evermodel.core.settings import Settings

    return SlackActions(SlackApp.of, Settings.from_environment().database_url)
