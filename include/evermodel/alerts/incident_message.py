"""The first message of an incident, updated in place: problem, start, severity, cause and next step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Literal

from evermodel.alerts.blocks import Block, Button, ButtonForm, buttons, divider, fields, section
from evermodel.alerts.message import Message, MessageSeverity, compose
from evermodel.alerts.text import code, mention, moment, words
from evermodel.monitoring.drift.figures import effect_figure, limit_figure, performance_figure, tests_figure
from evermodel.monitoring.drift.verdict import ColumnDrift, DriftVerdict
from evermodel.monitoring.problems import Problem, Severity

ResponseKind = Literal["acknowledged", "muted", "expected"]
MOST_COLUMNS = 6
MOST_DETAILS = 6
# Labels of tests other than the column's distribution.
_TESTED = {
    "prediction": "predictions",
    "label": "labels",
    "concept": "relation to the label",
    "missing": "missing values",
    "category": "new categories",
    "correlation": "correlation",
    "together": "together",
    "attribution": "weight in the answers",
}


def span(verdict: DriftVerdict) -> str:
    """Name a window."""
    return f"{moment(verdict.start)} until {moment(verdict.end)}"


def rows(verdict: DriftVerdict) -> str:
    """Return the row counts of the window and the reference."""
    return f"{verdict.window_rows:,} against {verdict.reference_rows:,} of {verdict.reference}"


def column_line(column: ColumnDrift) -> str:
    """Return the line of Slack's mrkdwn about one column."""
    tested = f" ({_TESTED[column.what]})" if column.what in _TESTED else ""
    return (
        f"• {code(column.column)}{tested} *{words(effect_figure(column), 80)}*, {words(limit_figure(column), 120)}"
        + (f": {words(column.summary, 200)}" if column.summary else "")
    )


def plain_column(column: ColumnDrift) -> str:
    """Return the line of plain text about one column."""
    tested = f" ({_TESTED[column.what]})" if column.what in _TESTED else ""
    text = f"{column.column}{tested}: {effect_figure(column)} ({column.severity}), {limit_figure(column)}"
    return f"{text}: {column.summary}" if column.summary else text


def detail_lines(details: Sequence[str]) -> list[str]:
    """Return the lines of Slack's mrkdwn about the details of a problem."""
    return [*(f"• {words(detail)}" for detail in details[:MOST_DETAILS]), *more(len(details) - MOST_DETAILS)]


def more(count: int) -> list[str]:
    """Return the number of omitted lines, if any."""
    return [f"and {count} more, see the report"] if count > 0 else []


TITLES = {
    "drift": "drift",
    "quality": "bad data",
    "performance": "performance below baseline",
    "serving": "serving below its objectives",
    "skew": "skew of served features",
}


INCIDENT_BUTTONS = "evermodel_incident"
MUTED_BY_BUTTON = timedelta(days=1)
# What each button answers, by its action id.
RESPONSES: dict[str, ResponseKind] = {
    "evermodel_acknowledge": "acknowledged",
    "evermodel_mute": "muted",
    "evermodel_expect": "expected",
}


@dataclass(frozen=True)
class IncidentForm(ButtonForm):
    """An incident; the payload of the Slack buttons below its message."""

    model: str
    incident: str


@dataclass(frozen=True)
class IncidentView:
    """An incident as its messages show it.

    Parameters
    ----------
    name
        The incident's id, part of its messages' keys.
    opened
        End of the first window that showed it, ISO 8601.
    mention
        Slack ids to notify.
    response
        What a person answered, as plain text; empty without an answer.
    answerable
        Whether its message has buttons: a Slack app can receive them.
    """

    name: str
    problem: Problem
    verdict: DriftVerdict
    opened: str
    worst: Severity
    links: Mapping[str, str] = field(default_factory=dict)
    next_step: str = ""
    cause: str = ""
    owner: str = ""
    mention: tuple[str, ...] = ()
    response: str = ""
    answerable: bool = False
    over: bool = False

    @property
    def title(self) -> str:
        """The problem in a few words."""
        return TITLES[self.problem.kind]

    @property
    def severity(self) -> MessageSeverity:
        """The message's severity."""
        if self.over:
            return "resolved"
        return "info" if self.problem.severity == "none" else self.problem.severity

    @property
    def url(self) -> str:
        """The most informative link."""
        return next((url for url in self.links.values() if url), "")


def incident_message(view: IncidentView, key: str = "") -> Message:
    """Build the first message of an incident in its current state; it has the same key in all states.

    Parameters
    ----------
    key
        Key of the message; default: the incident's name.
    """
    problem, verdict = view.problem, view.verdict
    moved = verdict.drifting if problem.kind == "drift" else ()
    body: list[Block] = [section(*_why(view)), fields(fields_of(view))]
    if moved:
        columns = [column_line(column) for column in moved[:MOST_COLUMNS]]
        body += [
            divider(),
            section(
                f"*What drifted* ({tests_figure(verdict)})",
                *columns,
                *more(len(moved) - MOST_COLUMNS),
            ),
        ]
    elif problem.details and problem.details != (problem.reason,):
        body.append(section("*Details*", *detail_lines(problem.details)))
    if beside := _beside(view):
        body.append(section(f"*At the same time:* {words(beside, 300)}"))
    if view.next_step and not view.over:
        body.append(section(f"*Next:* {words(view.next_step, 600)}"))
    return compose(
        key=key or view.name,
        model=verdict.model,
        severity=view.severity,
        title=headline(view),
        plain=_plain(view, beside),
        body=body,
        links=view.links,
        actions=_buttons(view) if view.answerable and not view.over and not view.response else (),
        footer=footer(view),
    )


def _buttons(view: IncidentView) -> list[Block]:
    value = IncidentForm(view.verdict.model, view.name).dumps()
    labels = ("Acknowledge", "Mute 1 day", "Expected")
    pressed = (Button(action, label, value, None) for action, label in zip(RESPONSES, labels, strict=True))
    return [buttons(INCIDENT_BUTTONS, *pressed)]


def headline(view: IncidentView) -> str:
    """Return the title with problem and severity."""
    model, title = view.verdict.model, view.title
    if view.over:
        return f"{model}: {title} resolved"
    eased = " now" if view.problem.severity != view.worst else ""
    return f"{model}: {title} ({view.problem.severity}{eased})"


def fields_of(view: IncidentView) -> dict[str, str]:
    """Return the fields of every message about an incident."""
    verdict = view.verdict
    facts = {"Window": words(span(verdict)), "Since": words(moment(view.opened), 60)}
    if view.problem.kind != "serving":
        facts["Rows"] = words(rows(verdict))
        facts["Performance"] = words(performance_figure(verdict.performance))
        if verdict.promotion is not None:
            facts["Promotion"] = words(str(verdict.promotion), 300)
    facts["Model"] = f"{code(verdict.model)} version {words(verdict.version, 40)}"
    if view.worst != view.problem.severity:
        facts["Worst"] = view.worst
    if view.owner:
        facts["Owner"] = words(view.owner, 100)
    return facts


def footer(view: IncidentView) -> str:
    """Return the false-alarm rate of such a message, if known."""
    if view.problem.kind != "drift":
        return f"incident {words(view.name, 80)}"
    rate = 100 * view.verdict.false_alarm_rate
    return f"incident {words(view.name, 80)} · false alarms: at most {rate:.2g} % of quiet days, over all columns"


def mentions(view: IncidentView) -> str:
    """Return the line that notifies people, or nothing."""
    return " ".join(mention(name) for name in view.mention)


def _why(view: IncidentView) -> list[str]:
    lines = [words(view.problem.reason, 1000)]
    if view.cause and view.cause != view.problem.reason and not view.over:
        lines.append(f"*Likely cause:* {words(view.cause, 300)}")
    if view.response and not view.over:
        lines.append(f"*{words(view.response, 600)}*")
    return [*lines, "" if view.over else mentions(view)]


def _beside(view: IncidentView) -> str:
    """List the other problems of the same window."""
    others = [p for p in view.verdict.problems if p.kind != view.problem.kind and p.severity != "none"]
    return "; ".join(f"{TITLES[p.kind]} ({p.severity})" for p in others)


def _plain(view: IncidentView, beside: str) -> list[str]:
    problem, verdict = view.problem, view.verdict
    lines = [problem.reason]
    if view.cause and not view.over:
        lines.append(f"Likely cause: {view.cause}")
    if view.response and not view.over:
        lines.append(view.response)
    lines.append(f"Window {span(verdict)}, since {moment(view.opened)}.")
    if problem.kind == "drift":
        lines += [plain_column(column) for column in verdict.drifting[:MOST_COLUMNS]]
    else:
        lines += [detail for detail in problem.details[:MOST_DETAILS] if detail != problem.reason]
    if problem.kind != "serving":
        lines.append(f"Performance: {performance_figure(verdict.performance)}.")
        lines += [] if verdict.promotion is None else [f"Promotion: {verdict.promotion}."]
    if beside:
        lines.append(f"At the same time: {beside}.")
    if view.next_step and not view.over:
        lines.append(f"Next: {view.next_step}")
    return [*lines, f"Owner: {view.owner}" if view.owner else ""]
