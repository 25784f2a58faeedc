"""MLflow runs reduced to the facts of the page."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from evermodel.monitoring.summary_tags import read_mark
from evermodel.registry import tags as tag
from evermodel.reports.overview.server import Found, tags_of

_EFFECT = "psi_"  # how metrics of columns begin


@dataclass(frozen=True)
class Record:
    """One run: an evaluated day, a retrain or a rollout.

    Parameters
    ----------
    day
        The run's day in data time (ISO date); of a rollout its first day.
    """

    run_id: str
    kind: str
    day: str
    start: int
    facts: dict[str, Any]


def record_of(run: Found) -> Record | None:
    """Return the record of a run, or None if it is of another kind."""
    info, data = run["info"], run.get("data", {})
    tags = tags_of(data)
    kind, key = tags.get(tag.KIND, ""), tags.get(tag.RUN_KEY, "")
    if kind not in _FACTS or not key:
        return None
    metrics = {m["key"]: m.get("value") for m in data.get("metrics", [])}
    began = _moment(info.get("start_time"))
    facts = _FACTS[kind](tags, metrics)
    days = {
        "drift": key.rsplit("/", 1)[-1],
        "retrain": tags.get(tag.AS_OF, "")[:10],
        "rollout": began[:10],
    }
    facts |= {
        "began": began,
        "ended": _moment(info.get("end_time")),
        "run": info["run_id"],
        "experiment": info["experiment_id"],
        "run_key": key,
        "status": info.get("status", ""),
    }
    return Record(info["run_id"], kind, days[kind], int(info.get("start_time") or 0), facts)


def features_of(run: Found) -> Record | None:
    """Return what an evaluated day measured of each column, apart from its record, which every page reads; None of other runs."""
    info, data = run["info"], run.get("data", {})
    tags = tags_of(data)
    if tags.get(tag.KIND) != "drift" or not (key := tags.get(tag.RUN_KEY, "")):
        return None
    found = {m["key"]: _finite(m.get("value")) for m in data.get("metrics", [])}
    effects = {
        (name := metric.removeprefix(_EFFECT)): [
            value,
            found.get(f"limit_{name}"),
            found.get(f"missing_{name}"),
        ]
        for metric, value in found.items()
        if metric.startswith(_EFFECT) and value is not None
    }
    facts = {"experiment": info["experiment_id"], "run": info["run_id"], "effects": effects}
    day, start = key.rsplit("/", 1)[-1], int(info.get("start_time") or 0)
    return Record(f"{info['run_id']}/features", "features", day, start, facts)


def _day(tags: dict[str, str], metrics: dict[str, Any]) -> dict[str, Any]:
    facts = read_mark(tags, tag.DAY)
    if "value" not in facts:  # evaluated before this tag existed
        named = [name for name in metrics if name.startswith("matured_")]
        facts["metric"] = named[0].removeprefix("matured_") if named else ""
        facts["value"] = metrics[named[0]] if named else None
    for name in ("value", "low", "high", "promised", "limit", "estimated"):
        facts[name] = _finite(facts.get(name))
    return {
        **facts,
        "version": tags.get(tag.VERSION, ""),
        "severity": tags.get(tag.SEVERITY, ""),
        "severities": read_mark(tags, tag.SEVERITIES),
        "answer": tags.get(tag.RETRAIN_ANSWER, ""),
        "transitions": _listed(tags.get(tag.INCIDENTS, "[]")),
    }


def _retrain(tags: dict[str, str], metrics: dict[str, Any]) -> dict[str, Any]:
    names = (
        "as_of", "reason", "verdict", "ship", "candidate", "metric", "forced", "outcome", "version", "window",
    )  # fmt: skip
    facts = {name: tags.get(f"{tag.OURS}{name}", "") for name in names}
    metric, decision = facts["metric"], read_mark(tags, tag.DECISION_FACTS)
    measured = {
        "value": _finite(metrics.get(f"test_{metric}", _first(decision.get("challenger")))),
        "against": _finite(metrics.get(f"test_{metric}_champion", _first(decision.get("champion")))),
        **{name: _finite(metrics.get(name)) for name in ("gain", "gain_low", "gain_high", "test_rows")},
    }
    return {
        **facts,
        **measured,
        "decision": decision,
        "airflow_run": tags.get(tag.AIRFLOW_RUN, ""),
    }


def _rollout(tags: dict[str, str], metrics: dict[str, Any]) -> dict[str, Any]:
    facts = {name: tags.get(f"{tag.OURS}{name}", "") for name in ("strategy", "version", "reason", "why")}
    state = tags.get(tag.STATE) or tags.get(tag.OUTCOME, "")  # location in earlier releases
    return {**facts, "outcome": state}


def _moment(milliseconds: Any) -> str:
    return datetime.fromtimestamp(int(milliseconds) / 1000, UTC).isoformat() if milliseconds else ""


def _first(triple: object) -> Any:
    return triple[0] if isinstance(triple, list) and triple else None


def _finite(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def _listed(text: str) -> list[dict[str, Any]]:
    try:
        found = json.loads(text)
    except ValueError:
        return []
    return [item for item in found if isinstance(item, dict)] if isinstance(found, list) else []


_FACTS: dict[str, Callable[[dict[str, str], dict[str, Any]], dict[str, Any]]] = {
    "drift": _day,
    "retrain": _retrain,
    "rollout": _rollout,
}
