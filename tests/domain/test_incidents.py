from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evermodel.alerts.incidents.state import Incident, IncidentState
from evermodel.monitoring.problems import KINDS, RANK, Problem, Severity

MONDAY = datetime(2026, 1, 5, tzinfo=UTC)
REMIND = timedelta(days=3)


def day(number: int) -> datetime:
    return MONDAY + timedelta(days=number)


def found(severity: str) -> Problem:
    known = severity != "unknown"
    return Problem("drift", severity if known else "none", "", known=known)  # type: ignore[arg-type]


def watch(book: IncidentState, severity: str, number: int) -> tuple[str, IncidentState]:
    action = book.next_action(found(severity), day(number), REMIND)
    return action, book.after(action, found(severity), day(number), origin="x")


def story(*windows: tuple[str, int]) -> tuple[list[str], IncidentState]:
    book, actions = IncidentState(), []
    for severity, number in windows:
        action, book = watch(book, severity, number)
        actions.append(action)
    return actions, book


def test_an_incident_opens_escalates_is_updated_and_resolves() -> None:
    actions, book = story(
        ("none", 0), ("warning", 1), ("warning", 2), ("critical", 3), ("critical", 4), ("warning", 5), ("none", 6),
        ("none", 7),
    )  # fmt: skip

    assert actions == ["quiet", "open", "update", "escalate", "update", "update", "resolve", "quiet"]
    assert book == IncidentState(day(7).isoformat(), "none", "quiet", 1)


def test_an_open_incident_keeps_its_first_day_its_message_and_its_worst_severity() -> None:
    _, book = story(("warning", 1), ("critical", 2), ("warning", 3))
    book = book.delivered({"ts": "1"})
    _, book = watch(book, "warning", 4)

    assert book.incident == Incident(
        "drift-1-x", day(1).isoformat(), "critical", "warning", day(2).isoformat(), delivery={"ts": "1"}
    )


def test_reminders_come_at_their_pace_and_the_clock_starts_again_when_it_gets_worse() -> None:
    actions, _ = story(("warning", 0), *((("critical" if n >= 4 else "warning"), n) for n in range(1, 11)))

    assert actions == [
        "open", "update", "update", "remind", "escalate", "update", "update", "remind", "update", "update", "remind",
    ]  # fmt: skip
    _, book = story(("warning", 0))
    assert book.next_action(found("warning"), day(300), None) == "update"


def test_reminders_back_off() -> None:
    book, reminded = IncidentState(), []
    for number in range(100):
        problem = found("critical" if number >= 5 else "warning")
        action = book.next_action(problem, day(number), "backoff")
        book = book.after(action, problem, day(number), origin="x")
        reminded += [number] if action == "remind" else []
    assert reminded == [1, 3, 7, 14, 30, 60, 90]


def test_a_missed_week_of_runs_brings_one_reminder() -> None:
    assert story(("warning", 0), ("warning", 12), ("warning", 13))[0] == ["open", "remind", "update"]


def test_the_next_problem_after_a_resolved_one_is_an_incident_of_its_own() -> None:
    actions, book = story(("critical", 1), ("none", 2), ("warning", 3))

    assert actions == ["open", "resolve", "open"]
    assert book.incident is not None
    assert book.incident.id == "drift-2-x"


def test_what_could_not_be_judged_neither_opens_nor_resolves() -> None:
    actions, book = story(("unknown", 0), ("warning", 1), ("unknown", 2), ("warning", 3), ("unknown", 9))

    assert actions == ["quiet", "open", "quiet", "update", "quiet"]
    assert book.incident is not None


@pytest.mark.parametrize("severity", ["none", "warning", "critical", "unknown"])
@pytest.mark.parametrize("past", [(("none", 5),), (("warning", 5),), (("critical", 4), ("none", 5))])
def test_a_window_older_than_the_last_changes_nothing(severity: str, past: Any) -> None:
    _, book = story(*past)

    assert watch(book, severity, 3) == ("quiet", book)


@pytest.mark.parametrize(
    "windows",
    [
        [("warning", 1)],
        [("warning", 1), ("critical", 2)],
        [("warning", 1), ("warning", 4)],
        [("warning", 1), ("none", 2)],
        [("none", 1)],
        [("warning", 1), ("unknown", 2)],
    ],
)
def test_the_same_window_with_the_same_finding_does_the_same_again(windows: list[tuple[str, int]]) -> None:
    actions, book = story(*windows)

    again, after = watch(book, *windows[-1])

    assert (again, after) == (actions[-1], book)


def test_the_same_window_with_a_worse_finding_opens_or_escalates() -> None:
    assert story(("none", 1), ("critical", 1))[0] == ["quiet", "open"]
    assert story(("unknown", 1), ("warning", 1))[0] == ["quiet", "open"]
    assert story(("warning", 1), ("critical", 1))[0] == ["open", "escalate"]


def test_the_same_window_with_a_better_finding_resolves_and_a_new_incident_gets_a_new_name() -> None:
    actions, book = story(("warning", 1), ("none", 1), ("warning", 1))

    assert actions == ["open", "resolve", "open"]
    assert book.incident is not None
    assert book.incident.id == "drift-2-x"


severities = st.sampled_from(["none", "warning", "critical", "unknown"])


@given(st.lists(st.tuples(severities, st.integers(0, 8)), max_size=30))
def test_whatever_the_order_of_windows_the_book_never_goes_back_and_names_are_never_reused(
    windows: list[tuple[Severity, int]],
) -> None:
    book, names = IncidentState(), []
    for severity, number in windows:
        before = book
        action, book = watch(before, severity, number)
        assert book.last is not None
        assert book.last >= (before.last or "")
        assert IncidentState.from_json(book.to_json()) == book
        if book.count > before.count:
            assert (action, before.incident) == ("open", None)
            assert book.incident is not None
            names.append(book.incident.id)
        if action == "escalate" and book != before:
            assert before.incident is not None
            assert RANK[before.incident.severity] < RANK[severity]
        if before.incident and book.incident:
            assert book.incident.opened == before.incident.opened
            assert RANK[book.incident.severity] >= RANK[before.incident.severity]
        if severity == "unknown":
            assert book.incident == before.incident
    assert len(names) == len(set(names))


def test_each_kind_has_a_name_of_its_own() -> None:
    for kind in KINDS:
        problem = Problem(kind, "warning", "")
        book = IncidentState().after("open", problem, MONDAY, origin="x")
        assert book.incident is not None
        assert book.incident.id == f"{kind}-1-x"
