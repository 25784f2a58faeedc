"""Refresh of the store: changes in MLflow, in a few searches over all models."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence

from evermodel.registry.tags import KIND, OURS, TRAFFIC_PLAN
from evermodel.reports.overview.records import features_of, record_of
from evermodel.reports.overview.server import TrackingServer, tags_of
from evermodel.reports.overview.store import Store, StoredModel
from evermodel.reports.overview.summary import summarise

# A run is read again for this long after its start or end, because other tasks of the day may write to it.
OVERLAP = 6 * 3600
_NEWEST, _ALL = 1000, 5000
_RETRAINS = f"tags.`{KIND}` = 'retrain'"


def refresh(store: Store, server: TrackingServer, specs: Iterable[str]) -> set[str]:
    """Read the changes of all models since the last refresh, and return the names of the changed ones.

    The registry is read as a whole (one call for a thousand models). Of the runs only those are read that began or
    ended lately; the first time the newest thousand of each kind, so that the list is there at once. `load` completes
    a model.

    Parameters
    ----------
    specs
        Names of the models that have a spec, including those not yet in MLflow.
    """
    started = time.time()
    entries = _entries(server, specs)
    store.start_over(server.url)  # only after the new server has answered
    since = store.meta().get("synced")
    changed = store.keep_models(entries)
    store.note(reached=repr(started))
    _find_experiments(store, server, entries)
    if since is None:  # names and champions are shown before the first run is read
        store.keep_summaries({name: summarise(store, name) for name in changed})
    experiments = store.experiments()
    if since is None:
        queries, most = [""], _NEWEST
    else:
        edge = round((float(since) - OVERLAP) * 1000)
        queries, most = [f"attributes.start_time > {edge}", f"attributes.end_time > {edge}"], 1_000_000
    retrains, days, rollouts = ([ids[n] for ids in experiments.values() if ids and ids[n]] for n in range(3))
    for query in queries:
        changed |= _read(store, server, days, query, most)
        changed |= _read(store, server, rollouts, query, most)
        changed |= _read(
            store, server, retrains, " and ".join(part for part in (_RETRAINS, query) if part), most
        )
    store.keep_summaries({name: summarise(store, name) for name in changed})
    store.note(synced=repr(started))
    return changed


def load(store: Store, server: TrackingServer, model: str) -> None:
    """Read all days, retrains and rollouts of one model."""
    started, entry = time.time(), store.entry(model)
    if entry is not None:
        _find_experiments(store, server, {model: entry})
    retrains, days, rollouts = store.experiments().get(model) or ["", "", ""]
    for experiment in filter(None, (days, rollouts)):
        _read(store, server, [experiment], "", _ALL)
    if retrains:
        _read(store, server, [retrains], _RETRAINS, _ALL)
    store.keep_summaries({model: summarise(store, model)})
    store.note_loaded(model, started)


def _entries(server: TrackingServer, specs: Iterable[str]) -> dict[str, StoredModel]:
    """Return the models: those with a spec, and those of the registry with our tags."""
    entries = {name: StoredModel(name, {}, {}) for name in specs}
    rejected = server.rejections()
    for found in server.models():
        name, tags = found["name"], tags_of(found)
        if name not in entries and not any(key.startswith(OURS) for key in tags):
            continue
        aliases = {a["alias"]: str(a["version"]) for a in found.get("aliases", [])}
        entries[name] = StoredModel(
            name, aliases, tags, int(found.get("creation_timestamp") or 0), rejected.get(name, {})
        )
    return entries


def _find_experiments(store: Store, server: TrackingServer, entries: Mapping[str, StoredModel]) -> None:
    """Search for unknown experiments; an experiment of rollouts exists only after a rollout."""
    ids_of = store.experiments()
    missing = [
        name for name, entry in entries.items() if _lacks(ids_of.get(name) or [], TRAFFIC_PLAN in entry.tags)
    ]
    if not missing:
        return
    known = server.experiments()
    wanted = ("", "-monitoring", "-rollouts")
    store.keep_experiments({name: [known.get(f"{name}{end}", "") for end in wanted] for name in missing})


def _lacks(ids: list[str], rolled_out: bool) -> bool:
    return not ids or not all(ids[:2]) or (rolled_out and not ids[2])


def _read(
    store: Store, server: TrackingServer, experiments: Sequence[str], query: str, most: int
) -> set[str]:
    if not experiments:
        return set()
    model_of = {identity: name for name, ids in store.experiments().items() for identity in ids}
    changed: set[str] = set()
    for page in server.runs(experiments, query, most):
        records = [
            record for run in page for record in (record_of(run), features_of(run)) if record is not None
        ]
        changed |= store.keep_runs(model_of, records)
    return changed
