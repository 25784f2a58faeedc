"""The message about the result of a retrain: a new champion, or why the champion stays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NotRequired, TypedDict

from evermodel.alerts.blocks import Block, fields, section
from evermodel.alerts.message import Message, compose
from evermodel.alerts.text import code, words

MOST_GATES = 8
_MARKS = {"pass": "passed", "warn": "warned", "fail": "failed"}
_VERDICTS = {
    "better": "The challenger is better than the champion.",
    "not_worse": "The challenger is not worse than the champion.",
    "worse": "The challenger is worse than the champion.",
    "not_enough_evidence": "The evidence does not show that the challenger is as good as the champion.",
    "cold_start": "Without a champion, the absolute thresholds decide.",
}


class RetrainSummary(TypedDict):
    """The result of a retrain, as plain data.

    Parameters
    ----------
    rollout
        The first step of a rollout, if any.
    thread
        The thread of the incident that requested the retrain, if one did; see `Publisher.announce`.
    """

    model: str
    run_key: str
    reason: str
    verdict: str
    shipped: bool
    rollout: NotRequired[str]
    version: str | None
    previous: str | None
    metric: str
    challenger: float
    champion: float | None
    difference: float | None
    low: float | None
    high: float | None
    rows: int
    gates: list[dict[str, Any]]  # of `evermodel.evaluation.decision.Gate`
    approval: str
    by: str
    as_of: str
    links: dict[str, str]
    thread: NotRequired[str]


def retrain_message(outcome: RetrainSummary) -> Message:
    """Build the message about a finished retrain; one for each run key."""
    title, ended = _ending(outcome)
    gates = outcome["gates"]
    notable = [gate for gate in gates if gate["verdict"] != "pass"]
    verdict = _VERDICTS.get(outcome["verdict"], str(outcome["verdict"]))
    facts = {
        words(outcome["metric"], 60): words(_change(outcome)),
        "Test rows": f"{outcome['rows']:,}, as of {words(outcome['as_of'], 40)}",
        "Reason for the retrain": words(outcome["reason"]),
        "Gates": f"{len(gates) - len(notable)} of {len(gates)} passed",
    }
    body: list[Block] = [section(words(ended, 600), words(verdict)), fields(facts)]
    if notable:
        shown = [_gate(gate) for gate in notable[:MOST_GATES]]
        more = [f"and {len(notable) - MOST_GATES} more"] if len(notable) > MOST_GATES else []
        body.append(section("*Gates that did not pass*", *shown, *more))
    return compose(
        key=f"retrain-{outcome['run_key']}",
        model=outcome["model"],
        severity="info",
        title=title,
        plain=[
            ended,
            verdict,
            f"{outcome['metric']}: {_change(outcome)}, {outcome['rows']:,} test rows.",
            f"Reason for the retrain: {outcome['reason']}",
            *(_plain_gate(gate) for gate in notable[:MOST_GATES]),
        ],
        body=body,
        links=outcome["links"],
        footer=f"run {code(outcome['run_key'], 150)}",
    )


def _ending(outcome: RetrainSummary) -> tuple[str, str]:
    model, version, previous = outcome["model"], outcome["version"], outcome["previous"]
    if outcome["shipped"]:
        consent = f", approved by {outcome['by']}" if outcome["approval"] == "approved" else ""
        if previous is None:
            return (
                f"{model}: first champion, version {version}",
                f"Version {version} is the champion{consent}.",
            )
        return (
            f"{model}: new champion, version {version}",
            f"Version {version} replaces version {previous} as champion{consent}.",
        )
    if outcome.get("rollout"):
        text = f"Rollout of version {version} started ({outcome['rollout']}); version {previous} answers the other requests."
        return f"{model}: rollout of version {version} started", text
    stays = (
        f"Version {previous} stays champion" if previous is not None else "The model still has no champion"
    )
    if outcome["approval"] == "rejected":
        who = f"by {outcome['by']}" if outcome["by"] else "because it was not approved in time"
        return (
            f"{model}: new version rejected",
            f"The challenger passed the gates and was rejected {who}. {stays}.",
        )
    refusing = [gate["name"] for gate in outcome["gates"] if gate["verdict"] == "fail"]
    why = f": {', '.join(refusing)} failed" if refusing else ""
    title = f"{model}: champion kept" if previous is not None else f"{model}: no champion yet"
    return title, f"{stays}{why}."


def _change(outcome: RetrainSummary) -> str:
    new, old = outcome["challenger"], outcome["champion"]
    if old is None:
        return f"{new:.4f} (no champion to compare with)"
    change = f"{old:.4f} → {new:.4f}"
    if outcome["difference"] is None:
        return change
    change += f" ({outcome['difference']:+.4f}"
    if outcome["low"] is not None and outcome["high"] is not None:
        change += f", interval {outcome['low']:+.4f} to {outcome['high']:+.4f}"
    return change + ")"


def _gate(gate: Mapping[str, Any]) -> str:
    detail = f": {words(gate['detail'])}" if gate["detail"] else ""
    return (
        f"• {code(gate['name'])} {_MARKS.get(gate['verdict'], 'has no verdict')}, {_measured(gate)}{detail}"
    )


def _plain_gate(gate: Mapping[str, Any]) -> str:
    return f"{gate['name']} {_MARKS.get(gate['verdict'], 'has no verdict')}: {gate['detail']}"


def _measured(gate: Mapping[str, Any]) -> str:
    return f"{_number(gate['value'])} against {_number(gate['threshold'])}"


def _number(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return "nothing" if value is None else words(value, 60)
