"""The endpoint of Slack's buttons Approve and Reject, and the Airflow user of a Slack user."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import quote

import httpx
from airflow.api_fastapi.app import get_auth_manager
from airflow.configuration import conf
from starlette.background import BackgroundTask
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from evermodel.alerts.approval_message import APPROVE, BUTTONS, REJECT, ApprovalForm
from evermodel_provider.notifications.slack_app import DEFAULT_CONNECTION, SlackApp
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
        pressed = _pressed(payload)
        if pressed is None:
            return
        choice, form, person = pressed
        done, text = await _answer(airflow, app, choice, form, person)
        log.info("Slack user %s, version %s: %s", person, form.version, text)
        await _reply(app, payload, done, text)
    except Exception:
        log.exception("A Slack button could not be handled")


def _pressed(payload: dict[str, Any]) -> tuple[str, ApprovalForm, str] | None:
    """Return choice, approval form and Slack user; None for other buttons."""
    actions = payload.get("actions") or [{}]
    choice = _CHOICES.get(actions[0].get("action_id"))
    if payload.get("type") != "block_actions" or choice is None:
        return None
    return choice, ApprovalForm.loads(actions[0].get("value", "")), str(payload["user"]["id"])


async def _answer(
    airflow: Any, app: SlackApp, choice: str, form: ApprovalForm, person: str
) -> tuple[bool, str]:
    name = app.users.get(person)
    known = await asyncio.to_thread(token_for, name) if name else None
    if name is None or known is None:
        return (
            False,
            f"Slack user {person} is not mapped to an Airflow user. Ask an administrator to add the mapping.",
        )
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
        kept = [block for block in message.get("blocks", []) if block.get("block_id") != BUTTONS]
        note = {"type": "section", "text": {"type": "plain_text", "text": text}}
        reply = {"replace_original": True, "text": message.get("text") or text, "blocks": [*kept, note]}
    else:
        reply = {"replace_original": False, "response_type": "ephemeral", "text": text}
    async with httpx.AsyncClient(timeout=5.0, follow_redirects=False, trust_env=True) as slack:
        answer = await slack.post(url, json=reply)
    if not answer.is_success:
        log.warning("Slack refused the reply: status %s", answer.status_code)


def build_slack_actions() -> Callable[[Scope, Receive, Send], Awaitable[None]]:
    """Return the app with this installation's environment and database."""
    from evermodel.core.settings import Settings

    return SlackActions(SlackApp.of, Settings.from_environment().database_url)


_TOKEN_SECONDS = 60


def token_for(name: str) -> tuple[str, str] | None:
    """Return a user's id, and a token of one minute for Airflow's API as this user.

    :param name: Name of the user in Airflow.
    :returns: None if the user does not exist, the account is disabled, or the auth manager cannot look up users (then
        only the form works).
    """
    manager: Any = get_auth_manager()
    found = _find(manager, name)
    if found is None:
        return None
    return str(found.get_id()), manager.generate_jwt(found, expiration_time_in_seconds=_TOKEN_SECONDS)


def _find(manager: Any, name: str) -> Any:
    kinds = {base.__name__ for base in type(manager).__mro__}
    if "SimpleAuthManager" in kinds:
        return _simple(manager, name)
    if "FabAuthManager" in kinds:
        return _fab(name)
    return None


def _simple(manager: Any, name: str) -> Any:
    if conf.getboolean("core", "simple_auth_manager_all_admins"):
        from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser

        return SimpleAuthManagerUser(username=name, role="ADMIN")
    return next((user for user in manager.get_users() if user.username == name), None)


def _fab(name: str) -> Any:
    from airflow.providers.fab.auth_manager.models import User
    from airflow.utils.session import create_session
    from sqlalchemy import select

    with create_session() as session:
        user = session.scalar(select(User).where(User.username == name))
        return user if user is not None and user.is_active else None
