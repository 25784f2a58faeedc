"""Drift of a prediction log window against its reference: statistics, verdict, report."""

__all__ = [
    "bins",
    "categorical",
    "compare",
    "family",
    "history",
    "judge",
    "numeric",
    "profiles",
    "quiet_days",
    "reference_and_current",
    "references",
    "report",
    "report_sources",
    "rows",
    "verdict",
    "workspace",
]
