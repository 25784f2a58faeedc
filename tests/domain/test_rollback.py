from __future__ import annotations

import pytest
from test_registry import Shelf

from evermodel import registry
from evermodel.errors import NoChampionError, RollbackError
from evermodel.rollback import roll_back


@pytest.fixture
def shelf(mlflow_server: str) -> Shelf:
    """Three versions that served one after another, and a fourth that never did."""
    shelf = Shelf(mlflow_server)
    for day, (version, before) in enumerate([("1", None), ("2", "1"), ("3", "2")]):
        assert shelf.register(f"key {version}") == version
        shelf.promote(version, before, f"promotion {version}", day)
    shelf.register("key 4")
    return shelf


def _back(
    shelf: Shelf, key: str, version: str | None = None, reason: str = "wrong answers"
) -> registry.Promotion:
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
    with pytest.raises(RollbackError, match="version 1 is the first that serves"):
        _back(shelf, "three")
    assert [version for _, version in shelf.served] == ["1", "2", "3", "2", "1"]


def test_the_same_rollback_again_changes_nothing(shelf: Shelf) -> None:
    done = _back(shelf, "one")

    assert _back(shelf, "one") == done
    assert shelf.alias("champion") == "2"
    assert len(shelf.served) == 4


def test_a_named_version_must_have_served(shelf: Shelf) -> None:
    assert _back(shelf, "one", "1").version == "1"
    for version, reason in (
        ("1", "is the champion already"),
        ("4", "version 4 never served"),
        ("9", "never served"),
    ):
        with pytest.raises(RollbackError, match=reason):
            _back(shelf, f"to {version}", version)
    assert shelf.alias("champion") == "1"


def test_a_rollback_needs_a_reason_and_a_champion(shelf: Shelf, mlflow_server: str) -> None:
    with pytest.raises(RollbackError, match="needs a reason"):
        _back(shelf, "one", reason=" ")
    with pytest.raises(NoChampionError):
        _back(Shelf(mlflow_server), "one")


def test_after_a_rollback_a_newer_champion_can_be_rolled_back_to_where_it_came_from(shelf: Shelf) -> None:
    _back(shelf, "one")
    shelf.promote("4", "2", "promotion 4", 9)

    assert _back(shelf, "two").version == "2"
