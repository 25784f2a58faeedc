"""What the watch of a model remembers of one kind of problem, and what a new window calls for."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Literal

from evermodel.alerts.transport import Delivery
from evermodel.core.severity import RANK, Severity
from evermodel.monitoring.problems import Problem
from evermodel.spec.window import parse_moment

Action = Literal["quiet", "open", "escalate", "remind", "update", "resolve", "close"]
MOST_CAUSE = 120


@dataclass(frozen=True)
class Incident:
    """A problem that goes on.

    Parameters
    ----------
    id
        Names it among all incidents of the model, and in the keys of its messages.
    opened
        End of the first window that showed it, ISO 8601.
    severity
        The worst so far.
    current
        How bad the last window was.
    told
        End of the window at which people last heard of it: opened, escalated or reminded.
    cause
        The likely cause, in words.
    version
        The champion when it opened.
    delivery
        Where its first message went, as plain data; empty until that is known.
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
    """The memory of one kind of problem.

    It is written before anybody is told. A step that was killed in between and runs again finds what it had decided,
    and does that again; the keys of the messages keep it from being said twice.

    Parameters
    ----------
    last
        End of the newest window that was judged.
    judged, did
        What was found in that window (empty if nothing could be judged), and what followed.
    count
        How many incidents there have been.
    incident
        The one that is open, if any.
    ended
        The one that ended with the last window.
    """

    last: str | None = None
    judged: Severity | Literal[""] = ""
    did: Action = "quiet"
    count: int = 0
    incident: Incident | None = None
    ended: Incident | None = None

    def next_action(self, problem: Problem, as_of: datetime, remind: timedelta | None) -> Action:
        """Say what a window calls for.

        A window older than the last one changes nothing. The same window with the same finding calls for the same
        again; with another finding it counts like a new one.

        Parameters
        ----------
        problem
            What was found.
        as_of
            End of the window.
        remind
            How often an incident that goes on is brought up; None: never.
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
            return "escalate"
        due = remind is not None and as_of - parse_moment(self.incident.told) >= remind
        return "remind" if due else "update"

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
        """Return the memory after an action was decided.

        Parameters
        ----------
        origin
            What tells this registry entry from an earlier one of the same name; becomes part of the incident's id.
        """
        now = as_of.isoformat()
        if self.last is not None and as_of < parse_moment(self.last):
            return self
        if self.last is not None and as_of == parse_moment(self.last) and _judged(problem) == self.judged:
            return self._again(cause)
        book = replace(self, last=now, judged=_judged(problem), did=action, ended=None)
        if action == "quiet":
            return book
        if action in ("resolve", "close"):
            return replace(book, incident=None, ended=self.incident)
        if action == "open" or self.incident is None:
            number = self.count + 1
            name = f"{problem.kind}-{number}-{origin}"
            severity = problem.severity
            opened = Incident(name, now, severity, severity, now, cause[:MOST_CAUSE], version[:40])
            return replace(book, count=number, incident=opened)
        changed = replace(
            self.incident,
            severity=max(problem.severity, self.incident.severity, key=RANK.__getitem__),
            current=problem.severity,
            told=now if action in ("escalate", "remind") else self.incident.told,
            cause=cause[:MOST_CAUSE],
        )
        return replace(book, incident=changed)

    def delivered(self, delivery: Delivery) -> IncidentState:
        """Return the memory with the place of the open incident's first message."""
        if self.incident is None:
            return self
        return replace(self, incident=replace(self.incident, delivery=delivery))

    @property
    def subject(self) -> Incident | None:
        """The incident that the last window is about: the open one, or the one that it ended."""
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


def _judged(problem: Problem) -> Severity | Literal[""]:
    return problem.severity if problem.known else ""
