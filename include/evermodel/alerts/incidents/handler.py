"""Turns a verdict into incidents and messages: one incident per kind of problem, each event reported once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from evermodel.alerts.incident_message import IncidentView, incident_message
from evermodel.alerts.incidents import table
from evermodel.alerts.incidents.cause import input_columns, likely_cause
from evermodel.alerts.incidents.response import Response, delete_responses, read_responses
from evermodel.alerts.incidents.response_message import response_line
from evermodel.alerts.incidents.shared import Member, tell_together
from evermodel.alerts.incidents.state import Action, Incident, IncidentState
from evermodel.alerts.incidents.store import (
    IncidentRecord,
    StoredIncidents,
    Transition,
)
from evermodel.alerts.publisher import Publisher, slack_destination
from evermodel.alerts.queue import MessageBatch, MessageQueue
from evermodel.alerts.queued_message import Delivery, Event
from evermodel.alerts.thread_messages import escalation_message, reminder_message, resolved_message
from evermodel.core.database.database import Database
from evermodel.monitoring.drift.verdict import DriftVerdict
from evermodel.monitoring.problems import KINDS, RANK, Problem, ProblemKind, Severity, worst_of
from evermodel.spec import ModelSpec

if TYPE_CHECKING:
    from sqlalchemy import Connection


def answered(spec: ModelSpec, verdict: DriftVerdict, kind: str) -> Problem | None:
    """Return the problem of one kind, as far as `respond` allows alerts.

    Returns
    -------
    None if the verdict has no such problem or the spec switches it off. Drift of switched-off kinds alone
    counts as none.
    """
    problem = verdict.problem(kind)
    if problem is None:
        return None
    if kind != "drift":
        return None if getattr(spec.respond, kind) == "off" else problem
    watched = [column for column in verdict.drifting if getattr(spec.respond, column.what) != "off"]
    if len(watched) == len(verdict.drifting):
        return problem
    if not watched:
        return replace(problem, severity="none", reason="the drifting kinds are switched off under `respond`")
    worst = worst_of(column.severity for column in watched)
    return replace(problem, severity=min(worst, problem.severity, key=("none", "warning", "critical").index))


@dataclass(frozen=True)
class Handled:
    """The action on one kind of problem.

    Parameters
    ----------
    incident
        Id of the open or just ended incident; empty for none.
    message
        Key of the incident's first message in the queue; empty without a message.
    """

    kind: ProblemKind
    action: Action
    severity: Severity
    incident: str = ""
    message: str = ""


@dataclass(frozen=True)
class IncidentHandler:
    """Handles the problems of one window of one model.

    Parameters
    ----------
    incidents
        Where pages, digests and the gate find the incidents.
    draw
        Plots the columns into a PNG at a path; None for no plot.
    now
        The current time; decides about quiet hours.
    answerable
        Whether a Slack app can receive buttons.
    """

    spec: ModelSpec
    incidents: IncidentRecord
    queue: MessageQueue
    links: Mapping[str, str]
    next_step: Callable[[ProblemKind], str]
    draw: Callable[[Path], Path] | None
    now: datetime
    answerable: bool = False

    def handle(self, verdict: DriftVerdict, as_of: datetime, folder: Path) -> list[Handled]:
        """Decide, store, and queue the messages, the worst problem first.

        Parameters
        ----------
        folder
            Temporary folder for the plots.
        """
        name = self.spec.name
        with self.queue.handling_incidents(name) as database:
            before, responses = self._stored(database), self._responses(database)
            after, handled, transitions = before, [], []
            for kind in KINDS:
                state, done, problem = self._decide(before, verdict, kind, as_of, responses)
                after = after.having(kind, state)
                handled.append(done)
                if problem is not None and done.action in ("open", "escalate", "remind", "resolve", "close"):
                    transitions.append(_transition(done, state, problem, verdict, as_of))
            batch = MessageBatch(self.queue)
            for done in handled:
                response = None if done.action == "escalate" else responses.get(done.incident)
                self._tell(batch, done, after.of(done.kind), verdict, as_of, folder, response)

            def also(connection: Connection) -> None:
                _write(connection, name, after, _answered_no_more(handled))
                self._share(connection, batch, handled, after, verdict, as_of)

            batch.write(also)
            # For pages, digests and the gate. A step that is interrupted here and runs again decides the same.
            self.incidents.write(after)
            self.incidents.record(transitions)
        return sorted(handled, key=lambda done: (-RANK[done.severity], done.action == "quiet"))

    def remember_deliveries(self, handled: list[Handled]) -> dict[str, Delivery]:
        """Store the deliveries of the incidents' first messages in the registry, and return them by kind of problem."""
        channel, name = slack_destination(self.spec.alerts), self.spec.name
        found: dict[str, Delivery] = {}
        with self.queue.handling_incidents(name) as database:
            stored = before = self._stored(database)
            for done in handled:
                delivery = self.queue.receipt(channel, done.message) if done.message else None
                if delivery is None:
                    continue
                found[done.kind] = delivery
                incident = stored.of(done.kind).incident
                if incident is not None and incident.id == done.incident:
                    stored = stored.having(done.kind, stored.of(done.kind).delivered(delivery))
            if stored != before:
                with database.writing() as connection:
                    table.write(connection, name, stored)
                self.incidents.write(stored)
        return found

    def _stored(self, database: Database) -> StoredIncidents:
        tagged = self.incidents.read()
        with database.reading() as connection:
            return table.newest(connection, self.spec.name, tagged)

    def _responses(self, database: Database) -> dict[str, Response]:
        """Return the responses that are in force."""
        with database.reading() as connection:
            found = read_responses(connection, self.spec.name)
        return {name: response for name, response in found.items() if response.holds(self.now)}

    def _decide(
        self,
        stored: StoredIncidents,
        verdict: DriftVerdict,
        kind: ProblemKind,
        as_of: datetime,
        responses: Mapping[str, Response],
    ) -> tuple[IncidentState, Handled, Problem | None]:
        state = stored.of(kind)
        problem = answered(self.spec, verdict, kind)
        if problem is None:
            off = Problem(kind, "none", f"{kind} is switched off under `respond`")
            if state.incident is None or verdict.problem(kind) is None:
                return state, Handled(kind, "quiet", "none"), None
            closed = state.after("close", off, as_of, origin=stored.origin)
            return closed, Handled(kind, "close", "none", state.incident.id), off
        response = responses.get(state.incident.id) if state.incident else None
        action = state.next_action(
            problem,
            as_of,
            self.spec.alerts.remind,
            lambda wanted: response is not None and response.silences(wanted),
        )
        since = state.incident.opened if state.incident else as_of.isoformat()
        cause = likely_cause(verdict, kind, since)
        after = state.after(
            action, problem, as_of, origin=stored.origin, cause=cause, version=verdict.version
        )
        subject = after.subject if action != "quiet" else None
        name = subject.id if subject else ""
        done = Handled(kind, action, problem.severity, name, f"{self.spec.name}/{name}" if name else "")
        return after, done, problem

    def _tell(
        self,
        batch: MessageBatch,
        done: Handled,
        state: IncidentState,
        verdict: DriftVerdict,
        as_of: datetime,
        folder: Path,
        response: Response | None,
    ) -> None:
        incident, problem = state.subject, answered(self.spec, verdict, done.kind)
        if done.action == "quiet" or done.action == "close" or incident is None or problem is None:
            return
        publisher = Publisher(self.queue, self.spec, self.now, batch)
        if incident.delivery:
            self._recall(done.message, incident.delivery)
        view = self._view(incident, problem, verdict, response, over=done.action == "resolve")
        picture = None
        if done.action in ("open", "escalate") and done.kind == "drift" and self.draw is not None:
            picture = self.draw(folder / f"{done.kind}.png")
        first = incident_message(view)
        event: Event = done.action
        publisher.refresh(event, first, image=picture if event == "open" else None, url=view.url)
        self._second_channel(publisher, event, view)
        if done.action == "open":
            publisher.notify("open", first, url=view.url)
        elif done.action == "escalate":
            answer = escalation_message(view)
            publisher.announce(event, answer, thread=done.message, image=picture, url=view.url)
        elif done.action == "remind":
            publisher.announce(event, reminder_message(view, as_of), thread=done.message, url=view.url)
        elif done.action == "resolve":
            answer = resolved_message(view, _ended_by(incident, verdict))
            publisher.announce(event, answer, thread=done.message, url=view.url)

    def _share(
        self,
        connection: Connection,
        batch: MessageBatch,
        handled: list[Handled],
        after: StoredIncidents,
        verdict: DriftVerdict,
        as_of: datetime,
    ) -> None:
        """Tell drift together with that of other models from the same source."""
        done = next(one for one in handled if one.kind == "drift")
        incident = after.of("drift").subject
        if done.action == "quiet" or incident is None:
            return
        over = done.action in ("resolve", "close")
        url = next((url for url in self.links.values() if url), "")
        moved = tuple(input_columns(verdict.drifting))
        member = Member(self.spec.name, incident.id, done.severity, moved, url, over)
        publisher = Publisher(self.queue, self.spec, self.now, batch)
        tell_together(connection, publisher, member, as_of, opens=done.action == "open")

    def _recall(self, message: str, delivery: Delivery) -> None:
        """Restore a message's lost receipt in the queue."""
        channel = slack_destination(self.spec.alerts)
        if self.queue.receipt(channel, message) is None:
            self.queue.remember(channel, message, delivery)

    def _second_channel(self, publisher: Publisher, event: Event, view: IncidentView) -> None:
        copy = incident_message(view, key=f"{view.name}-second")
        worse = event in ("open", "escalate") and view.problem.severity == "critical"
        if worse or publisher.in_second_channel(copy):
            publisher.second_channel(event, copy, url=view.url)

    def _view(
        self,
        incident: Incident,
        problem: Problem,
        verdict: DriftVerdict,
        response: Response | None,
        *,
        over: bool,
    ) -> IncidentView:
        alerts = self.spec.alerts
        critical = problem.severity == "critical"
        notified = dict.fromkeys([*alerts.mention, *(alerts.escalation.mention if critical else ())])
        return IncidentView(
            name=incident.id,
            problem=problem,
            verdict=verdict,
            opened=incident.opened,
            worst=incident.severity,
            links=self.links,
            next_step="" if over else self.next_step(problem.kind),
            cause=incident.cause,
            owner=self.spec.owner,
            mention=tuple(notified),
            answerable=self.answerable,
            response="" if response is None else response_line(response),
            over=over,
        )


def _write(connection: Connection, model: str, stored: StoredIncidents, over: list[str]) -> None:
    table.write(connection, model, stored)
    delete_responses(connection, model, over)


def _answered_no_more(handled: list[Handled]) -> list[str]:
    """Return the incidents whose response ends: they ended themselves, or became worse than what was answered."""
    return [done.incident for done in handled if done.action in ("resolve", "close", "escalate")]


def _ended_by(incident: Incident, verdict: DriftVerdict) -> str:
    if not incident.version or incident.version == verdict.version:
        return ""
    return f"Version {verdict.version} is the champion; the incident began with version {incident.version}."


def _transition(
    done: Handled, state: IncidentState, problem: Problem, verdict: DriftVerdict, as_of: datetime
) -> Transition:
    incident = state.subject
    return Transition(
        incident=done.incident,
        kind=done.kind,
        action=done.action,
        severity=problem.severity if incident is None or problem.severity != "none" else incident.severity,
        at=as_of.isoformat(),
        opened=incident.opened if incident else as_of.isoformat(),
        version=verdict.version,
        reason=problem.reason,
        cause=incident.cause if incident else "",
    )
