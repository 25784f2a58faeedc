"""Verdicts to build messages from, with every part replaceable."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from evermodel.monitoring.drift.verdict import Bin, ColumnDrift, DriftVerdict, Performance
from evermodel.monitoring.problems import Problem

_COLUMN = ColumnDrift(
    column="humid",
    kind="numeric",
    what="feature",
    method="calibrated",
    measure="PSI",
    effect=0.41,
    low=0.36,
    high=0.47,
    calm=0.08,
    threshold=0.1,
    p_value=1e-9,
    reference="training",
    severity="critical",
    summary="median from 60 to 75",
    bins=(Bin("low", 0.5, 0.2), Bin("high", 0.5, 0.8)),
)
_PERFORMANCE = Performance("roc_auc", 6321, 0.7123, 0.695, 0.729, 0.7512)


def a_column(**changes: Any) -> ColumnDrift:
    return replace(_COLUMN, **changes)


def a_problem(**changes: Any) -> Problem:
    return replace(Problem("drift", "critical", "1 of 2 columns drifted."), **changes)


def a_verdict(**changes: Any) -> DriftVerdict:
    """Return a verdict of one critical problem, drift; ``problems`` and ``performance`` take objects or keywords."""
    verdict = DriftVerdict(
        model="flights",
        version="7",
        start="2013-08-01T00:00:00+00:00",
        end="2013-08-08T00:00:00+00:00",
        reference="training",
        reference_rows=45678,
        window_rows=6321,
        false_alarm_rate=0.01,
        severity="critical",
        reason="1 of 2 columns drifted.",
        problems=(a_problem(),),
        performance=_PERFORMANCE,
        columns=(a_column(), a_column(column="temp", severity="none", effect=0.01)),
    )
    if isinstance(changes.get("performance"), dict):
        changes["performance"] = replace(_PERFORMANCE, **changes["performance"])
    return replace(verdict, **changes)


def bad_data(*details: str) -> Problem:
    """Return the problem of a window whose data is bad."""
    return Problem("quality", "warning" if details else "none", "; ".join(details), details=details)
