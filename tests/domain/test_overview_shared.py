"""The last known state of the Models page in the database: shown after a restart, read by one API server at a time."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import func, select, text, update

from evermodel.core.database.database import Database
from evermodel.core.database.lease import leased
from evermodel.core.database.schema import open_database
from evermodel.core.database.tables import models_page
from evermodel.reports.overview import shared_state
from evermodel.reports.overview.records import Record
from evermodel.reports.overview.shared_state import SharedState
from evermodel.reports.overview.store import Store, StoredModel
from evermodel.reports.overview.summary import summarise

MLFLOW = "http://mlflow:5000"


class ApiServer:
    """One API server with a folder of its own; `read` stands for what it reads from MLflow."""

    def __init__(self, folder: Path, address: str, source: str = MLFLOW) -> None:
        self.store, self.source, self.reads = Store(folder / "overview.db"), source, 0
        self.shared = SharedState(address, source, self.store)

    def look(self, *models: str, every: float = 3600, day: str = "2026-03-02", problem: str = "") -> bool:
        """Look at the page as a person does; return whether MLflow was read."""
        with self.shared.turn(every) as mine:
            if mine and problem:
                self.store.note(problem=problem, fault="mlflow")
                self.shared.tell()
            elif mine:
                self.shared.keep(self.read(models, day))
        return mine

    def read(self, models: tuple[str, ...], day: str) -> set[str]:
        self.reads += 1
        self.store.start_over(self.source)
        changed = self.store.keep_models(
            {name: StoredModel(name, {"champion": "1"}, {}, 7) for name in models}
        )
        self.store.keep_experiments({name: ["1", f"days-{name}", ""] for name in models})
        for name in models:
            facts = {
                "experiment": f"days-{name}",
                "version": "1",
                "severity": "warning",
                "value": 0.7,
                "transitions": [],
            }
            record = Record(f"{name}-{day}", "drift", day, 1, facts)
            changed |= self.store.keep_runs({f"days-{name}": name}, [record])
            self.store.note_loaded(name, 1e9)
        self.store.keep_summaries({name: summarise(self.store, name) for name in models})
        self.store.note(reached="1e9", synced="1e9", problem="", fault="")
        return changed  # fmt: skip


@pytest.fixture(params=["sqlite", "postgresql"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/evermodel.db"
    found: str = request.getfixturevalue("postgres_database")
    return found.replace("postgres://", "postgresql://")


@pytest.fixture
def server(tmp_path: Path, address: str) -> Callable[..., ApiServer]:
    def make(name: str, source: str = MLFLOW) -> ApiServer:
        return ApiServer(tmp_path / name, address, source)

    return make


def test_one_server_reads_and_the_others_show_the_same(server: Callable[..., ApiServer]) -> None:
    one, other = server("one"), server("other")

    assert one.look("churn", "fraud")
    assert not other.look("never asked")
    assert other.store.summaries() == one.store.summaries() != []
    assert other.store.runs("churn", "drift", 10) == one.store.runs("churn", "drift", 10)
    assert other.store.loaded() == {"churn": 0.0, "fraud": 0.0}
    assert (other.store.meta()["problem"], other.reads) == ("", 0)

    assert other.look("churn", every=0, day="2026-03-03")  # fraud was deleted
    assert not one.look()
    assert [day["day"] for day in one.store.runs("churn", "drift", 10)] == ["2026-03-02", "2026-03-03"]
    assert [summary["name"] for summary in one.store.summaries()] == ["churn"]


def test_while_one_server_reads_no_other_one_does(server: Callable[..., ApiServer], address: str) -> None:
    one, other = server("one"), server("other")
    one.look("churn")
    name = f"models page {one.shared._sha256[:16]}"

    with leased(open_database(address), name):
        assert not other.look("churn", every=0)
        assert [summary["name"] for summary in other.store.summaries()] == ["churn"]
    assert other.look("churn", every=0)


def test_a_server_that_lost_its_turn_overwrites_nothing(
    server: Callable[..., ApiServer], address: str, caplog: pytest.LogCaptureFixture
) -> None:
    slow, quick = server("slow"), server("quick")
    slow.look("churn")
    with slow.shared.turn(0) as mine, caplog.at_level(logging.WARNING):
        assert mine
        with Database(address).writing() as connection:
            connection.execute(text("UPDATE evermodel_lease SET token = token + 1, expires = 0, owner = ''"))
        assert quick.look("churn", every=0, day="2026-03-09")
        slow.shared.keep(slow.read(("churn",), "2026-03-03"))

    third = server("third")
    assert not third.look()
    assert "2026-03-03" not in [day["day"] for day in third.store.runs("churn", "drift", 10)]
    assert "is not shared with other API servers" in caplog.text


def test_why_mlflow_was_not_read_is_known_to_all(server: Callable[..., ApiServer]) -> None:
    one, other = server("one"), server("other")
    one.look("churn")
    seen = float(other.store.meta().get("reached", 0)), other.look()
    one.look(every=0, problem="MLflow hangs")

    assert not other.look()
    assert other.store.meta()["problem"] == "MLflow hangs"
    assert float(other.store.meta()["reached"]) > seen[0]  # when it answered last, not when it failed
    assert one.look("churn", every=0)
    assert not other.look()
    assert other.store.meta()["problem"] == ""


def test_a_damaged_state_stops_nothing_and_is_written_again(
    server: Callable[..., ApiServer], address: str, caplog: pytest.LogCaptureFixture
) -> None:
    one, other = server("one"), server("other")
    one.look("churn", "fraud")
    with Database(address).writing() as connection:
        damaged = update(models_page).where(models_page.c.model == "churn")
        connection.execute(damaged.values(content='{"model": {"na'))

    assert not other.look()
    assert [summary["name"] for summary in other.store.summaries()] == ["fraud"]
    assert "the last known state of churn is damaged" in caplog.text
    other.look("churn", "fraud", every=0)
    third = server("third")
    assert not third.look()
    assert len(third.store.summaries()) == 2


def test_releases_and_mlflow_servers_side_by_side_keep_rows_of_their_own(
    server: Callable[..., ApiServer], address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    server("today's").look("churn")
    assert server("elsewhere", "http://staging:5000").look("fraud")
    monkeypatch.setattr(shared_state, "LAYOUT", "99")
    assert server("tomorrow's").look("churn")
    monkeypatch.undo()
    again = server("today's again")

    assert not again.look()
    assert [summary["name"] for summary in again.store.summaries()] == ["churn"]
    with open_database(address).reading() as connection:
        assert connection.scalar(select(func.count()).select_from(models_page)) == 6


def test_without_the_database_a_server_reads_for_itself(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("in the way")
    server = ApiServer(tmp_path / "home", f"sqlite:///{tmp_path}/file/evermodel.db")

    assert server.look("churn")
    assert server.look("churn")
    assert [summary["name"] for summary in server.store.summaries()] == ["churn"]
    assert caplog.text.count("is not shared with other API servers") == 1
