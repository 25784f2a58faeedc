"""A model in a real registry that is watched day by day, and the queue of its messages."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from evermodel.alerts.incidents.handler import Handled, IncidentHandler
from evermodel.alerts.incidents.store import RegistryIncidents
from evermodel.alerts.publisher import notifier_destinations, slack_destination
from evermodel.alerts.queue import MessageQueue
from evermodel.alerts.queued_message import Destination, QueuedMessage
from evermodel.monitoring.problems import Problem
from evermodel.registry.tracking import connect, keyed_run
from support.small_spec import small_spec
from support.verdicts import a_problem, a_verdict

MONDAY = datetime(2026, 1, 5, tzinfo=UTC)
NOON, NIGHT = MONDAY + timedelta(hours=12), MONDAY + timedelta(hours=23)
ALERTS = {
    "channel": "#team", "remind": "3d", "mention": ["U0OWNER"], "escalation": {"channel": "#on-call", "mention": ["S0ONCALL"]},
    "quiet_hours": {"start": "20:00", "end": "07:00"}, "notifiers": [{"notifier": "pager.Notifier"}],
}  # fmt: skip
WARNING, CRITICAL = a_problem(severity="warning"), a_problem()
CALM = a_problem(severity="none", reason="no column drifts")


class WatchedModel:
    """One model, watched day by day; what waits is noted and taken as sent."""

    def __init__(self, folder: Path, tracking_uri: str) -> None:
        self.client = connect(tracking_uri)
        self.name = f"m_{uuid.uuid4().hex[:8]}"
        self.client.create_registered_model(self.name)
        self.folder = folder
        self.queue = MessageQueue(f"sqlite:///{folder}/messages.db", folder / "messages")
        self.respond: dict[str, str] = {}
        self.drawn = 0

    def desk(self, number: int, now: datetime = NOON) -> IncidentHandler:
        key = f"drift/{self.name}/{MONDAY + timedelta(days=number):%Y-%m-%d}"
        run = keyed_run(self.client, f"{self.name}-monitoring", key, kind="drift", name=key)
        return IncidentHandler(
            spec=small_spec(name=self.name, owner="data", alerts=ALERTS, respond=self.respond),
            incidents=RegistryIncidents(self.client, self.name, run.info.run_id),
            queue=self.queue,
            links={"Report": "http://mlflow.example/report"},
            next_step=lambda kind: "Wait and see.",
            draw=self.draw,
            now=now,
        )

    def draw(self, path: Path) -> Path:
        self.drawn += 1
        path.write_bytes(b"png")
        return path

    def look(
        self, number: int, *problems: Problem, now: datetime = NOON, **changes: Any
    ) -> dict[str, Handled]:
        verdict = a_verdict(model=self.name, problems=problems, **changes)
        done = self.desk(number, now).handle(verdict, MONDAY + timedelta(days=number), self.folder)
        return {handled.kind: handled for handled in done}

    def said(self, lane: Destination | None = None, now: datetime = NOON) -> list[str]:
        """Take what may go out of a lane, and return it in words."""
        lane, told = lane or self.lane, []
        for number, entry in self.queue.waiting(lane):
            if entry.not_before and datetime.fromisoformat(entry.not_before) > now:
                continue
            told.append(self._words(entry))
            self.queue.remember(lane, entry.key, {"kind": "slack", "ts": entry.key})
            self.queue.done(lane, number)
        return told

    def _words(self, entry: QueuedMessage) -> str:
        place = f" in {entry.thread.split('/')[1].rsplit('-', 1)[0]}" if entry.thread else ""
        return f"{entry.operation} {entry.event}{place}: {entry.message['text'].splitlines()[0]}".replace(
            self.name, "m"
        )

    @property
    def lane(self) -> Destination:
        return slack_destination(self.desk(0).spec.alerts)

    @property
    def on_call(self) -> Destination:
        return slack_destination(self.desk(0).spec.alerts, "#on-call")

    @property
    def pager(self) -> Destination:
        (lane,) = notifier_destinations(self.desk(0).spec)
        return lane
