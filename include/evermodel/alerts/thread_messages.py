"""The replies in an incident's thread: escalated, ongoing, resolved."""

from __future__ import annotations

from datetime import datetime

from evermodel.alerts.blocks import fields, section
from evermodel.alerts.incident_message import (
    IncidentView,
    column_line,
    mentions,
    plain_column,
    span,
)
from evermodel.alerts.message import Message, compose
from evermodel.alerts.text import code, instant, moment, words
from evermodel.monitoring.drift.figures import effect_figure, limit_figure, performance_figure
from evermodel.spec.window import parse_moment

_FEW_COLUMNS = 3


def escalation_message(view: IncidentView) -> Message:
    """Build the reply about an escalation; one per incident and severity."""
    severity = view.problem.severity
    return _answer(
        view,
        key=f"{view.name}-{severity}",
        title=f"{view.verdict.model}: {view.title} became {severity}",
    )


def reminder_message(view: IncidentView, as_of: datetime) -> Message:
    """Build the reminder of an incident; one per incident and day."""
    days = (as_of - parse_moment(view.opened)).days
    return _answer(
        view,
        key=f"{view.name}-remind-{instant(as_of.isoformat())}",
        title=f"{view.verdict.model}: {view.title} continues, day {days + 1} ({view.problem.severity})",
    )


def resolved_message(view: IncidentView, why: str = "") -> Message:
    """Build the reply about an incident's end.

    Parameters
    ----------
    why
        The cause of the end, for instance the retrained version; empty if unknown.
    """
    verdict = view.verdict
    facts = {
        "Began": words(moment(view.opened), 60),
        "Worst": view.worst,
        **{label: words(figure) for label, figure in _performance(view).items()},
        "Model": f"{code(verdict.model)} version {words(verdict.version, 40)}",
    }
    largest = max(
        view.verdict.columns, key=lambda column: column.effect / max(column.threshold, 1e-9), default=None
    )
    if view.problem.kind == "drift" and largest is not None:
        facts["Largest now"] = (
            f"{words(effect_figure(largest), 80)} in {code(largest.column)}, {words(limit_figure(largest), 120)}"
        )
    lines = [line for line in (why, view.problem.reason) if line]
    return compose(
        key=f"{view.name}-resolved",
        model=view.verdict.model,
        severity="resolved",
        title=f"{view.verdict.model}: {view.title} resolved",
        plain=[
            *lines,
            f"Window {span(view.verdict)}, began {moment(view.opened)}, worst {view.worst}.",
            *(f"{label}: {figure}." for label, figure in _performance(view).items()),
        ],
        body=[section(*(words(line, 1000) for line in lines)), fields(facts)],
        links=view.links,
        footer=f"incident {words(view.name, 80)}",
    )


def _performance(view: IncidentView) -> dict[str, str]:
    """Return the metric, which a problem of the serving app says nothing about."""
    if view.problem.kind == "serving":
        return {}
    return {"Performance": performance_figure(view.verdict.performance)}


def _answer(view: IncidentView, *, key: str, title: str) -> Message:
    labelled = [
        (label, text) for label, text in (("Likely cause", view.cause), ("Next", view.next_step)) if text
    ]
    moved = view.verdict.drifting[:_FEW_COLUMNS] if view.problem.kind == "drift" else ()
    facts = {
        "Since": words(moment(view.opened), 60),
        **{label: words(figure) for label, figure in _performance(view).items()},
    }
    return compose(
        key=key,
        model=view.verdict.model,
        severity=view.severity,
        title=title,
        plain=[
            view.problem.reason,
            *(f"{label}: {text}" for label, text in labelled),
            *(plain_column(column) for column in moved),
            f"Since {moment(view.opened)}.",
        ],
        body=[
            section(
                words(view.problem.reason, 600),
                *(f"*{label}:* {words(text, 600)}" for label, text in labelled),
                mentions(view),
            ),
            *([section(*(column_line(column) for column in moved))] if moved else []),
            fields(facts),
        ],
        links=view.links,
        footer=f"incident {words(view.name, 80)}",
    )
