from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from evermodel.alerts.publisher import is_quiet, quiet_until
from evermodel.spec.alerts import AlertsSpec, EscalationSpec, QuietHours

NIGHT = QuietHours(start="20:00", end="07:00", timezone="Europe/Berlin")
WEEKEND = NIGHT.model_copy(update={"weekends": True})


def until(hours: QuietHours, moment: str) -> str | None:
    end = quiet_until(hours, datetime.fromisoformat(moment))
    return end and end.isoformat().removesuffix("+00:00")


@pytest.mark.parametrize(
    ("hours", "moment", "expected"),
    [
        (NIGHT, "2026-01-05T12:00:00+00:00", None),
        (NIGHT, "2026-01-05T06:00:00+00:00", None),  # 7:00 in Berlin: the end is not quiet any more
        (NIGHT, "2026-01-05T05:59:00+00:00", "2026-01-05T06:00:00"),
        (NIGHT, "2026-01-05T19:00:00+00:00", "2026-01-06T06:00:00"),
        (NIGHT, "2026-07-05T18:00:00+00:00", "2026-07-06T05:00:00"),  # the same clock in summer time
        (NIGHT, "2026-03-28T23:00:00+00:00", "2026-03-29T05:00:00"),  # the night that loses an hour
        (NIGHT, "2026-10-24T22:00:00+00:00", "2026-10-25T06:00:00"),  # the night that gains one
        (WEEKEND, "2026-01-09T20:00:00+00:00", "2026-01-12T06:00:00"),  # Friday evening until Monday morning
        (WEEKEND, "2026-01-10T12:00:00+00:00", "2026-01-12T06:00:00"),
        (QuietHours(start="09:00", end="17:00", weekends=True), "2026-01-10T12:00:00+00:00", "2026-01-12T00:00:00"),
        (QuietHours(start="12:00", end="13:00"), "2026-01-05T12:30:00+00:00", "2026-01-05T13:00:00"),
    ],
)  # fmt: skip
def test_the_clock_on_the_wall_decides(hours: QuietHours, moment: str, expected: str | None) -> None:
    assert until(hours, moment) == expected


def test_no_section_means_no_quiet_hours() -> None:
    assert quiet_until(None, datetime(2026, 1, 5, 3, tzinfo=UTC)) is None


clocks = st.builds(
    lambda hour, minute: f"{hour:02d}:{minute:02d}", st.integers(0, 23), st.sampled_from([0, 30])
)
zones = st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu"])


@given(
    clocks, clocks, zones, st.booleans(),
    st.datetimes(datetime(2025, 1, 1), datetime(2027, 1, 1), timezones=st.just(UTC)),
)  # fmt: skip
def test_quiet_hours_always_end_at_a_moment_that_is_not_quiet(
    start: str, end: str, zone: str, weekends: bool, now: datetime
) -> None:
    if start == end:
        return
    hours = QuietHours(start=start, end=end, timezone=zone, weekends=weekends)
    found = quiet_until(hours, now)
    assert (found is not None) == is_quiet(hours, now)
    if found is not None:
        assert not is_quiet(hours, found)
        assert now < found <= now + timedelta(days=4)


@pytest.mark.parametrize(
    ("section", "needed"),
    [
        ({"quiet_hours": {"start": "07:00", "end": "07:00"}}, "must differ"),
        ({"quiet_hours": {"start": "7:00"}}, "HH:MM"),
        ({"quiet_hours": {"timezone": "Berlin"}}, "Europe/Berlin"),
        ({"mention": ["jane"]}, "a Slack user id"),
        ({"escalation": {"mention": ["<!here>"]}}, "a Slack user id"),
    ],
)
def test_mistakes_are_named(section: dict[str, object], needed: str) -> None:
    with pytest.raises(ValidationError, match=needed):
        AlertsSpec.model_validate(section)
    assert EscalationSpec(mention=("U024BE7LH", "S0614TZR7", "here", "channel")).mention
