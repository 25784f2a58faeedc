"""Storage of incidents: open ones in a tag of the registered model, transitions in tags of the daily runs.

The open incidents are one small tag, read and written at once. The history has no limit and is never rewritten: each
day's transitions are a tag of that day's monitoring run, so one search finds them all and no file has to be loaded.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol

from evermodel.alerts.incidents.state import IncidentState
from evermodel.core.formats import loads, stamped, unstamped
from evermodel.monitoring.problems import KINDS, RANK, ProblemKind, Severity
from evermodel.monitoring.retrain_policy import is_requested
from evermodel.registry.tags import INCIDENTS
from evermodel.registry.tracking import paged
from evermodel.spec import ModelSpec
from evermodel.spec.window import parse_moment

if TYPE_CHECKING:
    from evermodel.monitoring.verdict_history import VerdictHistory
    from evermodel.registry.client import MlflowClient

WATCHED = "watched"  # the origin of models that no registry has

# MLflow on a database keeps tags of a registered model up to 5,000 characters, and those of a run up to 8,000.
MOST_STORED = 5000
MOST_TRANSITIONS = 8000
_MOST_REASON = 300
_PAGE = 1000


@dataclass(frozen=True)
class Transition:
    """One line of an incident's history.

    Parameters
    ----------
    action
        ``open``, ``escalate``, ``remind``, ``resolve`` or ``close`` (the kind was switched off in the spec).
    at
        End of the window, ISO 8601.
    """

    incident: str
    kind: ProblemKind
    action: str
    severity: Severity
    at: str
    opened: str
    version: str
    reason: str = ""
    cause: str = ""


@dataclass(frozen=True)
class StoredIncidents:
    """The states of a model's kinds of problem.

    Parameters
    ----------
    origin
        Distinguishes this registry entry from an earlier one of the same name.
    """

    origin: str
    states: dict[str, IncidentState]

    def of(self, kind: str) -> IncidentState:
        """Return the state of one kind."""
        return self.states.get(kind, IncidentState())

    def having(self, kind: str, state: IncidentState) -> StoredIncidents:
        """Return a copy with one state replaced."""
        return replace(self, states={**self.states, kind: state})


class IncidentRecord(Protocol):
    """Where a model's incidents are kept beside the database, for those who read them."""

    def read(self) -> StoredIncidents:
        """Return the incidents as they are kept there."""
        ...

    def write(self, stored: StoredIncidents) -> None:
        """Keep the incidents."""
        ...

    def record(self, transitions: Sequence[Transition]) -> None:
        """Add to the history of the day; a repeated transition is kept once."""
        ...


@dataclass(frozen=True)
class RegistryIncidents:
    """The incidents of a registered model, in tags of MLflow: for pages, digests and the gate.

    Parameters
    ----------
    run_id
        The MLflow run of the day, which keeps the history.
    """

    client: MlflowClient
    model: str
    run_id: str

    def read(self) -> StoredIncidents:
        """Read the incidents of the registered model."""
        return read_incidents(self.client, self.model)

    def write(self, stored: StoredIncidents) -> None:
        """Store the incidents with the registered model."""
        write_incidents(self.client, self.model, stored)

    def record(self, transitions: Sequence[Transition]) -> None:
        """Add transitions to the day's run."""
        record(self.client, self.run_id, list(transitions))


@dataclass(frozen=True)
class WatchedIncidents:
    """The incidents of a watched model: the database alone keeps them, and the history is with its verdicts."""

    history: VerdictHistory
    as_of: datetime

    def read(self) -> StoredIncidents:
        """Return no incidents: those of the database hold."""
        return StoredIncidents(WATCHED, {})

    def write(self, stored: StoredIncidents) -> None:
        """Do nothing: they are in the database."""

    def record(self, transitions: Sequence[Transition]) -> None:
        """Add transitions to the verdict of the window."""
        if transitions:
            self.history.add(self.as_of, transitions=[asdict(_clipped(one)) for one in transitions])


def read_incidents(client: MlflowClient, model: str) -> StoredIncidents:
    """Read a model's incidents from the registry."""
    found = client.get_registered_model(model)
    data = loads(found.tags.get(INCIDENTS, "{}"), f"tag {INCIDENTS} of model {model}")
    states: dict[str, IncidentState] = {k: IncidentState.from_json(data[k]) for k in KINDS if k in data}
    return StoredIncidents(f"{int(found.creation_timestamp or 0) & 0xFFFFFFFF:08x}", states)


def asking_thread(spec: ModelSpec, client: MlflowClient, run_key: str) -> str:
    """Return the thread of the incident for which the policy requested a retrain: the worst one that may request some.

    Returns
    -------
    The identity of its first message; empty if the schedule or a person asked, or no such incident is known.
    """
    if not is_requested(spec, run_key):
        return ""
    stored = read_incidents(client, spec.name)
    auto = {part for part in type(spec.respond).model_fields if getattr(spec.respond, part) == "auto"}
    asking = {"drift": auto - {"performance"}, "performance": auto & {"performance"}}
    states = [stored.of(kind) for kind, parts in asking.items() if parts]
    known = [(state.incident is not None, found) for state in states if (found := state.subject)]
    if not known:
        return ""
    _, worst = max(known, key=lambda one: (one[0], RANK[one[1].severity]))
    return f"{spec.name}/{worst.id}"


def write_incidents(client: MlflowClient, model: str, stored: StoredIncidents) -> None:
    """Store a model's incidents; texts such as causes are shortened if they do not fit."""
    text = _states_text(stored)
    if len(text) > MOST_STORED:
        text = _states_text(replace(stored, states={k: _shorter(b) for k, b in stored.states.items()}))
    client.set_registered_model_tag(model, INCIDENTS, text)


def record(client: MlflowClient, run_id: str, transitions: list[Transition]) -> None:
    """Add transitions to the day's run; a repeated transition is stored once."""
    if not transitions:
        return
    known = _transitions(client.get_run(run_id).data.tags.get(INCIDENTS, "[]"))
    kept = list(dict.fromkeys([*known, *(_clipped(transition) for transition in transitions)]))
    while len(text := json.dumps([stamped(asdict(one)) for one in kept])) > MOST_TRANSITIONS:
        longest = max(range(len(kept)), key=lambda number: len(kept[number].reason + kept[number].cause))
        if not kept[longest].reason + kept[longest].cause:
            kept.pop(0)
        else:
            kept[longest] = replace(kept[longest], reason="", cause="")
    client.set_tag(run_id, INCIDENTS, text)


def incident_history(client: MlflowClient, model: str, since: datetime | None = None) -> list[Transition]:
    """Return the transitions of a model's incidents, oldest first."""
    experiment = client.get_experiment_by_name(f"{model}-monitoring")
    if experiment is None:
        return []
    query = [experiment.experiment_id], f"tags.`{INCIDENTS}` LIKE '[%'"
    runs = paged(client.search_runs, *query, max_results=_PAGE)
    found = (transition for run in runs for transition in _transitions(run.data.tags[INCIDENTS]))
    wanted = [t for t in found if since is None or parse_moment(t.at) >= since]
    return sorted(wanted, key=lambda transition: (parse_moment(transition.at), transition.incident))


def _transitions(text: str) -> list[Transition]:
    return [Transition(**unstamped(data, f"tag {INCIDENTS} of a run")) for data in json.loads(text)]


def _clipped(transition: Transition) -> Transition:
    return replace(transition, reason=transition.reason[:_MOST_REASON], cause=transition.cause[:_MOST_REASON])


def _states_text(stored: StoredIncidents) -> str:
    data: dict[str, Any] = {kind: state.to_json() for kind, state in stored.states.items()}
    return json.dumps(stamped(data), sort_keys=True, separators=(",", ":"))


def _shorter(state: IncidentState) -> IncidentState:
    incident, ended = (part and replace(part, cause="") for part in (state.incident, state.ended))
    return replace(state, incident=incident, ended=ended)
