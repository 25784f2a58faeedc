"""Fields about a window in incident messages."""

from __future__ import annotations

from collections.abc import Sequence

from evermodel.alerts.text import code, moment, words
from evermodel.monitoring.drift.verdict import ColumnDrift, DriftVerdict

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
}


def span(verdict: DriftVerdict) -> str:
    """Name a window."""
    return f"{moment(verdict.start)} until {moment(verdict.end)}"


def rows(verdict: DriftVerdict) -> str:
    """Return the row counts of the window and the reference."""
    return f"{verdict.window_rows:,} against {verdict.reference_rows:,} of {verdict.reference}"


def performance(verdict: DriftVerdict) -> str:
    """Return the performance on matured labels, against the baseline at promotion."""
    found = verdict.performance
    baseline = "" if found.promised is None else f", baseline {found.promised:.3f}"
    if found.value is not None:
        return f"{found.metric} {found.value:.3f}{_interval(found.low, found.high)}{baseline}"
    if found.estimated is not None:
        interval = _interval(found.estimated_low, found.estimated_high)
        return f"{found.metric} {found.estimated:.3f}{interval}, estimated before labels{baseline}"
    return "not yet known (labels have not matured)"


def column_line(column: ColumnDrift) -> str:
    """Return the line of Slack's mrkdwn about one column."""
    tested = f" ({_TESTED[column.what]})" if column.what in _TESTED else ""
    return f"• {code(column.column)}{tested} *{words(_size(column), 80)}*, {words(_beside(column), 120)}" + (
        f": {words(column.summary, 200)}" if column.summary else ""
    )


def plain_column(column: ColumnDrift) -> str:
    """Return the line of plain text about one column."""
    tested = f" ({_TESTED[column.what]})" if column.what in _TESTED else ""
    text = f"{column.column}{tested}: {_size(column)} ({column.severity}), {_beside(column)}"
    return f"{text}: {column.summary}" if column.summary else text


def detail_lines(details: Sequence[str]) -> list[str]:
    """Return the lines of Slack's mrkdwn about the details of a problem."""
    return [*(f"• {words(detail)}" for detail in details[:MOST_DETAILS]), *more(len(details) - MOST_DETAILS)]


def more(count: int) -> list[str]:
    """Return the number of omitted lines, if any."""
    return [f"and {count} more, see the report"] if count > 0 else []


def _size(column: ColumnDrift) -> str:
    return f"{column.measure} {column.effect:.2f}"


def _beside(column: ColumnDrift) -> str:
    """Return the threshold of the effect, and the normal value if known."""
    if column.calm >= column.threshold > 0:
        return f"normal up to {column.calm:.2f}"
    return f"threshold {column.threshold:.2f}" + (f", normal up to {column.calm:.2f}" if column.calm else "")


def _interval(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f" ({low:.3f} to {high:.3f})"
