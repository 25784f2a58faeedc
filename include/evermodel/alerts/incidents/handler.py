"""From a verdict to what people are told: every kind of problem has at most one incident, and says nothing twice."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock

from evermodel.alerts.incident_message import IncidentView, incident_message
from evermodel.alerts.incidents.cause import likely_cause
from evermodel.alerts.incidents.policy import answered
from evermodel.alerts.incidents.state import Action, Incident, IncidentState
from evermodel.alerts.incidents.store import (
    StoredIncidents,
    Transition,
    read_incidents,
    record,
    write_incidents,
)
from evermodel.alerts.publisher import Publisher, slack_destination
from evermodel.alerts.queue import MessageQueue
from evermodel.alerts.queued_message import Event
from evermodel.alerts.thread_messages import escalation_message, reminder_message, resolved_message
from evermodel.alerts.transport import Delivery
from evermodel.core.severity import RANK, Severity
from evermodel.monitoring.drift.verdict import DriftVerdict
from evermodel.monitoring.problems import KINDS, Problem, ProblemKind
from evermodel.spec import ModelSpec

if TYPE_CHECKING:
    from evermodel.registry.client import MlflowClient

_LOCK_SECONDS = 120.0


@dataclass(frozen=True)
class Handled:
    """What was done about one kind of problem.

    Parameters
    ----------
    incident
        Id of the incident that is open, or has just ended; empty for none.
    message
        Names the incident's first message in the queue; empty if nothing was said.
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
    run_id
        The MLflow run of the day, which keeps the history.
    links
        Label and address for the messages.
    next_step
        Says in a sentence what happens now about a kind of problem.
    draw
        Draws the columns into a PNG at a path; None for no picture.
    now
        When this happens; decides about quiet hours.
    """

    spec: ModelSpec
    client: MlflowClient
    queue: MessageQueue
    run_id: str
    links: Mapping[str, str]
    next_step: Callable[[ProblemKind], str]
    draw: Callable[[Path], Path] | None
    now: datetime

    def handle(self, verdict: DriftVerdict, as_of: datetime, folder: Path) -> list[Handled]:
        """Decide, remember, and queue what there is to say, the worst first.

        Parameters
        ----------
        verdict
            The verdict on the window.
        as_of
            End of the window.
        folder
            Where pictures are drawn; may go away afterwards.
        """
        self.queue.folder.mkdir(parents=True, exist_ok=True)
        with FileLock(self.queue.folder / f".{self.spec.name}.lock", timeout=_LOCK_SECONDS):
            before = read_incidents(self.client, self.spec.name)
            after, handled, transitions = before, [], []
            for kind in KINDS:
                book, done, problem = self._decide(before, verdict, kind, as_of)
                after = after.having(kind, book)
                handled.append(done)
                if problem is not None and done.action in ("open", "escalate", "remind", "resolve", "close"):
                    transitions.append(_transition(done, book, problem, verdict, as_of))
            # Written before anything is said: a step that is killed here and runs again decides the same.
            write_incidents(self.client, self.spec.name, after)
            record(self.client, self.run_id, transitions)
            for done in handled:
                self._tell(done, after.of(done.kind), verdict, as_of, folder)
        return sorted(handled, key=lambda done: (-RANK[done.severity], done.action == "quiet"))

    def remember_deliveries(self, handled: list[Handled]) -> dict[str, Delivery]:
        """Note in the registry where the incidents' first messages went, and return it by kind of problem."""
        lane = slack_destination(self.spec.alerts)
        found: dict[str, Delivery] = {}
        books = before = read_incidents(self.client, self.spec.name)
        for done in handled:
            delivery = self.queue.receipt(lane, done.message) if done.message else None
            if delivery is None:
                continue
            found[done.kind] = delivery
            incident = books.of(done.kind).incident
            if incident is not None and incident.id == done.incident:
                books = books.having(done.kind, books.of(done.kind).delivered(delivery))
        if books != before:
            write_incidents(self.client, self.spec.name, books)
        return found

    def _decide(
        self, books: StoredIncidents, verdict: DriftVerdict, kind: ProblemKind, as_of: datetime
    ) -> tuple[IncidentState, Handled, Problem | None]:
        book = books.of(kind)
        problem = answered(self.spec, verdict, kind)
        if problem is None:
            off = Problem(kind, "none", f"{kind} is switched off under `respond`")
            if book.incident is None or verdict.problem(kind) is None:
                return book, Handled(kind, "quiet", "none"), None
            closed = book.after("close", off, as_of, origin=books.origin)
            return closed, Handled(kind, "close", "none", book.incident.id), off
        action = book.next_action(problem, as_of, self.spec.alerts.remind)
        since = book.incident.opened if book.incident else as_of.isoformat()
        cause = likely_cause(verdict, kind, since)
        after = book.after(action, problem, as_of, origin=books.origin, cause=cause, version=verdict.version)
        subject = after.subject if action != "quiet" else None
        name = subject.id if subject else ""
        done = Handled(kind, action, problem.severity, name, f"{self.spec.name}/{name}" if name else "")
        return after, done, problem

    def _tell(
        self, done: Handled, book: IncidentState, verdict: DriftVerdict, as_of: datetime, folder: Path
    ) -> None:
        incident, problem = book.subject, answered(self.spec, verdict, done.kind)
        if done.action == "quiet" or done.action == "close" or incident is None or problem is None:
            return
        dispatch = Publisher(self.queue, self.spec, self.now)
        if incident.delivery:
            self._recall(done.message, incident.delivery)
        view = self._view(incident, problem, verdict, over=done.action == "resolve")
        picture = None
        if done.action in ("open", "escalate") and done.kind == "drift" and self.draw is not None:
            picture = self.draw(folder / f"{done.kind}.png")
        first = incident_message(view)
        event: Event = done.action
        dispatch.refresh(event, first, image=picture if event == "open" else None, url=view.url)
        self._second_channel(dispatch, event, view)
        if done.action == "open":
            dispatch.notify("open", first, url=view.url)
        elif done.action == "escalate":
            answer = escalation_message(view)
            dispatch.post("escalate", answer, thread=done.message, image=picture, url=view.url)
            dispatch.notify("escalate", answer, url=view.url)
        elif done.action in ("remind", "resolve"):
            remind = done.action == "remind"
            answer = (
                reminder_message(view, as_of)
                if remind
                else resolved_message(view, _ended_by(incident, verdict))
            )
            dispatch.post("remind" if remind else "resolve", answer, thread=done.message, url=view.url)
            dispatch.notify("remind" if remind else "resolve", answer, url=view.url)

    def _recall(self, message: str, delivery: Delivery) -> None:
        """Make the queue know a message again whose receipt it has lost."""
        lane = slack_destination(self.spec.alerts)
        if self.queue.receipt(lane, message) is None:
            self.queue.remember(lane, message, delivery)

    def _second_channel(self, dispatch: Publisher, event: Event, view: IncidentView) -> None:
        copy = incident_message(view, key=f"{view.name}-second")
        worse = event in ("open", "escalate") and view.problem.severity == "critical"
        if worse or dispatch.in_second_channel(copy):
            dispatch.second_channel(event, copy, url=view.url)

    def _view(
        self, incident: Incident, problem: Problem, verdict: DriftVerdict, *, over: bool
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
            over=over,
        )


def _ended_by(incident: Incident, verdict: DriftVerdict) -> str:
    if not incident.version or incident.version == verdict.version:
        return ""
    return f"Version {verdict.version} serves now; it began with version {incident.version}."


def _transition(
    done: Handled, book: IncidentState, problem: Problem, verdict: DriftVerdict, as_of: datetime
) -> Transition:
    incident = book.subject
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
