"""The message that says that a model's data drifted, how far, since when, and what happens next."""

from __future__ import annotations

from collections.abc import Mapping

from evermodel.alerts.blocks import Block, divider, fields, section
from evermodel.alerts.message import Message, MessageSeverity, compose
from evermodel.alerts.text import code, moment, words
from evermodel.drift.verdict import ColumnDrift, DriftVerdict

MOST_COLUMNS = 6
MOST_PROBLEMS = 6


def drift_message(
    verdict: DriftVerdict,
    links: Mapping[str, str],
    retrain_asked: bool | None,
    incident_started: str,
    retrain_note: str = "",
) -> Message:
    """Build the message about a window that drifted or whose data is bad.

    Parameters
    ----------
    verdict
        The verdict on the window.
    links
        Label and address of the report and the runs.
    retrain_asked
        True when a retrain was asked for, False when a cool-down or bad data held it back, None when the policy
        asks for none at this severity.
    incident_started
        When this incident began, as an ISO date or time.
    retrain_note
        Replaces the sentence about what happens next, for instance to name the end of the cool-down.

    Returns
    -------
    The message; its key is the same whenever it is built for the same window and severity.
    """
    title, severity = _headline(verdict)
    following = retrain_note or next_step(verdict, retrain_asked)
    moved = verdict.drifting
    body: list[Block] = [
        section(words(verdict.reason, 1000)),
        fields(window_fields(verdict, incident_started)),
    ]
    if verdict.quality:
        body.append(section("*Problems of the data*", *_listed(verdict.quality)))
    if moved:
        body += [
            divider(),
            section(f"*Drifted columns* ({len(moved)} of {len(verdict.columns)})", *_moved(moved)),
        ]
    body.append(section(f"*Next:* {words(following, 600)}"))
    plain = [
        verdict.reason,
        f"Window {span(verdict)}, since {moment(incident_started)}.",
        *(f"Data problem: {problem}" for problem in verdict.quality[:MOST_PROBLEMS]),
        *(_plain_column(column) for column in moved[:MOST_COLUMNS]),
        f"Performance: {performance(verdict)}.",
        f"Next: {following}",
    ]
    return compose(
        key=f"drift-{moment(verdict.start)}-{moment(verdict.end)}-{severity}",
        model=verdict.model,
        severity=severity,
        title=title,
        plain=plain,
        body=body,
        links=links,
        footer=false_alarms(verdict),
    )


def next_step(verdict: DriftVerdict, retrain_asked: bool | None) -> str:
    """Say in one sentence whether a retrain follows, and if not why."""
    if retrain_asked:
        return "A retrain was requested; its result will be reported here."
    if verdict.quality:
        return "No automatic retrain: the data itself has problems. Fix the source first, then rerun this window."
    if retrain_asked is None:
        return "No retrain at this severity, by the model's policy."
    return "No retrain now: the last one is too recent (cool-down)."


def window_fields(verdict: DriftVerdict, incident_started: str) -> dict[str, str]:
    """Return the facts about a window that every drift message shows."""
    return {
        "Window": words(span(verdict)),
        "Since": words(moment(incident_started), 60),
        "Rows": f"{verdict.window_rows:,} against {verdict.reference_rows:,} of training",
        "Performance": words(performance(verdict)),
        "Model": f"{code(verdict.model)} version {words(verdict.version, 40)}",
    }


def span(verdict: DriftVerdict) -> str:
    """Name a window."""
    return f"{moment(verdict.start)} until {moment(verdict.end)}"


def performance(verdict: DriftVerdict) -> str:
    """Say how well the model did where labels are known, against what it did at promotion."""
    found = verdict.performance
    if found.value is None:
        return "not known yet (labels have not matured)"
    said = f"{found.metric} {found.value:.3f}"
    if found.low is not None and found.high is not None:
        said += f" ({found.low:.3f} to {found.high:.3f})"
    return said if found.promised is None else f"{said}, promised {found.promised:.3f}"


def false_alarms(verdict: DriftVerdict) -> str:
    """State the false-alarm rate."""
    return (
        f"tested at a false-alarm rate of {100 * verdict.false_alarm_rate:.2g} % over all columns; "
        "normal: the most that any such window of the training data showed"
    )


def _headline(verdict: DriftVerdict) -> tuple[str, MessageSeverity]:
    if verdict.severity == "none":
        if verdict.quality:
            return f"{verdict.model}: bad data in the window", "warning"
        return f"{verdict.model}: no drift", "info"
    if verdict.quality:
        return f"{verdict.model}: drift ({verdict.severity}) in bad data", verdict.severity
    return f"{verdict.model}: drift is {verdict.severity}", verdict.severity


def _listed(problems: tuple[str, ...]) -> list[str]:
    shown = [f"• {words(problem)}" for problem in problems[:MOST_PROBLEMS]]
    return [*shown, *_more(len(problems) - MOST_PROBLEMS)]


def _moved(columns: tuple[ColumnDrift, ...]) -> list[str]:
    shown = [
        f"• {code(column.column)} *{words(column.measure, 40)} {column.effect:.2f}* {column.severity}, normal is up to {column.calm:.2f}"
        + (f": {words(column.summary, 200)}" if column.summary else "")
        for column in columns[:MOST_COLUMNS]
    ]
    return [*shown, *_more(len(columns) - MOST_COLUMNS)]


def _more(count: int) -> list[str]:
    return [f"and {count} more, see the report"] if count > 0 else []


def _plain_column(column: ColumnDrift) -> str:
    said = f"{column.column}: {column.measure} {column.effect:.2f} ({column.severity}), normal is up to {column.calm:.2f}"
    return f"{said}: {column.summary}" if column.summary else said
