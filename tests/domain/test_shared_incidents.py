"""Drift of one source is one message with a line for each model; what has another cause stays by itself."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from evermodel.alerts.incidents.handler import Handled, IncidentHandler
from evermodel.alerts.incidents.store import WATCHED, StoredIncidents, Transition
from evermodel.alerts.message import Message
from evermodel.alerts.publisher import slack_destination
from evermodel.alerts.queue import MessageQueue
from evermodel.core.database.tables import shared_incidents
from evermodel.monitoring.problems import Severity
from support.small_spec import small_spec
from support.verdicts import a_column, a_problem, a_verdict
from support.watched_model import CALM, MONDAY, NIGHT, NOON

QUIET = {"start": "20:00", "end": "07:00"}


class InDatabaseAlone:
    """The record of a watched model, without its verdicts."""

    def read(self) -> StoredIncidents:
        return StoredIncidents(WATCHED, {})

    def write(self, stored: StoredIncidents) -> None:
        pass

    def record(self, transitions: Sequence[Transition]) -> None:
        pass


class Fleet:
    """Models with one channel, and what the channel has got."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.queue = MessageQueue(f"sqlite:///{folder}/messages.db", folder / "messages")
        self.posted: dict[str, Message] = {}
        self.threads: dict[str, tuple[str, bool]] = {}

    def look(
        self,
        model: str,
        severity: Severity = "critical",
        columns: Sequence[str] = ("price",),
        *,
        day: int = 0,
        now: datetime = NOON,
        source: dict[str, Any] | None = None,
    ) -> Handled:
        problem = CALM if severity == "none" else a_problem(severity=severity)
        alerts = {"channel": "#team", "quiet_hours": QUIET, "escalation": {"channel": "#on-call"}}
        handler = IncidentHandler(
            spec=small_spec(name=model, alerts=alerts, source=source or {"path": "orders.parquet"}),
            incidents=InDatabaseAlone(),
            queue=self.queue,
            links={"Model": f"http://airflow.example/models/{model}"},
            next_step=lambda kind: "Wait and see.",
            draw=None,
            now=now,
        )
        drifting = () if severity == "none" else tuple(a_column(column=name) for name in columns)
        verdict = a_verdict(model=model, problems=(problem,), columns=drifting)
        done = handler.handle(verdict, MONDAY + timedelta(days=day), self.folder)
        return next(one for one in done if one.kind == "drift")

    def deliver(self, channel: str = "#team", now: datetime = NOON) -> list[str]:
        """Send what is due; return the keys of new messages of the channel itself."""
        place, new = slack_destination(small_spec(alerts={"channel": channel}).alerts), []
        for number, entry in self.queue.waiting(place):
            if entry.not_before and datetime.fromisoformat(entry.not_before) > now:
                continue
            if self.queue.receipt(place, entry.key) is None:
                self.threads[entry.key] = (entry.thread, entry.broadcast)
                new += [] if entry.thread and not entry.broadcast else [entry.key]
            self.posted[entry.key] = entry.read()
            self.queue.remember(place, entry.key, {"kind": "slack", "ts": entry.key})
            self.queue.done(place, number)
        return new

    def title(self, key: str) -> str:
        return self.posted[key].plain_title

    def stored(self) -> int:
        with self.queue.database.reading() as connection:
            return len(connection.execute(shared_incidents.select()).all())


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    return Fleet(tmp_path)


def test_thirty_models_are_one_message_with_thirty_lines(fleet: Fleet) -> None:
    keys = [fleet.look(f"m{number:02}", columns=("price", f"own{number}")).message for number in range(30)]
    assert fleet.deliver() == keys[:1]
    told = fleet.posted[keys[0]]
    assert told.plain_title == (
        "[critical] 30 models: drift in price, own0, own1, own2 and 27 more of orders.parquet (critical)"
    )
    assert all(f"m{number:02} critical: price, own{number}" in told.text for number in range(30))
    shown = " ".join(str(block) for block in told.blocks)
    assert all(f"models/m{number:02}|m{number:02}> critical" in shown for number in range(30))
    assert "humid" not in shown
    assert "What drifted" in shown  # the first one's own part stays
    assert {fleet.threads[key] for key in keys[1:]} == {(keys[0], False)}


def test_lines_follow_their_incidents_until_the_last_is_over(fleet: Fleet) -> None:
    first, second = fleet.look("a").message, fleet.look("b", "warning").message
    fleet.deliver()
    assert fleet.title(first) == "[critical] 2 models: drift in price of orders.parquet (critical)"
    fleet.look("a", "none", day=1)
    assert fleet.deliver() == []
    assert fleet.title(first) == "[warning] 2 models: drift in price of orders.parquet (warning)"
    assert "a resolved: price" in fleet.posted[first].text
    fleet.look("b", "none", day=2)
    assert fleet.deliver() == [f"{second}-resolved"]
    assert fleet.title(first) == "[resolved] 2 models: drift in price of orders.parquet resolved"
    assert fleet.title(second) == "[resolved] b: drift resolved"
    assert fleet.threads[f"{second}-resolved"] == (first, True)
    assert fleet.stored() == 0


def test_a_step_that_runs_again_adds_nothing(fleet: Fleet) -> None:
    for _ in range(2):
        fleet.look("a")
        fleet.look("b")
    assert fleet.deliver() == ["a/drift-1-watched"]
    fleet.look("b")
    assert fleet.deliver() == []
    assert fleet.posted["a/drift-1-watched"].plain_title.startswith("[critical] 2 models")
    assert fleet.stored() == 1


@pytest.mark.parametrize(
    "other",
    [
        {"columns": ("colour",)},
        {"source": {"path": "shops.parquet"}},
        {"source": {"path": "orders.parquet", "upstream": "shop"}},
        {"day": 2},
    ],
    ids=["column", "source", "upstream", "day"],
)
def test_another_cause_is_another_message(fleet: Fleet, other: dict[str, Any]) -> None:
    assert [fleet.look("a").message, fleet.look("b", **other).message] == fleet.deliver()
    assert fleet.title("a/drift-1-watched") == "[critical] a: drift (critical)"


def test_logs_of_their_own_are_joined_by_what_the_specs_name(fleet: Fleet) -> None:
    for model in "ab":
        fleet.look(model, source={"path": f"{model}.parquet", "upstream": "warehouse.orders"})
    assert fleet.deliver() == ["a/drift-1-watched"]
    assert "2 models: drift in price of warehouse.orders" in fleet.title("a/drift-1-watched")


def test_what_makes_it_worse_is_shown_to_the_channel_and_ends_the_quiet_hours(fleet: Fleet) -> None:
    first = fleet.look("a", "warning", now=NIGHT).message
    assert fleet.deliver(now=NIGHT) == []
    assert fleet.look("b", "warning", now=NIGHT).action == "open"
    assert fleet.deliver(now=NIGHT) == []
    third = fleet.look("c", now=NIGHT).message
    assert fleet.deliver(now=NIGHT) == [first, third]
    assert fleet.look("d", now=NIGHT).action == "open"
    assert fleet.deliver(now=NIGHT) == []
    assert fleet.threads["d/drift-1-watched"] == (first, False)


def test_the_second_channel_gets_one_message_too(fleet: Fleet) -> None:
    fleet.look("a")
    fleet.look("b")
    assert fleet.deliver("#on-call") == ["a/drift-1-watched-second"]


def test_an_incident_alone_is_as_it_was(fleet: Fleet) -> None:
    key = fleet.look("a").message
    fleet.deliver()
    assert fleet.title(key) == "[critical] a: drift (critical)"
    fleet.look("a", "none", day=1)
    assert fleet.deliver() == [f"{key}-resolved"]
    assert fleet.stored() == 0
