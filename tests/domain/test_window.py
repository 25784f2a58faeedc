"""Windows are half-open, in UTC, and never reach past what was known at their moment."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evermodel.spec.window import (
    Window,
    drift_window,
    last_day,
    parse_moment,
    split_window,
    training_window,
    whole_day,
)
from support.small_model import moment, small_spec

moments = st.datetimes(datetime(1990, 1, 1), datetime(2090, 1, 1), timezones=st.just(UTC))
quick = settings(max_examples=60, deadline=None, derandomize=True)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("2024-01-02", moment(1)),
        ("2024-01-01T12:00:00", moment(0.5)),
        ("2024-01-01T12:00:00Z", moment(0.5)),
        ("2024-01-01T00:00:00-12:00", moment(0.5)),
        (datetime(2024, 1, 1), moment(0)),
        (datetime(2024, 1, 1, 6, tzinfo=timezone(timedelta(hours=6))), moment(0)),
    ],
)
def test_a_moment_without_a_zone_is_utc_and_others_are_converted(
    written: str | datetime, meant: datetime
) -> None:
    assert parse_moment(written) == meant
    assert parse_moment(written).utcoffset() == timedelta(0)


@quick
@given(at=moments)
def test_a_whole_day_is_the_last_midnight(at: datetime) -> None:
    day = whole_day(at)
    assert day <= at < day + timedelta(days=1)
    assert (day.hour, day.minute, day.second, day.microsecond) == (0, 0, 0, 0)
    assert whole_day(day) == day


@quick
@given(
    as_of=moments,
    delay=st.integers(0, 400),
    parts=st.tuples(st.integers(1, 90), st.integers(1, 90), st.integers(1, 90)),
)
def test_a_training_window_ends_where_labels_are_known_and_its_parts_meet_without_overlap(
    as_of: datetime, delay: int, parts: tuple[int, int, int]
) -> None:
    train, validation, test = parts
    spec = small_spec(
        "x",
        label={"column": "late", "delay": f"{delay}h"},
        split={"train": f"{train}d", "validation": f"{validation}h", "test": f"{test}w"},
    )
    whole = training_window(spec, as_of)
    split = split_window(spec, as_of)
    assert whole.end == as_of - timedelta(hours=delay)
    assert (split.train.start, split.test.end) == (whole.start, whole.end)
    assert (split.train.end, split.validation.end) == (split.validation.start, split.test.start)
    lengths = [part.end - part.start for part in (split.train, split.validation, split.test)]
    assert lengths == [timedelta(days=train), timedelta(hours=validation), timedelta(weeks=test)]
    assert split.fit == Window(split.train.start, split.test.start)


def test_scoring_covers_the_day_before_and_drift_the_trailing_window() -> None:
    spec = small_spec("x", drift={"window": "36h"})
    assert last_day(moment(3)) == Window(moment(2), moment(3))
    assert drift_window(spec, moment(3)) == Window(moment(1.5), moment(3))
    assert str(last_day(moment(1))) == "2024-01-01 00:00 to 2024-01-02 00:00 UTC"
