"""The time line of one model: its days, its champions, its incidents, its retrains and its rollouts."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from evermodel.core.errors import NewerFormatError
from evermodel.monitoring.summary_tags import read_mark
from evermodel.registry.tags import YEAR_AUDIT
from evermodel.reports.overview.store import Store, StoredModel
from evermodel.reports.overview.summary import (
    incidents_of,
    plan_in_force,
    registered,
    retrains_of,
    traffic_plan,
)

MOST_DAYS, MOST_RETRAINS, MOST_ROLLOUTS = 1000, 300, 300


@dataclass(frozen=True)
class ModelHistory:
    """The content of a model's page besides its summary, oldest first.

    Parameters
    ----------
    days
        Facts of each evaluated day; see `evermodel.reports.overview.records`.
    retrains
        Facts of each retrain, shipped or not.
    champions
        Spans of days with verdicts on the same version: ``version``, ``start``, ``end``.
    incidents
        ``id``, ``kind``, ``severity``, ``opened``, ``ended`` (empty: still open), ``reason``, ``cause``.
    promotions
        The registry's history, with ``day``: its day in data time, if known.
    rollouts
        ``start``, ``end`` (empty: active), ``strategy``, ``state``, ``version``, ``reason``, ``why``, and ``run`` and
        ``experiment`` in MLflow (empty where MLflow has no run of it).
    year
        What was promised in twelve months and what came true, as of the last weekly digest (`YearAudit`); empty before one.
    """

    days: list[dict[str, Any]]
    retrains: list[dict[str, Any]]
    champions: list[dict[str, str]]
    incidents: list[dict[str, Any]]
    promotions: list[dict[str, Any]]
    rollouts: list[dict[str, Any]]
    plan: dict[str, Any] | None
    year: dict[str, Any]


def history_of(store: Store, model: str) -> ModelHistory | None:
    """Return the time line of a model, or None if the store does not know the model."""
    entry = store.entry(model)
    if entry is None:
        return None
    days = store.runs(model, "drift", MOST_DAYS)
    retrains = retrains_of(store, entry, MOST_RETRAINS)
    promoted = _promotions(entry, retrains)
    return ModelHistory(
        days=days,
        retrains=retrains,
        champions=_champions(days),
        incidents=incidents_of(days),
        promotions=promoted,
        rollouts=_rollouts(entry, store.runs(model, "rollout", MOST_ROLLOUTS), promoted),
        plan=plan_in_force(entry),
        year=_year(entry),
    )


def _year(entry: StoredModel) -> dict[str, Any]:
    try:
        return read_mark(entry.tags, YEAR_AUDIT)
    except NewerFormatError:
        return {}


def _champions(days: list[dict[str, Any]]) -> list[dict[str, str]]:
    spans: list[dict[str, str]] = []
    for day in days:
        if not spans or spans[-1]["version"] != day["version"]:
            spans.append({"version": day["version"], "start": day["day"], "end": day["day"]})
        spans[-1]["end"] = day["day"]
    return spans


def _promotions(entry: StoredModel, retrains: list[dict[str, Any]]) -> list[dict[str, Any]]:
    days = {retrain["run_key"]: retrain["day"] for retrain in retrains}
    return [{**asdict(p), "day": days.get(p.run_key, p.at[:10])} for p in registered(entry).promotions]


def _rollouts(
    entry: StoredModel, runs: list[dict[str, Any]], promoted: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Return all rollouts; the last plan replaces its own run until that is read."""
    plan, holds = traffic_plan(entry), plan_in_force(entry)
    found = [
        {
            "key": run["run_key"], "start": run["began"], "end": run["ended"] if run["outcome"] else "", "strategy": run["strategy"],
            "state": run["outcome"] or "running", "version": run["version"], "reason": run["reason"], "why": run["why"],
            "run": run["run"], "experiment": run["experiment"],
        }
        for run in runs
    ]  # fmt: skip
    if plan is not None and plan.run_key not in {one["key"] for one in found}:
        ended = "" if plan.state == "running" else plan.step_since
        found.append(
            {
                "key": plan.run_key, "start": plan.since, "end": ended, "strategy": plan.strategy, "state": plan.state,
                "version": plan.challenger, "reason": plan.reason, "why": plan.verdict, "run": "", "experiment": "",
            }
        )  # fmt: skip
    running = holds["run_key"] if holds else None
    return [one if one["end"] or one["key"] == running else _overtaken(one, promoted) for one in found]


def _overtaken(rollout: dict[str, Any], promoted: list[dict[str, Any]]) -> dict[str, Any]:
    """Return a rollout without a recorded end: the next promotion ended it, or its start if none is known."""
    later = (one["at"] for one in promoted if one["at"] >= rollout["start"])
    state = "overtaken" if rollout["state"] == "running" else rollout["state"]
    return {**rollout, "state": state, "end": next(later, rollout["start"])}
