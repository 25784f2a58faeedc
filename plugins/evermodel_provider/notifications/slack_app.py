"""The Slack app behind the buttons of a connection: its signing secret, and the Airflow users of Slack users."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

SECRET_VARIABLE = "EVERMODEL_SLACK_SIGNING_SECRET"
USERS_VARIABLE = "EVERMODEL_SLACK_USERS"
DEFAULT_CONNECTION = "slack_api_default"


@dataclass(frozen=True)
class SlackApp:
    """A Slack app whose buttons are accepted; from the environment, because Airflow users may edit connections.

    Parameters
    ----------
    connection
        The Airflow connection whose messages have its buttons.
    users
        Slack's user id and the name of the Airflow user.
    base_url
        Address of the Web API, if not Slack's; for tests.
    """

    connection: str
    signing_secret: str = field(repr=False)
    users: Mapping[str, str]
    base_url: str = ""

    @classmethod
    def of(cls, connection: str, environ: Mapping[str, str] = os.environ) -> SlackApp | None:
        """Return the app of a connection, which is not looked up; None without a signing secret."""
        suffix = "" if connection == DEFAULT_CONNECTION else "_" + re.sub(r"\W", "_", connection).upper()
        secret = environ.get(SECRET_VARIABLE + suffix, "").strip()
        return cls(connection, secret, slack_users(environ)) if secret else None


def slack_users(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the Airflow users of Slack users; without any, messages have no buttons."""
    return dict(json.loads(environ.get(USERS_VARIABLE) or "{}"))
