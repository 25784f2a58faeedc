"""Check of the clock; days and windows are UTC in any zone."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx

from evermodel.core.diagnostics import Finding
from evermodel.core.logins import ask
from evermodel.core.settings import Settings

_SECONDS, _TOO_MANY = 30, 300


def check_clock(settings: Settings) -> Iterator[Finding]:
    """Compare the clock with MLflow's, if the server sends it."""
    now = datetime.now(UTC)
    zone = now.astimezone().tzname() or "UTC"
    here = f"{now:%Y-%m-%d %H:%M:%S} UTC, this machine's zone is {zone}; windows and schedules are UTC"
    away = _away(settings.tracking_uri)
    if away is None or abs(away) <= _SECONDS:
        yield Finding("clock", "green", here)
        return
    yield Finding(
        "clock",
        "red" if abs(away) > _TOO_MANY else "yellow",
        f"this clock and that of {settings.tracking_uri} are {abs(away):,.0f} s apart",
        "synchronize both by NTP; windows, quiet hours and time limits depend on it",
    )


def _away(uri: str) -> float | None:
    """Return by how many seconds the server's clock is ahead; None if unknown."""
    if not uri.startswith("http"):
        return None
    try:
        answer = ask(uri, "/health", 5)
        theirs = parsedate_to_datetime(answer.headers["date"])
    except (httpx.HTTPError, KeyError, ValueError):
        return None
    return (theirs - datetime.now(UTC)).total_seconds()
