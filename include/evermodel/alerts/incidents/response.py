"""What a person answers to an open incident: acknowledged, muted, or expected; it ends with the incident at the latest."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from typing import TYPE_CHECKING

from sqlalchemy import delete, insert, select, true

from evermodel.alerts.incident_message import ResponseKind
from evermodel.core.database.tables import incident_responses
from evermodel.core.formats import loads, stamped
from evermodel.spec.window import parse_moment

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Connection

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Response:
    """An answer to an incident.

    Parameters
    ----------
    incident
        The incident's id.
    kind
        ``acknowledged`` stops reminders, until the incident becomes worse; ``muted`` and ``expected`` stop escalations too.
    at, until
        ISO 8601; an empty `until` is the incident's end.
    """

    incident: str
    kind: ResponseKind
    by: str
    at: str
    until: str = ""
    note: str = ""

    def holds(self, now: datetime) -> bool:
        """Return whether its time is not over."""
        return not self.until or now < parse_moment(self.until)

    def silences(self, action: str) -> bool:
        """Return whether it stops an action of the incident.

        >>> answer = Response("drift-1", "acknowledged", "ada", "2026-01-05T12:00:00+00:00")
        >>> answer.silences("remind"), answer.silences("escalate"), answer.silences("resolve")
        (True, False, False)
        """
        return action == "remind" or (action == "escalate" and self.kind != "acknowledged")


def read_responses(connection: Connection, model: str) -> dict[str, Response]:
    """Return a model's responses by the incident's id; one that cannot be read is as if it was never given."""
    mine = incident_responses.c.model == model
    return {response.incident: response for _, response in _read(connection, mine)}


def responses_in_force(connection: Connection, now: datetime) -> dict[tuple[str, str], Response]:
    """Return the responses to incidents of all models whose time is not over, by model and the incident's id."""
    found = _read(connection, true())
    return {(model, one.incident): one for model, one in found if one.holds(now)}


def _read(connection: Connection, where: ColumnElement[bool]) -> Iterator[tuple[str, Response]]:
    table, known = incident_responses.c, {field.name for field in fields(Response)}
    for model, text in connection.execute(select(table.model, table.content).where(where)):
        try:
            data = loads(text, f"a response of model {model}")
            response = Response(**{name: value for name, value in data.items() if name in known})
        except (ValueError, TypeError, AttributeError):
            _log.error("a response to an incident of model %s cannot be read: %.500s", model, text)
            continue
        yield model, response


def write_response(connection: Connection, model: str, response: Response) -> None:
    """Write a response inside a transaction, in place of an earlier one to the same incident."""
    delete_responses(connection, model, [response.incident])
    row = {
        "model": model,
        "incident": response.incident,
        "content": json.dumps(stamped(asdict(response))),
    }
    connection.execute(insert(incident_responses).values(row))


def delete_responses(connection: Connection, model: str, names: Iterable[str]) -> None:
    """Delete the responses to some incidents inside a transaction."""
    table = incident_responses.c
    connection.execute(
        delete(incident_responses).where(table.model == model, table.incident.in_(list(names)))
    )
