"""What the page of one model shows, from its summary and its time line."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import sha256
from typing import Any
from urllib.parse import quote

import orjson

from evermodel.core.dag_ids import dag_id
from evermodel.monitoring.drift.figures import number as effect
from evermodel.registry.registered_names import registered_name
from evermodel.reports.overview.history import ModelHistory
from evermodel_provider.ui.list_view import day_severity, list_view, outcome_words, traffic_words
from evermodel_provider.ui.words import KINDS, verdict_words

_MOST_DECISIONS = 60
_PAGES = {"Decision": "decision.html", "Model card": "model_card.html"}
_REPORT = "evidently.html"


def model_view(
    summary: dict[str, Any], history: ModelHistory, mlflow: str, *, away: bool = False
) -> dict[str, Any]:
    """Return the template's context.

    :param away: Whether MLflow is out of reach.
    """
    name = summary["name"]
    row, registered = list_view([summary], away=away)["rows"][0], quote(registered_name(name), safe="")
    decisions = [
        _decision(retrain, name, mlflow) for retrain in reversed(history.retrains) if retrain["verdict"]
    ]
    last = summary["last"]
    return {
        "model": row,
        "name": name,
        "forms": {} if summary.get("watched") else forms(name, history),
        "choices": {dag_id("rollback", name): {"version": rollback_choices(history, row["champion"])}},
        "decisions": decisions[:_MOST_DECISIONS],
        "incidents": list(reversed(history.incidents)),
        "promotions": list(reversed(history.promotions)),
        "rollouts": [
            {**rollout, "url": _run(mlflow, rollout) if rollout["run"] else ""} for rollout in reversed(history.rollouts)
        ],
        "undecided": [
            {**retrain, **_undecided(retrain), "url": _run(mlflow, retrain)}
            for retrain in reversed(history.retrains)
            if not retrain["verdict"]
        ],
        "kinds": [{"name": label, "severity": day_severity(last, kind)} for kind, label in _kinds(history).items()]
        if last
        else [],
        "links": {} if summary.get("watched") else {
            "Model in MLflow": f"{mlflow}/#/models/{registered}",
            **({"Drift report of the last day": _artifact(mlflow, last, _REPORT)} if last else {}),
        },
        "version_url": f"{mlflow}/#/models/{registered}/versions/",
        "chart": chart(history, name, mlflow),
        "days": [{**day, "url": _artifact(mlflow, day, _REPORT)} for day in reversed(history.days)],
        "traffic": traffic_words(summary),
        "year": history.year,
        "mark": sha256(orjson.dumps((summary, history, row["state"]))).hexdigest()[:16],  # changes with the content
    }  # fmt: skip


def forms(name: str, history: ModelHistory) -> dict[str, str]:
    """Return the DAGs with forms, and the labels of their buttons."""
    found = {dag_id("retrain", name): "Retrain", dag_id("rollback", name): "Roll back"}
    if history.plan:
        found[dag_id("stop_rollout", name)] = "Stop the rollout"
    return found


def rollback_choices(history: ModelHistory, champion: dict[str, Any] | None) -> list[tuple[str, str]]:
    """Return the versions that served before the champion, the last first, each with its days and its metric on the test rows."""
    last = {p["version"]: p for p in history.promotions}
    if champion:
        last.pop(champion["version"], None)
    made = {retrain["version"]: retrain for retrain in history.retrains if retrain["version"]}
    return [(version, _served(last[version], made.get(version))) for version in reversed(last)]


def _served(promotion: dict[str, Any], retrain: dict[str, Any] | None) -> str:
    said = f"v{promotion['version']}, champion since {promotion['at'][:10]}"
    if retrain and isinstance(retrain["value"], float):
        said += f", {retrain['metric']} {retrain['value']:.4f}"
    return said


def chart(history: ModelHistory, name: str, mlflow: str) -> dict[str, Any]:
    """Return what the time line draws, as plain data."""
    return {
        "model": name,
        "metric": next((day["metric"] for day in reversed(history.days) if day.get("metric")), "metric"),
        "kinds": list(_kinds(history).values()),
        "days": [_day(day, mlflow, _kinds(history)) for day in history.days],
        "champions": history.champions,
        "incidents": [
            {**incident, "row": KINDS.get(incident["kind"], incident["kind"])} for incident in history.incidents
        ],
        "retrains": [
            {
                "day": retrain["day"],
                "reason": retrain["reason"],
                "gain": retrain["gain"],
                "value": retrain["value"],
                **(outcome_words(retrain) if retrain["verdict"] else _undecided(retrain)),
            }
            for retrain in history.retrains
            if retrain["day"]
        ],
        "rollbacks": [
            {"day": p["day"], "version": p["version"], "reason": p["reason"], "by": p["by"]}
            for p in history.promotions
            if p["kind"] == "rollback"
        ],
        "rollouts": history.rollouts,
    }  # fmt: skip


def _kinds(history: ModelHistory) -> dict[str, str]:
    """Return the kinds of problems with their labels; skew only of a model that it was looked for."""
    skewed = any("skew" in (day.get("severities") or {}) for day in history.days)
    return {kind: label for kind, label in KINDS.items() if skewed or kind != "skew"}


def _day(day: dict[str, Any], mlflow: str, kinds: Iterable[str]) -> dict[str, Any]:
    return {
        "day": day["day"],
        "value": day.get("value"),
        "low": day.get("low"),
        "high": day.get("high"),
        "promised": day.get("promised"),
        "limit": day.get("limit"),
        "version": day["version"],
        "severities": [day_severity(day, kind) for kind in kinds],
        "reasons": [(day.get("reasons") or {}).get(kind, "") for kind in kinds],
        "columns": [f"{c[0]} {c[2]} {effect(c[3])}" for c in day.get("columns") or [] if len(c) >= 4],
        "answer": day["answer"],
        "url": _artifact(mlflow, day, _REPORT),
    }


def _undecided(retrain: dict[str, Any]) -> dict[str, str]:
    running = retrain["status"] == "RUNNING"
    return {
        "look": "open" if running else "failed",
        "text": "running" if running else "ended without a decision",
        "note": "",
    }


def _decision(retrain: dict[str, Any], name: str, mlflow: str) -> dict[str, Any]:
    facts = retrain["decision"]
    challenger = facts.get("challenger") or _triple(retrain["value"])
    champion = facts.get("champion") or _triple(retrain["against"])
    run = retrain["airflow_run"]
    return {
        **retrain,
        "outcome_words": outcome_words(retrain),
        "words": verdict_words(retrain["verdict"]),
        "why": facts.get("reason", ""),
        "rows": facts.get("rows"),
        "parent": facts.get("parent"),
        "gates": facts.get("gates", []),
        "left_out": facts.get("left_out", 0),
        "failed": sum(1 for gate in facts.get("gates", []) if gate["verdict"] == "fail"),
        "sides": whiskers([("challenger", challenger, "new"), ("champion", champion, "old")]),
        "gain_triple": facts.get("gain"),
        "pages": {label: _artifact(mlflow, retrain, file) for label, file in _pages_of(retrain).items()},
        "run_url": _run(mlflow, retrain),
        "airflow": f"/dags/{quote(dag_id('retrain', name), safe='')}/runs/{quote(run, safe='')}"
        if run
        else "",
        "approval": (
            f"/dags/{quote(dag_id('retrain', name), safe='')}/runs/{quote(run, safe='')}/tasks/approve"
            if run and retrain["version"]
            else ""
        ),
    }


def _pages_of(retrain: dict[str, Any]) -> dict[str, str]:
    return _PAGES if retrain["version"] else {"Decision": _PAGES["Decision"]}


def _triple(value: object) -> Any:
    return None if value is None else (value, value, value)


def _artifact(mlflow: str, facts: dict[str, Any], file: str) -> str:
    return f"{_run(mlflow, facts)}/artifacts/{file}" if facts["run"] else ""


def _run(mlflow: str, facts: dict[str, Any]) -> str:
    return f"{mlflow}/#/experiments/{facts['experiment']}/runs/{facts['run']}"


def whiskers(rows: Sequence[tuple[str, Any, str]]) -> dict[str, Any] | None:
    """Return intervals on one common line, in per cent of its width; None if there is nothing to draw.

    :param rows: Label, value with lower and upper end (or None), and a word for its look.
    """
    known = [(label, triple, look) for label, triple, look in rows if triple and None not in triple]
    if not known:
        return None
    low, high = min(t[1] for _, t, _ in known), max(t[2] for _, t, _ in known)
    room = (high - low) or 1e-9

    def at(value: float) -> float:
        return float(round(6 + 88 * (value - low) / room, 2))

    return {
        "low": low,
        "high": high,
        "rows": [
            {
                "label": label,
                "value": t[0],
                "low": t[1],
                "high": t[2],
                "at": at(t[0]),
                "from": at(t[1]),
                "to": at(t[2]),
                "look": look,
            }
            for label, t, look in known
        ],
    }
