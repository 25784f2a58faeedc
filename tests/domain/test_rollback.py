from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from evermodel.core.errors import NoChampionError, RollbackError
from evermodel.deployment.rollback import RollbackTarget, roll_back, rollback_target
from evermodel.registry import registry_entry
from evermodel.registry.audit import verify
from evermodel.registry.registry import ModelRegistry
from evermodel.registry.registry_entry import Promotion
from evermodel.registry.serving_heartbeats import ServingReport, VersionCounts
from support.registry_shelf import START, Shelf
from support.serving_reports import reports_in


@pytest.fixture
def shelf(mlflow_store: str) -> Shelf:
    """Three versions that served one after another, and a fourth that never did."""
    shelf = Shelf(mlflow_store)
    for day, (version, before) in enumerate([("1", None), ("2", "1"), ("3", "2")]):
        assert shelf.register(f"key {version}") == version
        shelf.promote(version, before, f"promotion {version}", day)
    shelf.register("key 4")
    return shelf


def _back(shelf: Shelf, key: str, version: str | None = None, reason: str = "wrong answers") -> Promotion:
    return roll_back(shelf.client, shelf.name, by="ada", reason=reason, run_key=key, version=version)


def test_a_rollback_goes_to_the_last_version_that_served_and_a_second_one_further_back(shelf: Shelf) -> None:
    first = _back(shelf, "one")
    assert (first.version, first.previous, first.kind, first.reason) == (
        "2",
        "3",
        "rollback",
        "wrong answers",
    )
    assert shelf.state == ("2", "3", "4")

    assert _back(shelf, "two").version == "1"
    with pytest.raises(RollbackError, match="version 1 is the first champion"):
        _back(shelf, "three")
    assert [version for _, version in shelf.served] == ["1", "2", "3", "2", "1"]


def test_the_history_is_a_sequence_also_when_the_clock_goes_back(mlflow_store: str) -> None:
    shelf = Shelf(mlflow_store)
    ahead = (datetime.now(UTC) - START) // timedelta(days=1) + 400  # days, on the clock of whoever promoted
    for number, (version, before) in enumerate([("1", None), ("2", "1"), ("3", "2")]):
        shelf.register(f"key {version}")
        shelf.promote(version, before, f"promotion {version}", ahead + number)

    assert [_back(shelf, key).version for key in ("one", "two")] == ["2", "1"]
    assert [version for _, version in shelf.served] == ["1", "2", "3", "2", "1"]


def test_the_history_in_the_registry_stays_bounded(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry_entry, "KEPT_RECORDS", 2)
    for number, version in enumerate("4567", start=4):
        shelf.register(f"key {version}")
        shelf.promote(version, str(number - 1), f"promotion {version}", 500 + number)

    assert [version for _, version in shelf.served] == ["4", "5", "6", "7"]  # those of a year stay, too
    shelf.promote("7", "6", "promotion 7")  # the same again
    assert [_back(shelf, key).version for key in ("one", "two", "three")] == ["6", "5", "4"]
    with pytest.raises(RollbackError, match="version 4 is the first champion"):
        _back(shelf, "four")
    log, wrong = verify(shelf.client, ModelRegistry(shelf.client).read(shelf.name))
    assert "promotion 1" in [line["facts"].get("run_key") for line in log.entries()]
    assert wrong == []


def test_the_same_rollback_again_changes_nothing(shelf: Shelf) -> None:
    done = _back(shelf, "one")

    assert _back(shelf, "one") == done
    assert shelf.alias("champion") == "2"
    assert len(shelf.served) == 4


def test_a_named_version_must_have_served(shelf: Shelf) -> None:
    assert _back(shelf, "one", "1").version == "1"
    for version, reason in (
        ("1", "version 1 is the champion"),
        ("4", "version 4 has never served"),
        ("9", "has never served"),
    ):
        with pytest.raises(RollbackError, match=reason):
            _back(shelf, f"to {version}", version)
    assert shelf.alias("champion") == "1"


def test_a_rollback_needs_a_reason_and_a_champion(shelf: Shelf, mlflow_store: str) -> None:
    with pytest.raises(RollbackError, match="needs a reason"):
        _back(shelf, "one", reason=" ")
    with pytest.raises(NoChampionError):
        _back(Shelf(mlflow_store), "one")


def test_after_a_rollback_a_newer_champion_can_be_rolled_back_to_where_it_came_from(shelf: Shelf) -> None:
    _back(shelf, "one")
    shelf.promote("4", "2", "promotion 4", 9)

    assert _back(shelf, "two").version == "2"


def _reported(shelf: Shelf, lake: Path, version: str, day: int, **counts: VersionCounts) -> None:
    at = (START + timedelta(days=day, minutes=1)).isoformat()
    report = ServingReport(shelf.name, "h-1-a", "prod", "h", 1, at, at, version, counts=counts)
    reports_in(lake).write(report)


def test_a_champion_that_no_serving_process_could_load_is_passed_over(shelf: Shelf, tmp_path: Path) -> None:
    shelf.promote("4", "3", "promotion 4", 3)
    # One process for all that time: version 3 was promoted, and the process went on with version 2.
    for version, day in (("1", 0), ("2", 1), ("2", 2), ("4", 3)):
        _reported(shelf, tmp_path, version, day)

    done = roll_back(
        shelf.client,
        shelf.name,
        by="ada",
        reason="wrong answers",
        run_key="one",
        reports=reports_in(tmp_path),
    )

    assert (done.version, shelf.alias("champion")) == ("2", "2")
    assert done.reason == "wrong answers (skipped: version 3, which has never answered in a serving process)"


def test_a_version_that_a_process_asked_in_a_rollout_has_answered_unless_all_it_did_was_fail(
    shelf: Shelf, tmp_path: Path
) -> None:
    heard, failed, unheard = VersionCounts(3, 2), VersionCounts(3, 3), VersionCounts(shadows=1)
    _reported(shelf, tmp_path, "1", 0, **{"2": heard, "3": failed, "4": unheard})
    assert set(reports_in(tmp_path).served(shelf.name)) == {"1", "2", "4"}


DAYS = [datetime(2026, 3, day, tzinfo=UTC) for day in range(1, 5)]
PAST = [
    Promotion(str(n + 1), str(n) if n else None, at.isoformat(), "ada", "why", f"key {n}")
    for n, at in enumerate(DAYS)
]


def test_without_any_report_and_before_the_first_one_the_history_counts() -> None:
    assert rollback_target("m", PAST, "4", {}) == RollbackTarget("3")
    assert rollback_target("m", PAST, "4", {"4": DAYS[3]}) == RollbackTarget("3"), (
        "reported for the first time"
    )
    assert rollback_target("m", PAST, "4", {"2": DAYS[1], "4": DAYS[3]}) == RollbackTarget("2", ("3",))
    again = [*PAST, replace(PAST[2], at=(DAYS[3] + timedelta(1)).isoformat())]
    assert rollback_target("m", again, "3", {"3": DAYS[0]}) == RollbackTarget("1", ("4", "2"))


def test_if_no_earlier_champion_ever_answered_nothing_is_rolled_back() -> None:
    with pytest.raises(RollbackError, match=r"no earlier champion \(version 3, 2\) has answered") as caught:
        rollback_target("m", PAST[1:], "4", {"4": DAYS[0]})
    assert "name a version that is known to work" in caught.value.advice
