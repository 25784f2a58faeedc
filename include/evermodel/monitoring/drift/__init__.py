"""Drift of a prediction log window against its reference: statistics, verdict, report."""

__all__ = [
    "bins",
    "by_day",
    "columns",
    "compare",
    "drawing",
    "family",
    "history",
    "judge",
    "profile",
    "profiles",
    "quiet_days",
    "reference_and_current",
    "references",
    "report",
    "report_text",
    "rows",
    "spark",
    "two_sample",
    "verdict",
    "workspace",
]
