"""Formats of numbers and moments on the pages."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

_STEPS = ((60, "s"), (3600, "min"), (86400, "h"), (86400 * 60, "d"), (86400 * 730, "mo"))
_LENGTHS = {"s": 1, "min": 60, "h": 3600, "d": 86400, "mo": 86400 * 30.44, "y": 86400 * 365.25}
NOTHING, MINUS = "\N{EN DASH}", "\N{MINUS SIGN}"
VERDICTS = {
    "better": "better", "not_worse": "not worse", "worse": "worse", "not_enough_evidence": "not enough evidence",
    "cold_start": "first version",
}  # fmt: skip
KINDS = {
    "drift": "Drift", "quality": "Data quality", "performance": "Performance", "serving": "Serving", "skew": "Skew",
}  # fmt: skip


def filters() -> dict[str, Callable[..., Any]]:
    """Return the template filters by name."""
    return {
        "number": number,
        "signed": signed,
        "age": age,
        "span": span,
        "verdict": verdict_words,
        "moment": moment,
    }


def number(value: Any, digits: int = 3) -> str:
    """Return a number with few digits; a dash for None.

    >>> number(0.73456), number(1234.5), number(None) == NOTHING
    ('0.735', '1,234', True)
    """
    if value is None or value == "":
        return NOTHING
    return (
        f"{value:,.0f}"
        if abs(value) >= 1000
        else f"{value:.{digits}f}"
        if abs(value) < 100
        else f"{value:.1f}"
    )


def signed(value: Any, digits: int = 3) -> str:
    """Return a difference with its sign.

    >>> signed(0.0151), signed(-0.2) == MINUS + '0.200', signed(-0.0001)
    ('+0.015', True, '0.000')
    """
    if value is None or value == "":
        return NOTHING
    sign = "" if round(value, digits) == 0 else MINUS if value < 0 else "+"
    return sign + number(abs(value), digits)


def age(at: object, now: datetime | None = None) -> str:
    """Return how long ago a moment was.

    >>> age("2026-01-01T00:00:00+00:00", datetime(2026, 1, 13, tzinfo=UTC))
    '12 d'
    """
    found = _parsed(at)
    return "" if found is None else span(((now or datetime.now(UTC)) - found).total_seconds())


def span(seconds: float | None) -> str:
    """Return a length of time in its largest fitting unit."""
    if seconds is None:
        return ""
    length = max(0.0, seconds)
    unit = next((name for limit, name in _STEPS if length < limit), "y")
    return f"{length / _LENGTHS[unit]:.0f} {unit}"


def moment(at: object) -> str:
    """Return a moment to the minute, UTC."""
    found = _parsed(at)
    return str(at or "") if found is None else f"{found.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def verdict_words(verdict: str) -> str:
    """Return the text of a verdict."""
    return VERDICTS.get(verdict, verdict.replace("_", " "))


def _parsed(at: object) -> datetime | None:
    if isinstance(at, datetime):
        return at
    try:
        found = datetime.fromisoformat(str(at))
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)
