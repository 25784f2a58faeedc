"""The stored state of one kind of problem, and its transitions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Literal

from evermodel.alerts.queued_message import Delivery
from evermodel.monitoring.problems import RANK, Problem, Severity
from evermodel.spec.window import parse_moment

Action = Literal["quiet", "open", "escalate", "remind", "update", "resolve", "close"]
MOST_CAUSE = 120
_BACKOFF = (1, 3, 7, 14, 30)  # days after an incident opened
_MONTH = timedelta(days=30)


@dataclass(frozen=True)
class Incident:
    """An open problem.

    Parameters
    ----------
    id
        Unique among the model's incidents; part of its messages' keys.
    opened
        End of the first window that showed it, ISO 8601.
    severity
        The worst severity that was announced.
    current
        Severity of the last window.
    told
        End of the window of the last message: opened, escalated or reminded.
    version
        The champion when it opened.
    delivery
        Delivery of its first message, as plain data; empty until known.
    """

    id: str
    opened: str
    severity: Severity
    current: Severity
    told: str
    cause: str = ""
    version: str = ""
    delivery: Delivery = field(default_factory=dict)


@dataclass(frozen=True)
class IncidentState:
    """The state of one kind of problem.

    It is stored before any message is queued. A step that is interrupted in between and runs again finds its decision
    and repeats it; the keys of the messages prevent duplicates.

    Parameters
    ----------
    last
        End of the newest evaluated window.
    judged, did
        Severity of that window (empty if it was not evaluated), and the action.
    count
        Number of incidents so far.
    ended
        The incident that ended with the last window.
    """

    last: str | None = None
    judged: Severity | Literal[""] = ""
    did: Action = "quiet"
    count: int = 0
    incident: Incident | None = None
    ended: Incident | None = None

    def next_action(
        self,
        problem: Problem,
        as_of: datetime,
        remind: timedelta | Literal["backoff"] | None,
        silenced: Callable[[Action], bool] = lambda action: False,
    ) -> Action:
        """Return the action for a window.

        A window older than the last one changes nothing. The same window with the same severity returns the same action
        again; with another severity it counts as a new one.

        Parameters
        ----------
        remind
            Interval of reminders about an open incident; ``backoff``: less and less often; None: never.
        silenced
            Whether a person's response stops an action.
        """
        last = None if self.last is None else parse_moment(self.last)
        if last is not None and as_of < last:
            return "quiet"
        if as_of == last and _judged(problem) == self.judged:
            return self.did
        if not problem.known:
            return "quiet"
        if self.incident is None:
            return "quiet" if problem.severity == "none" else "open"
        if problem.severity == "none":
            return "resolve"
        if RANK[problem.severity] > RANK[self.incident.severity]:
            return "update" if silenced("escalate") else "escalate"
        due = remind is not None and _due(self.incident, as_of, remind)
        return "remind" if due and not silenced("remind") else "update"

    def after(
        self,
        action: Action,
        problem: Problem,
        as_of: datetime,
        *,
        origin: str,
        cause: str = "",
        version: str = "",
    ) -> IncidentState:
        """Return the state after an action.

        Parameters
        ----------
        origin
            Distinguishes this registry entry from an earlier one of the same name; part of the incident's id.
        """
        now = as_of.isoformat()
        if self.last is not None and as_of < parse_moment(self.last):
            return self
        if self.last is not None and as_of == parse_moment(self.last) and _judged(problem) == self.judged:
            return self._again(cause)
        state = replace(self, last=now, judged=_judged(problem), did=action, ended=None)
        if action == "quiet":
            return state
        if action in ("resolve", "close"):
            return replace(state, incident=None, ended=self.incident)
        if action == "open" or self.incident is None:
            number = self.count + 1
            name = f"{problem.kind}-{number}-{origin}"
            severity = problem.severity
            opened = Incident(name, now, severity, severity, now, cause[:MOST_CAUSE], version[:40])
            return replace(state, count=number, incident=opened)
        changed = replace(
            self.incident,
            severity=problem.severity if action == "escalate" else self.incident.severity,
            current=problem.severity,
            told=now if action in ("escalate", "remind") else self.incident.told,
            cause=cause[:MOST_CAUSE],
        )
        return replace(state, incident=changed)

    def delivered(self, delivery: Delivery) -> IncidentState:
        """Return the state with the delivery of the open incident's first message."""
        if self.incident is None:
            return self
        return replace(self, incident=replace(self.incident, delivery=delivery))

    @property
    def subject(self) -> Incident | None:
        """The incident of the last window: the open one, or the one that it ended."""
        return self.incident or self.ended

    def to_json(self) -> dict[str, Any]:
        """Return plain data, ready for JSON."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> IncidentState:
        """Read what `to_json` wrote."""
        parts = {name: data[name] and Incident(**data[name]) for name in ("incident", "ended")}
        return cls(**{**data, **parts})

    def _again(self, cause: str) -> IncidentState:
        if self.incident is None:
            return self
        return replace(self, incident=replace(self.incident, cause=cause[:MOST_CAUSE]))


def _due(incident: Incident, as_of: datetime, remind: timedelta | Literal["backoff"]) -> bool:
    told, opened = parse_moment(incident.told), parse_moment(incident.opened)
    if isinstance(remind, timedelta):
        return as_of - told >= remind
    return _reminders(as_of - opened) > _reminders(told - opened)


def _reminders(age: timedelta) -> int:
    """Return how many reminders an incident has had at an age: after 1, 3, 7, 14, 30, 60, 90 ... days."""
    return sum(age >= timedelta(days=days) for days in _BACKOFF) + max(0, age // _MONTH - 1)


def _judged(problem: Problem) -> Severity | Literal[""]:
    return problem.severity if problem.known else ""
