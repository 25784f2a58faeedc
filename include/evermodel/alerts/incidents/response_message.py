"""The replies in an incident's thread about what a person answered to it."""

from __future__ import annotations

from evermodel.alerts.blocks import section
from evermodel.alerts.incident_message import TITLES
from evermodel.alerts.incidents.response import Response
from evermodel.alerts.message import Message, compose
from evermodel.alerts.text import moment, words
from evermodel.monitoring.problems import ProblemKind
from evermodel.spec import ModelSpec

_MEANS = {
    "acknowledged": "Reminders stop, unless it becomes worse.",
    "muted": "Reminders and escalations stop.",
    "expected": "Reminders and escalations stop: the change is intended.",
}


def response_line(response: Response) -> str:
    """Return who answered an incident, how, until when, and why, as plain text."""
    until = f" until {moment(response.until)}" if response.until else ""
    return f"{response.kind.capitalize()} by {response.by}{until}" + (
        f": {response.note}" if response.note else ""
    )


def response_message(spec: ModelSpec, kind: ProblemKind, response: Response) -> Message:
    """Build the reply about a response."""
    key = f"{response.incident}-{response.kind}-{response.at}"
    title = f"{TITLES[kind]} {response.kind} by {response.by}"
    return _reply(spec, key, response.incident, title, response_line(response), _MEANS[response.kind])


def withdrawn_message(spec: ModelSpec, kind: ProblemKind, incident: str, by: str, at: str) -> Message:
    """Build the reply about a response that was taken back."""
    title = f"{TITLES[kind]}: response withdrawn by {by}"
    means = "Reminders and escalations go on."
    return _reply(spec, f"{incident}-withdrawn-{at}", incident, title, means)


def _reply(spec: ModelSpec, key: str, incident: str, title: str, *lines: str) -> Message:
    return compose(
        key=key,
        model=spec.name,
        severity="info",
        title=f"{spec.name}: {title}",
        plain=list(lines),
        body=[section(*(words(line, 600) for line in lines))],
        links={},
        footer=f"incident {words(incident, 80)}",
    )
