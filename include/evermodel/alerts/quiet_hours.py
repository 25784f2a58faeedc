"""Quiet hours: non-critical messages are delayed, by the readers' local time."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

from evermodel.spec.alerts import QuietHours

_DAYS_AHEAD = 4  # a weekend and the night after it


def is_quiet(hours: QuietHours, moment: datetime) -> bool:
    """Return whether a moment is in the quiet hours, by local time, also on days of a clock change."""
    local = moment.astimezone(ZoneInfo(hours.timezone))
    if hours.weekends and local.weekday() >= 5:
        return True
    start, end, clock = _clock(hours.start), _clock(hours.end), local.time()
    return start <= clock < end if start < end else clock >= start or clock < end


def quiet_until(hours: QuietHours | None, now: datetime) -> datetime | None:
    """Return the end of the current quiet hours in UTC; None outside of them.

    >>> quiet_until(QuietHours(start="20:00", end="07:00"), datetime(2026, 1, 5, 23, tzinfo=UTC)).isoformat()
    '2026-01-06T07:00:00+00:00'
    """
    if hours is None or not is_quiet(hours, now):
        return None
    zone = ZoneInfo(hours.timezone)
    today = now.astimezone(zone).date()
    days = [today + timedelta(days=number) for number in range(_DAYS_AHEAD + 1)]
    clocks = (time(), _clock(hours.end))
    ends = sorted(datetime.combine(day, clock, zone).astimezone(UTC) for day in days for clock in clocks)
    return next(end for end in ends if end > now and not is_quiet(hours, end))


def _clock(text: str) -> time:
    return time.fromisoformat(text)
