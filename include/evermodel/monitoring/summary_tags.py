"""Summaries of verdicts and decisions in tags, so that a year of them is read without artifacts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from evermodel.core.formats import loads, stamped
from evermodel.evaluation.decision import Decision
from evermodel.monitoring.drift.verdict import DriftVerdict, PromotionEffect
from evermodel.monitoring.problems import RANK
from evermodel.registry.tags import DAY, DECISION_FACTS, PROMOTION_EFFECT

# MLflow on a database keeps tags of a run up to 8,000 characters.
MOST = 7500
_COLUMNS = 6
_ESTIMATE = ("estimated", "estimated_low", "estimated_high")
_PERFORMANCE = ("metric", "rows", "value", "low", "high", "promised", "limit", *_ESTIMATE)
_REASON = 300
_DETAIL = 160


def day_tag(verdict: DriftVerdict) -> dict[str, str]:
    """Return the tag with a day's facts for the time line."""
    return {DAY: json.dumps(stamped(day_facts(verdict)), sort_keys=True)}


def day_facts(verdict: DriftVerdict) -> dict[str, Any]:
    """Return a day's facts for the time line: the metric, the problems, the drifted columns."""
    found = verdict.performance
    drifting = sorted(verdict.drifting, key=lambda c: (-RANK[c.severity], -c.effect))
    return {
        **{name: getattr(found, name) for name in _PERFORMANCE},
        "window_rows": verdict.window_rows,
        "reasons": {p.kind: p.reason[:_REASON] for p in verdict.problems if p.severity != "none"},
        "columns": [
            [c.column[:_DETAIL], c.what, c.measure, round(c.effect, 4), c.severity]
            for c in drifting[:_COLUMNS]
        ],
        "drifting": len(drifting),
    }


def effect_tag(verdict: DriftVerdict) -> dict[str, str]:
    """Return the tag with the effect of the promotion that is watched; empty without one."""
    effect = verdict.promotion
    return {} if effect is None else {PROMOTION_EFFECT: json.dumps(stamped(effect.to_json()), sort_keys=True)}


def effect_of(tags: Mapping[str, str]) -> PromotionEffect | None:
    """Read back what `effect_tag` returned; None without one."""
    found = read_mark(tags, PROMOTION_EFFECT)
    return PromotionEffect.from_json(found) if found else None


def decision_tag(decision: Decision) -> dict[str, str]:
    """Return the tag with a decision and its gates; if it does not fit, passed gates are dropped first."""
    gates = [{**asdict(gate), "detail": gate.detail[:_DETAIL]} for gate in decision.gates]
    facts = {
        **{name: getattr(decision, name) for name in ("challenger", "champion", "gain", "rows", "parent")},
        "reason": decision.reason[:_REASON],
        "gates": gates,
        "left_out": 0,
    }
    while len(text := json.dumps(stamped(facts), sort_keys=True)) > MOST and gates:
        passed = [number for number, gate in enumerate(gates) if gate["verdict"] == "pass"]
        gates.pop(passed[-1] if passed else -1)
        facts["left_out"] = len(decision.gates) - len(gates)
    return {DECISION_FACTS: text}


def read_mark(tags: Mapping[str, str], name: str) -> dict[str, Any]:
    """Read a tag that holds a JSON object; empty if it is missing or is not one."""
    try:
        return loads(tags.get(name, "{}"), f"tag {name}")
    except (ValueError, AttributeError):
        return {}
