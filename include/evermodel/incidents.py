"""One incident for one continuous problem: it opens, escalates, is updated and resolves."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from evermodel import registry
from evermodel.drift.verdict import DriftVerdict
from evermodel.severity import RANK, Severity
from evermodel.window import parse_moment

if TYPE_CHECKING:
    from mlflow import MlflowClient

Action = Literal["quiet", "open", "escalate", "update", "resolve"]
_TAG = "evermodel.incident"


@dataclass(frozen=True)
class Incident:
    """A problem that goes on.

    Parameters
    ----------
    opened
        End of the first window that showed it, ISO 8601.
    severity
        The worst so far.
    delivery
        Where its message went, as plain data; later news answers to it.
    """

    opened: str
    severity: Severity
    delivery: dict[str, Any]


@dataclass(frozen=True)
class Watchbook:
    """What the watch of a model remembers: the last window it judged, and the incident that is open, if any."""

    last: str | None = None
    incident: Incident | None = None

    def next_action(self, severity: Severity, as_of: datetime) -> Action:
        """Say what a verdict calls for.

        A window older than the last judged one changes nothing, and the same window again only refreshes.
        """
        if self.last is not None and as_of < parse_moment(self.last):
            return "quiet"
        if self.incident is None:
            again = self.last is not None and as_of == parse_moment(self.last)
            return "quiet" if severity == "none" or again else "open"
        if severity == "none":
            return "resolve"
        return "escalate" if RANK[severity] > RANK[self.incident.severity] else "update"

    def after(
        self, action: Action, severity: Severity, as_of: datetime, delivery: dict[str, Any] | None
    ) -> Watchbook:
        """Return the memory after an action was carried out."""
        if action == "quiet":
            last = (
                as_of.isoformat()
                if self.last is None
                else max(self.last, as_of.isoformat(), key=parse_moment)
            )
            return Watchbook(last, self.incident)
        if action == "resolve":
            return Watchbook(as_of.isoformat(), None)
        if action == "open" or self.incident is None:
            return Watchbook(as_of.isoformat(), Incident(as_of.isoformat(), severity, delivery or {}))
        worst = max(severity, self.incident.severity, key=RANK.__getitem__)
        return Watchbook(as_of.isoformat(), Incident(self.incident.opened, worst, self.incident.delivery))


def alert_severity(verdict: DriftVerdict) -> Severity:
    """Return how bad a window is for people: its drift, or at least a warning when the data itself is bad."""
    return "warning" if verdict.severity == "none" and verdict.quality else verdict.severity


def read_watchbook(client: MlflowClient, model: str) -> Watchbook:
    """Read what the watch of a model remembers, from the registry."""
    data = registry.model_tag(client, model, _TAG)
    if data is None:
        return Watchbook()
    incident = data["incident"]
    return Watchbook(data["last"], incident and Incident(**incident))


def write_watchbook(client: MlflowClient, model: str, book: Watchbook) -> None:
    """Store what the watch of a model remembers."""
    registry.set_model_tag(client, model, _TAG, asdict(book))
