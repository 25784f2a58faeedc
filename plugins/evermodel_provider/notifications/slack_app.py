"""The Slack app behind a connection: its signing secret, and the Airflow users of Slack users."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

SECRET_VARIABLE = "EVERMODEL_SLACK_SIGNING_SECRET"


@dataclass(frozen=True)
class SlackApp:
    """The Slack app's settings in the extra of the Slack connection.

    Parameters
    ----------
    signing_secret
        Key ``signing_secret``; default: the environment's ``EVERMODEL_SLACK_SIGNING_SECRET``.
    users
        Key ``users``: Slack's user id and the name of the Airflow user.
    base_url
        Key ``base_url``: address of the Web API, if not Slack's.
    """

    signing_secret: str = field(repr=False)
    users: Mapping[str, str]
    base_url: str = ""

    @classmethod
    def of(cls, extra: Mapping[str, Any], environ: Mapping[str, str] = os.environ) -> SlackApp | None:
        """Return the app of a connection's extra; None without a signing secret."""
        secret = str(extra.get("signing_secret") or environ.get(SECRET_VARIABLE) or "").strip()
        users = extra.get("users") or {}
        users = json.loads(users) if isinstance(users, str) else users
        return cls(secret, dict(users), str(extra.get("base_url") or "")) if secret else None


def has_slack_app(connection_id: str) -> bool:
    """Return whether the buttons in this connection's messages work; called in a task."""
    from airflow.providers.slack.hooks.slack import SlackHook
    from airflow.sdk.exceptions import AirflowNotFoundException

    try:
        connection = SlackHook.get_connection(connection_id)
    except AirflowNotFoundException:
        return False
    return SlackApp.of(connection.extra_dejson) is not None
