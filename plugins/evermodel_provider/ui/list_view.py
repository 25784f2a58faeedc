"""What the page of all models shows, from their summaries."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from evermodel.monitoring.problems import RANK
from evermodel.registry.approval import NOBODY
from evermodel.registry.tags import RetrainOutcome
from evermodel_provider.ui.words import KINDS, verdict_words

WIDTH, HEIGHT = 132, 26
WAITS_RANK = 3  # what waits for approval is before all incidents
_PAD = 3.0


def list_view(summaries: Sequence[dict[str, Any]], *, away: bool = False) -> dict[str, Any]:
    """Return the rows, those that need attention first, and their number per group.

    :param away: Whether MLflow is out of reach.
    """
    rows = sorted((_row(summary, away) for summary in summaries), key=lambda row: (-row["rank"], row["name"]))
    return {
        "rows": rows,
        "counts": {
            "all": len(rows),
            "attention": sum(1 for row in rows if row["rank"] >= 1),
            "rollout": sum(1 for row in rows if row["plan"]),
            "waiting": sum(1 for row in rows if row["waits"]),
        },
    }


def _row(summary: dict[str, Any], away: bool) -> dict[str, Any]:
    last, decision = summary.get("last") or {}, summary.get("decision") or {}
    severity = summary.get("severity", "none")
    found, waits = troubles(summary), decision.get("outcome") == RetrainOutcome.WAITS
    return {
        **summary,
        "last": last,
        "decision": decision,
        "rank": WAITS_RANK if waits else _rank(severity, found),
        "state": severity if last or summary["incidents"] else _unjudged(summary, away),
        "spark": spark(summary["strip"]),
        "traffic": traffic_words(summary),
        "outcome": outcome_words(decision) if decision else None,
        "troubles": found,
        "waits": waits,
    }


def _rank(severity: str, found: list[dict[str, str]]) -> float:
    """Return how urgent a model is; below one if somebody answered all its problems, or it has none."""
    handled = bool(found) and all(one["response"] for one in found)
    return RANK.get(severity, 0) * (0.1 if handled else 1)


def _unjudged(summary: dict[str, Any], away: bool) -> str:
    """Return why a model has no verdict: not read yet, MLflow out of reach, no version, or no day evaluated."""
    if not summary.get("read", True):
        return "away" if away else "loading"
    return "unknown" if summary.get("champion") else "nothing"


def traffic_words(summary: dict[str, Any]) -> dict[str, Any] | None:
    """Describe the traffic; None without a champion."""
    plan, champion = summary.get("plan"), summary.get("champion")
    if plan:
        share = sum(arm["share"] for arm in plan["arms"] if arm["version"] == plan["challenger"])
        shadow = f" and {plan['shadow']:.0%} shadow" if plan.get("shadow") else ""
        return {
            "share": share,
            "text": f"v{plan['challenger']} {share:.0%}{shadow}",
            "note": f"{plan['strategy']}, step {plan['step'] + 1}".replace("_", " "),
        }
    return {"share": 0.0, "text": f"v{champion['version']} 100%", "note": ""} if champion else None


_UNDER_WAY = (RetrainOutcome.ROLLING_OUT, RetrainOutcome.WAITS)


def outcome_words(decision: dict[str, Any]) -> dict[str, str]:
    """Describe a retrain's outcome in a few words, with its style."""
    verdict, outcome = verdict_words(decision["verdict"] or ""), decision["outcome"]
    if decision["ship"] != "true":
        text = "refused" if decision["verdict"] == "cold_start" else RetrainOutcome.KEPT.value
        return {"look": "kept", "text": text, "note": verdict}
    forced = "forced" if decision["forced"] == "true" else verdict
    if outcome == RetrainOutcome.DEPLOYED:
        return {"look": "shipped", "text": f"shipped v{decision['version']}", "note": forced}
    if outcome == RetrainOutcome.REJECTED:
        return {"look": "kept", "text": f"v{decision['version']} rejected", "note": rejected_words(decision)}
    if outcome in _UNDER_WAY:
        return {"look": "open", "text": f"v{decision['version']} {outcome}", "note": forced}
    if outcome == RetrainOutcome.STOPPED:
        return {"look": "kept", "text": f"v{decision['version']} rollout stopped", "note": forced}
    if outcome:
        return {"look": "kept", "text": outcome, "note": forced}
    return {"look": "open", "text": f"v{decision['version'] or '?'} not deployed yet", "note": forced}


def rejected_words(decision: dict[str, Any]) -> str:
    """Return who rejected a version: a person, the rollout, or the timeout; empty if unknown."""
    by = decision.get("rejected_by")
    return "no approval in time" if by == NOBODY else f"by {by}" if by else ""


def troubles(summary: dict[str, Any]) -> list[dict[str, str]]:
    """Return the open incidents, and other problems of the last day."""
    found = [
        {
            "kind": KINDS[i["kind"]],
            "severity": i["current"],
            "since": i["opened"][:10],
            "cause": i["cause"],
            "incident": i["id"],
            "response": i["response"],
        }
        for i in summary["incidents"]
    ]
    known = {incident["kind"] for incident in summary["incidents"]}
    last = summary.get("last") or {}
    for kind, reason in (last.get("reasons") or {}).items():
        if kind in KINDS and kind not in known:
            severity = day_severity(last, kind)
            found.append(
                {
                    "kind": KINDS[kind],
                    "severity": severity,
                    "since": last["day"],
                    "cause": reason,
                    "incident": "",
                    "response": "",
                }
            )
    return found


def day_severity(day: dict[str, Any], kind: str) -> str:
    """Return the severity of one kind of problem on a day; empty if it was not evaluated."""
    known = day.get("severities") or {}
    if kind != "drift":
        return str(known.get(kind, ""))
    found = [value for name, value in known.items() if name not in KINDS]
    return max(found, key=lambda value: RANK.get(value, 0), default="")


def spark(strip: Sequence[Sequence[Any]]) -> dict[str, Any] | None:
    """Return the last days of a model as lines and cells; None if there is no day.

    :param strip: Day, severity, metric and baseline metric of each day, oldest first.
    """
    if not strip:
        return None
    step = WIDTH / max(len(strip), 12)
    values = [number for day in strip for number in day[2:4] if number is not None]
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    room = max(high - low, 0.02)

    def place(index: int, value: float) -> str:
        top = _PAD + (high - value) / room * (HEIGHT - 2 * _PAD)
        return f"{(index + 0.5) * step:.1f},{top:.1f}"

    cells: dict[str, str] = {}  # one path for each severity: 500 models of 30 cells would be a long page
    for i, day in enumerate(strip):
        look = str(day[1] or "unknown")
        cells[look] = f"{cells.get(look, '')}M{i * step + 0.5:.1f} {HEIGHT + 4}h{step - 1:.1f}"
    return {
        "width": WIDTH,
        "height": HEIGHT,
        "line": " ".join(place(i, day[2]) for i, day in enumerate(strip) if day[2] is not None),
        "promised": " ".join(place(i, day[3]) for i, day in enumerate(strip) if day[3] is not None),
        "cells": cells,
    }
