from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evermodel.incidents import Incident, Watchbook, alert_severity, read_watchbook, write_watchbook
from evermodel.severity import RANK, Severity
from verdicts import a_verdict, bad_data
from worlds import World

MONDAY = datetime(2026, 1, 5, tzinfo=UTC)


def _day(number: int) -> datetime:
    return MONDAY + timedelta(days=number)


def _watch(book: Watchbook, severity: Severity, day: int) -> tuple[str, Watchbook]:
    action = book.next_action(severity, _day(day))
    return action, book.after(action, severity, _day(day), {"ts": str(day)} if action == "open" else None)


def _story(*windows: tuple[Severity, int]) -> tuple[list[str], Watchbook]:
    book, actions = Watchbook(), []
    for severity, day in windows:
        action, book = _watch(book, severity, day)
        actions.append(action)
    return actions, book


def test_an_incident_opens_escalates_is_updated_and_resolves() -> None:
    actions, book = _story(
        ("none", 0), ("warning", 1), ("warning", 2), ("critical", 3), ("critical", 4), ("warning", 5), ("none", 6),
        ("none", 7),
    )  # fmt: skip

    assert actions == ["quiet", "open", "update", "escalate", "update", "update", "resolve", "quiet"]
    assert book == Watchbook(_day(7).isoformat(), None)


def test_an_open_incident_keeps_its_first_day_its_message_and_its_worst_severity() -> None:
    _, book = _story(("warning", 1), ("critical", 2), ("warning", 3))

    assert book.incident == Incident(_day(1).isoformat(), "critical", {"ts": "1"})
    assert book.last == _day(3).isoformat()


def test_the_next_problem_after_a_resolved_one_is_an_incident_of_its_own() -> None:
    actions, book = _story(("critical", 1), ("none", 2), ("warning", 3))

    assert actions == ["open", "resolve", "open"]
    assert book.incident == Incident(_day(3).isoformat(), "warning", {"ts": "3"})


@pytest.mark.parametrize("severity", ["none", "warning", "critical"])
@pytest.mark.parametrize("past", [(("none", 5),), (("warning", 5),), (("critical", 4), ("none", 5))])
def test_a_window_older_than_the_last_changes_nothing(severity: Severity, past: Any) -> None:
    _, book = _story(*past)

    action, after = _watch(book, severity, 3)

    assert action == "quiet"
    assert after == book


def test_the_same_window_again_opens_no_second_incident() -> None:
    opened, book = _story(("warning", 1), ("warning", 1))
    assert opened == ["open", "update"]
    assert book.incident is not None
    assert book.incident.opened == _day(1).isoformat()

    resolved, book = _story(("warning", 1), ("none", 2), ("warning", 2))
    assert resolved == ["open", "resolve", "quiet"]
    assert book.incident is None


@given(st.lists(st.tuples(st.sampled_from(["none", "warning", "critical"]), st.integers(0, 8)), max_size=30))
def test_whatever_the_order_of_windows_news_never_repeat_and_the_book_never_goes_back(
    windows: list[tuple[Severity, int]],
) -> None:
    book, opened = Watchbook(), []
    for severity, day in windows:
        before = book
        action, book = _watch(before, severity, day)
        assert book.last is not None
        assert book.last >= (before.last or "")
        if action == "open":
            assert before.incident is None
            opened.append(_day(day))
        if action in ("escalate", "update", "resolve"):
            assert before.incident is not None
        if action == "escalate":
            assert book.incident is not None
            assert book.incident.severity == severity == "critical"
        if action == "resolve":
            assert book.incident is None
        if before.incident and book.incident:
            assert book.incident.opened == before.incident.opened
            assert RANK[book.incident.severity] >= RANK[before.incident.severity]
    assert opened == sorted(set(opened))


@pytest.mark.parametrize(
    ("severity", "quality", "expected"),
    [
        ("none", (), "none"),
        ("none", ("x: 90% missing",), "warning"),
        ("warning", ("x: 90% missing",), "warning"),
        ("critical", ("x: 90% missing",), "critical"),
        ("critical", (), "critical"),
    ],
)
def test_bad_data_is_at_least_a_warning(severity: Severity, quality: tuple[str, ...], expected: str) -> None:
    verdict = a_verdict(severity=severity, problems=(bad_data(*quality),))

    assert alert_severity(verdict) == expected


def test_the_watchbook_is_kept_in_the_registry(world: World) -> None:
    client = world.client
    assert read_watchbook(client, world.name) == Watchbook()
    client.create_registered_model(world.name)
    _, book = _story(("warning", 1), ("critical", 2))

    write_watchbook(client, world.name, book)
    assert read_watchbook(client, world.name) == book

    write_watchbook(client, world.name, Watchbook(_day(3).isoformat(), None))
    assert read_watchbook(client, world.name) == Watchbook(_day(3).isoformat(), None)
