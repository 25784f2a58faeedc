"""Check of Slack: the token and its scopes."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

from airflow.providers.common.compat.sdk import AirflowNotFoundException
from airflow.providers.slack.hooks.slack import SlackHook
from slack_sdk.errors import SlackApiError, SlackClientError

from evermodel.core.diagnostics import Finding, first_line
from evermodel.core.settings import Settings
from evermodel.spec import load_specs
from evermodel_provider.notifications.delivery import ask_airflow_database
from evermodel_provider.notifications.errors import explained

# The use of each scope; only the first is required.
_SCOPES = {
    "chat:write": "messages",
    "files:write": "plots in an incident's thread",
    "channels:history": "no repeated message after a crash",
}
_SECONDS = 8
_QUIET = logging.getLogger(__name__)
_QUIET.setLevel(logging.CRITICAL + 1)  # errors become findings


def check_slack(settings: Settings) -> Iterator[Finding]:
    """Check the connection of every model; the token is never shown."""
    specs, _ = load_specs(settings=settings)
    for name in sorted({spec.alerts.slack_connection for spec in specs} or {"slack_api_default"}):
        yield _connection(name, settings)


def _connection(name: str, settings: Settings) -> Finding:
    ask_airflow_database()
    try:
        connection = SlackHook.get_connection(name)
    except AirflowNotFoundException:
        return Finding(
            "Slack",
            "yellow",
            f"no connection {name}; messages go to {settings.outbox}",
            f"create the Airflow connection {name} (type Slack API, the bot token as password), or keep the outbox",
        )
    if not connection.password:
        return Finding(
            "Slack",
            "red",
            f"connection {name} has no token",
            "put the bot token (xoxb-...) into its password",
        )
    try:
        client = SlackHook(slack_conn_id=name, timeout=_SECONDS, retry_handlers=[], logger=_QUIET).client
        answer = client.auth_test()
    except SlackApiError as error:
        known = explained(error.response, name, "")
        return Finding(
            "Slack", "red", known.problem, known.advice or "see the error in Slack's documentation"
        )
    except (SlackClientError, OSError) as error:
        return Finding(
            "Slack",
            "red",
            f"connection {name}: Slack cannot be reached ({first_line(error)})",
            "check the network, and base_url and proxy in the connection's extra",
        )
    return _scopes(name, answer)


def _scopes(name: str, answer: Any) -> Finding:
    """Return the missing scopes; Slack lists the token's scopes in a header of every response."""
    headers = {key.lower(): value for key, value in answer.headers.items()}
    given = headers.get("x-oauth-scopes")
    who = f"connection {name}: {answer.get('user', 'the app')} in {answer.get('team', 'Slack')}"
    if given is None:
        return Finding("Slack", "green", f"{who}; the scopes are unknown")
    has = {scope.strip() for scope in given.split(",")}
    lacks = [scope for scope in _SCOPES if scope not in has]
    if not lacks:
        return Finding("Slack", "green", f"{who}, with {', '.join(_SCOPES)}")
    missing = ", ".join(f"{scope} ({_SCOPES[scope]})" for scope in lacks)
    return Finding(
        "Slack",
        "red" if "chat:write" in lacks else "yellow",
        f"{who}, without {missing}",
        "add the scopes to the app under OAuth & Permissions and install it again",
    )
