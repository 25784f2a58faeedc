"""Simulated incident messages of a replay."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from evermodel.alerts.incidents.handler import answered
from evermodel.alerts.incidents.state import IncidentState
from evermodel.monitoring.drift.verdict import DriftVerdict
from evermodel.monitoring.problems import KINDS
from evermodel.pipelines.backtest.outcome import Alert
from evermodel.spec import ModelSpec

_TOLD = ("open", "escalate", "remind", "resolve")


@dataclass
class Alarms:
    """The incidents of one model, kept in memory; nothing is sent."""

    spec: ModelSpec
    sent: list[Alert] = field(default_factory=list)
    _books: dict[str, IncidentState] = field(default_factory=dict)

    def handle(self, verdict: DriftVerdict, as_of: datetime) -> None:
        """Decide from a verdict which message each kind of problem gets."""
        for kind in KINDS:
            problem = answered(self.spec, verdict, kind)
            if problem is None:
                continue
            book = self._books.get(kind, IncidentState())
            action = book.next_action(problem, as_of, self.spec.alerts.remind)
            self._books[kind] = book.after(action, problem, as_of, origin="replay", version=verdict.version)
            if action in _TOLD:
                self.sent.append(Alert(f"{as_of:%Y-%m-%d}", kind, action, problem.severity))
