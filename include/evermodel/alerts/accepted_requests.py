"""The requests of Slack's buttons that were accepted in the last minutes, so that no API server accepts one twice."""

from __future__ import annotations

import hashlib

from sqlalchemy import delete, insert
from sqlalchemy.exc import IntegrityError

from evermodel.core.database.clock import now
from evermodel.core.database.schema import open_database
from evermodel.core.database.tables import slack_requests

FRESH_SECONDS = 300
_KEPT_SECONDS = 4 * FRESH_SECONDS  # clocks may differ in both directions


def accept_once(address: str, signature: str) -> bool:
    """Record a request by its signature; return whether it is new, in exactly one of several processes.

    Parameters
    ----------
    address
        URL of the database.

    Raises
    ------
    DatabaseUnavailableError
        The database does not answer.
    """
    row = {"signature_sha256": hashlib.sha256(signature.encode()).hexdigest(), "at": now()}
    try:
        with open_database(address).writing() as connection:
            connection.execute(delete(slack_requests).where(slack_requests.c.at < now() - _KEPT_SECONDS))
            connection.execute(insert(slack_requests).values(row))
    except IntegrityError:
        return False
    return True
