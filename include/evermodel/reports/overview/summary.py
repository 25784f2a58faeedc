"""The summary of one model, rebuilt on every change."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from evermodel.alerts.incidents.state import Incident
from evermodel.core.errors import NewerFormatError
from evermodel.core.formats import loads
from evermodel.monitoring.problems import KINDS, RANK, worst_of
from evermodel.registry.registry_entry import RegistryEntry
from evermodel.registry.tags import INCIDENTS

if TYPE_CHECKING:
    from evermodel.registry.traffic_plan import TrafficPlan
    from evermodel.reports.overview.store import Store, StoredModel

STRIP_DAYS = 30
_ENDS = ("resolve", "close")
_MOST_OPEN_DAYS = 365  # how far back an open incident began
_DECISION = (
    "day", "as_of", "reason", "verdict", "ship", "forced", "outcome", "version", "candidate", "metric", "value",
    "against", "gain", "gain_low", "gain_high", "rejected_by", "run", "experiment",
)  # fmt: skip
_LAST = (
    "day", "version", "severity", "severities", "metric", "value", "low", "high", "promised", "limit", "rows", "reasons",
    "columns", "run", "experiment",
)  # fmt: skip


def summarise(store: Store, model: str) -> dict[str, Any]:
    """Return the summary of a model, as plain data."""
    entry = store.entry(model)
    if entry is None:
        return {}
    days = store.runs(model, "drift", STRIP_DAYS)
    retrains = retrains_of(store, entry, 60)
    decided = [retrain for retrain in retrains if retrain["verdict"]]
    found, incidents = registered(entry), open_incidents(entry)
    last = _picked(days[-1], _LAST) if days else None
    watched = bool(days) and bool(days[-1].get("watched"))
    if watched:
        incidents = _of_watched(incidents_of(store.runs(model, "drift", _MOST_OPEN_DAYS)))
    return {
        "name": model,
        "registered": bool(entry.created),
        "watched": watched,
        "champion": _watched_version(days) if watched else _champion(found, decided),
        "previous": found.previous,
        "challenger": found.challenger,
        "plan": plan_in_force(entry),
        "incidents": incidents,
        "last": last,
        "strip": [[d["day"], d["severity"], d.get("value"), d.get("promised")] for d in days],
        "decision": _picked(decided[-1], _DECISION) if decided else None,
        "severity": worst_of([i["current"] for i in incidents] + [_severity(last)]),
    }


def retrains_of(store: Store, entry: StoredModel, most: int) -> list[dict[str, Any]]:
    """Return a model's last retrains, oldest first, with who rejected their versions (`rejected_by`)."""
    rollouts = store.runs(entry.name, "rollout", most)
    back = {rollout["version"]: "its rollout" for rollout in rollouts if rollout["outcome"] == "rolled_back"}
    said = {**back, **entry.rejected}
    return [
        {**retrain, "rejected_by": said.get(retrain["version"], "")}
        for retrain in store.runs(entry.name, "retrain", most)
    ]


def registered(entry: StoredModel) -> RegistryEntry:
    """Return a model as last read from the registry; without a history that a newer release wrote."""
    found = RegistryEntry(entry.name, entry.aliases, entry.tags)
    try:
        found.records  # noqa: B018  # reads them
    except NewerFormatError:
        return RegistryEntry(entry.name, entry.aliases, {})
    return found


def open_incidents(entry: StoredModel) -> list[dict[str, Any]]:
    """Return the incidents that are open, the worst first."""
    try:
        states = loads(entry.tags.get(INCIDENTS, "{}"), f"tag {INCIDENTS}")
        pairs = [(kind, states[kind]["incident"]) for kind in KINDS if kind in states]
        found = [{**asdict(Incident(**incident)), "kind": kind} for kind, incident in pairs if incident]
    except (ValueError, KeyError, TypeError):
        return []
    for incident in found:
        incident.pop("delivery")
    return sorted(found, key=lambda incident: -RANK.get(incident["current"], 0))


def incidents_of(days: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Merge the transitions of all days into one entry per incident."""
    found: dict[str, dict[str, Any]] = {}
    for day in days:
        for step in day["transitions"]:
            if not {"incident", "kind", "action", "severity", "at"} <= set(step):
                continue
            known = found.setdefault(
                step["incident"],
                {"id": step["incident"], "kind": step["kind"], "severity": step["severity"], "ended": ""},
            )
            known.setdefault("opened", str(step.get("opened") or step["at"])[:10])
            if RANK.get(step["severity"], 0) > RANK.get(known["severity"], 0):
                known["severity"] = step["severity"]
            if step["action"] in _ENDS:
                known["ended"] = step["at"][:10]
            else:
                known |= {"reason": step.get("reason", ""), "cause": step.get("cause", "")}
    return sorted(found.values(), key=lambda incident: incident["opened"])


def plan_in_force(entry: StoredModel) -> dict[str, Any] | None:
    """Return the active traffic plan; None if the champion answers all requests."""
    plan = traffic_plan(entry)
    return plan.to_json() if plan is not None and plan.holds(registered(entry).champion) else None


def traffic_plan(entry: StoredModel) -> TrafficPlan | None:
    """Return the model's last traffic plan, whatever its state."""
    try:
        return RegistryEntry(entry.name, entry.aliases, entry.tags).plan
    except (ValueError, KeyError, TypeError):
        return None


def _champion(found: RegistryEntry, decided: list[dict[str, Any]]) -> dict[str, Any] | None:
    version = found.champion
    if version is None:
        return None
    promoted = [p for p in found.promotions if p.version == version]
    made = [retrain for retrain in decided if retrain["version"] == version]
    facts: dict[str, Any] = {"version": version, "since": "", "by": "", "reason": "", "kind": ""}
    if promoted:
        last = promoted[-1]
        facts |= {"since": last.at, "by": last.by, "reason": last.reason, "kind": last.kind}
    if made:
        names = ("as_of", "candidate", "metric", "value", "run", "experiment")
        facts |= _picked(made[-1], names)
    return facts


def _watched_version(days: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the version of a watched model, which others put into service."""
    return {"version": days[-1]["version"], "since": "", "by": "", "reason": "", "kind": "watched"}


def _of_watched(incidents: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the open incidents of a watched model, the worst first; their history is in its verdicts."""
    found = [
        {"cause": "", "version": "", **one, "current": one["severity"]}
        for one in incidents
        if not one["ended"]
    ]
    return sorted(found, key=lambda incident: -RANK.get(incident["current"], 0))


def _severity(last: Mapping[str, Any] | None) -> Any:
    severity = last["severity"] if last else "none"
    return severity if severity in RANK else "none"


def _picked(facts: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {name: facts.get(name) for name in names}
