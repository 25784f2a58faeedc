"""Answers an open incident: an audit line, the response, and a reply in the incident's thread, as one step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from evermodel.alerts.incident_message import ResponseKind
from evermodel.alerts.incidents import table
from evermodel.alerts.incidents.response import (
    Response,
    delete_responses,
    read_responses,
    write_response,
)
from evermodel.alerts.incidents.response_message import response_message, withdrawn_message
from evermodel.alerts.incidents.state import Incident
from evermodel.alerts.incidents.store import WATCHED, StoredIncidents, read_incidents
from evermodel.alerts.publisher import Publisher
from evermodel.alerts.queue import MessageBatch, MessageQueue
from evermodel.core.errors import IncidentError
from evermodel.monitoring.problems import KINDS, ProblemKind
from evermodel.registry.audit import audit
from evermodel.registry.tracking import ignoring
from evermodel.spec import ModelSpec

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from evermodel.alerts.message import Message
    from evermodel.core.database.database import Database
    from evermodel.registry.client import MlflowClient

LONGEST = timedelta(days=90)


@dataclass(frozen=True)
class OpenIncident:
    """An open incident, and the response that is in force; None without one."""

    kind: ProblemKind
    incident: Incident
    response: Response | None


@dataclass(frozen=True)
class IncidentResponder:
    """Lists a model's open incidents, and records what people answer to them.

    Parameters
    ----------
    client
        Of MLflow; None for a watched model, whose answers are in the database alone.
    now
        The current time.
    """

    spec: ModelSpec
    client: MlflowClient | None
    queue: MessageQueue
    now: datetime

    def open_incidents(self) -> list[OpenIncident]:
        """Return the open incidents."""
        return self._open(self.queue.database)

    def respond(
        self,
        kind: ProblemKind | None,
        answer: ResponseKind,
        *,
        by: str,
        span: timedelta | None,
        note: str,
        incident: str = "",
    ) -> Response:
        """Answer an open incident; another answer replaces the one before.

        Parameters
        ----------
        kind
            Kind of problem; None for the only open one.
        by
            Login of the person.
        span
            How long it holds; None: until the incident ends.
        incident
            Id of the incident, if it was shown; another open one is not answered.

        Raises
        ------
        IncidentError
            No such incident is open, or several are and `kind` is None; or the span is longer than 90 days.
        """
        if span is not None and not timedelta(0) < span <= LONGEST:
            raise IncidentError(f"{span} is no time for a response", f"choose up to {LONGEST.days} days")
        until = "" if span is None else (self.now + span).isoformat(timespec="seconds")
        with self.queue.handling_incidents(self.spec.name) as database:
            found = self._one(database, kind, incident)
            at = self.now.isoformat(timespec="seconds")
            response = Response(found.incident.id, answer, by, at, until, note.strip())
            self._write(
                found,
                answer,
                response_message(self.spec, found.kind, response),
                lambda connection: write_response(connection, self.spec.name, response),
                by=by,
                until=until or None,
                note=response.note or None,
            )
        return response

    def withdraw(self, kind: ProblemKind | None, *, by: str, incident: str = "") -> str:
        """Delete the response to an open incident, and return the incident's id; see `respond`.

        Raises
        ------
        IncidentError
            No such incident is open, or nobody has answered it.
        """
        with self.queue.handling_incidents(self.spec.name) as database:
            found = self._one(database, kind, incident)
            name, at = found.incident.id, self.now.isoformat(timespec="seconds")
            if found.response is None:
                raise IncidentError(
                    f"model {self.spec.name}: nobody has answered incident {name}",
                    "list the open ones with `evermodel incident list`",
                )
            self._write(
                found,
                "withdrawn",
                withdrawn_message(self.spec, found.kind, name, by, at),
                lambda connection: delete_responses(connection, self.spec.name, [name]),
                by=by,
            )
        return name

    def _write(
        self,
        found: OpenIncident,
        answer: str,
        message: Message,
        change: Callable[[Connection], None],
        **facts: str | None,
    ) -> None:
        model, name, at = self.spec.name, found.incident.id, self.now.isoformat(timespec="seconds")
        if self.client is not None:
            audit(self.client, f"incident {answer}", model, incident=name, at=at, **facts)
        batch = MessageBatch(self.queue)
        publisher = Publisher(self.queue, self.spec, self.now, batch)
        publisher.post("update", message, thread=f"{model}/{name}")
        batch.write(change)

    def _one(self, database: Database, kind: ProblemKind | None, name: str = "") -> OpenIncident:
        found = [one for one in self._open(database) if kind in (None, one.kind)]
        if name:
            found = [one for one in found if one.incident.id == name]
        kinds = ", ".join(one.kind for one in found)
        if not found:
            what = f"no open incident {name or (kind and f'of kind {kind}') or ''}".rstrip()
            raise IncidentError(
                f"model {self.spec.name} has {what}", "list the open ones with `evermodel incident list`"
            )
        if len(found) > 1:
            raise IncidentError(f"model {self.spec.name} has several open incidents", f"name one of: {kinds}")
        return found[0]

    def _open(self, database: Database) -> list[OpenIncident]:
        tagged = StoredIncidents(WATCHED, {}) if self.client is None else self._tagged(self.client)
        if tagged is None:
            return []  # before the model's first retrain
        with database.reading() as connection:
            stored = table.newest(connection, self.spec.name, tagged)
            responses = read_responses(connection, self.spec.name)
        return _open_ones(stored, responses, self.now)

    def _tagged(self, client: MlflowClient) -> StoredIncidents | None:
        with ignoring("RESOURCE_DOES_NOT_EXIST"):
            return read_incidents(client, self.spec.name)
        return None


def _open_ones(stored: StoredIncidents, responses: dict[str, Response], now: datetime) -> list[OpenIncident]:
    found = []
    for kind in KINDS:
        incident = stored.of(kind).incident
        if incident is not None:
            response = responses.get(incident.id)
            in_force = response if response is not None and response.holds(now) else None
            found.append(OpenIncident(kind, incident, in_force))
    return found
