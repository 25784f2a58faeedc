"""The message that says that an incident is over."""

from __future__ import annotations

from collections.abc import Mapping

from evermodel.alerts.blocks import fields, section
from evermodel.alerts.drift_message import false_alarms, performance, span, window_fields
from evermodel.alerts.message import Message, compose
from evermodel.alerts.text import code, moment, words
from evermodel.drift.verdict import DriftVerdict


def resolved_message(
    verdict: DriftVerdict, links: Mapping[str, str], incident_started: str, why: str = ""
) -> Message:
    """Build the message that ends an incident.

    Parameters
    ----------
    verdict
        The verdict on the first window that is quiet again.
    links
        Label and address of the report and the runs.
    incident_started
        When the incident began, as an ISO date or time.
    why
        What ended it, for instance the version that was retrained; empty if it went away by itself.

    Returns
    -------
    The message; its key is the same for one incident.
    """
    facts = window_fields(verdict, incident_started)
    facts["Began"] = facts.pop("Since")
    largest = max(verdict.columns, key=lambda column: column.effect, default=None)
    if largest is not None:
        facts["Largest PSI now"] = (
            f"{largest.effect:.2f} in {code(largest.column)}, normal is up to {largest.calm:.2f}"
        )
    lines = [why, verdict.reason]
    return compose(
        key=f"resolved-{moment(incident_started)}",
        model=verdict.model,
        severity="resolved",
        title=f"{verdict.model}: drift is over",
        plain=[
            *lines,
            f"Window {span(verdict)}, began {moment(incident_started)}.",
            f"Performance: {performance(verdict)}.",
        ],
        body=[section(*(words(line, 1000) for line in lines if line)), fields(facts)],
        links=links,
        footer=false_alarms(verdict),
    )
