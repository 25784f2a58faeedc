"""The facts about a window that messages of incidents show, each in a few words."""

from __future__ import annotations

from collections.abc import Sequence

from evermodel.alerts.text import code, moment, words
from evermodel.monitoring.drift.verdict import ColumnDrift, DriftVerdict

MOST_COLUMNS = 6
MOST_DETAILS = 6
# What was tested, where that is not the column's distribution.
_TESTED = {
    "prediction": "predictions",
    "label": "labels",
    "concept": "relation to the label",
    "missing": "missing values",
    "category": "new categories",
    "correlation": "correlation",
}


def span(verdict: DriftVerdict) -> str:
    """Name a window."""
    return f"{moment(verdict.start)} until {moment(verdict.end)}"


def rows(verdict: DriftVerdict) -> str:
    """Say how many rows were held against how many of what."""
    return f"{verdict.window_rows:,} against {verdict.reference_rows:,} of {verdict.reference}"


def performance(verdict: DriftVerdict) -> str:
    """Say how well the model did where labels are known, against what it did at promotion."""
    found = verdict.performance
    promised = "" if found.promised is None else f", promised {found.promised:.3f}"
    if found.value is not None:
        return f"{found.metric} {found.value:.3f}{_interval(found.low, found.high)}{promised}"
    if found.estimated is not None:
        interval = _interval(found.estimated_low, found.estimated_high)
        return f"{found.metric} about {found.estimated:.3f}{interval}, estimated before labels{promised}"
    return "not known yet (labels have not matured)"


def column_line(column: ColumnDrift) -> str:
    """Return the line of Slack's mrkdwn about one column."""
    tested = f" ({_TESTED[column.what]})" if column.what in _TESTED else ""
    return f"• {code(column.column)}{tested} *{words(_size(column), 80)}*, {words(_beside(column), 120)}" + (
        f": {words(column.summary, 200)}" if column.summary else ""
    )


def plain_column(column: ColumnDrift) -> str:
    """Return the line of plain text about one column."""
    tested = f" ({_TESTED[column.what]})" if column.what in _TESTED else ""
    said = f"{column.column}{tested}: {_size(column)} ({column.severity}), {_beside(column)}"
    return f"{said}: {column.summary}" if column.summary else said


def detail_lines(details: Sequence[str]) -> list[str]:
    """Return the lines of Slack's mrkdwn about the details of a problem."""
    return [*(f"• {words(detail)}" for detail in details[:MOST_DETAILS]), *more(len(details) - MOST_DETAILS)]


def more(count: int) -> list[str]:
    """Say how many were left out, if any."""
    return [f"and {count} more, see the report"] if count > 0 else []


def _size(column: ColumnDrift) -> str:
    return f"{column.measure} {column.effect:.2f}"


def _beside(column: ColumnDrift) -> str:
    """Say from where on the effect counts, and what is normal where that is known."""
    if column.calm >= column.threshold > 0:
        return f"normal is up to {column.calm:.2f}"
    return f"counts from {column.threshold:.2f}" + (
        f", normal is up to {column.calm:.2f}" if column.calm else ""
    )


def _interval(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f" ({low:.3f} to {high:.3f})"
