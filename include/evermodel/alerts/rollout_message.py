"""The messages about a rollout (start, steps, and end) and about a rollback."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from evermodel.alerts.blocks import fields, section
from evermodel.alerts.message import Message, MessageSeverity, compose
from evermodel.alerts.text import code, moment, words
from evermodel.registry.registry_entry import Promotion
from evermodel.registry.traffic_plan import TrafficPlan

_ENDS: dict[str, tuple[MessageSeverity, str]] = {
    "promoted": ("info", "version {version} is the champion"),
    "rolled_back": ("warning", "rollout of version {version} rolled back"),
    "stopped": ("warning", "rollout of version {version} stopped"),
}


def started_message(plan: TrafficPlan, links: Mapping[str, str]) -> Message:
    """Build the message about a rollout's start; the others are replies in its thread."""
    text = f"Rollout of version {plan.challenger} beside version {plan.champion}: {first_step(plan)}."
    return compose(
        key=f"rollout-{plan.run_key}",
        model=plan.model,
        severity="info",
        title=f"{plan.model}: rollout of version {plan.challenger} started ({_named(plan.strategy)})",
        plain=[text, f"Why: {plan.reason}", f"By {plan.by} at {moment(plan.since)}."],
        body=[
            section(words(text)),
            fields(
                {
                    "Why": words(plan.reason, 600),
                    "By": words(plan.by, 100),
                    "At": words(moment(plan.since), 60),
                }
            ),
        ],
        links=links,
        footer=f"rollout {code(plan.run_key, 150)}",
    )


def progress_message(evaluated: Mapping[str, Any], links: Mapping[str, str]) -> Message:
    """Build the message about an evaluation that moved or ended the rollout; one for each move.

    Parameters
    ----------
    evaluated
        `RolloutEvaluation.to_json`.
    """
    severity, title = _title(evaluated)
    figures = evaluated["figures"]
    facts = {"Strategy": words(_named(evaluated["strategy"])), **_facts(figures)}
    return compose(
        key=f"rollout-{evaluated['run_key']}-{evaluated['state']}-{evaluated['step']}",
        model=evaluated["model"],
        severity=severity,
        title=f"{evaluated['model']}: {title}",
        plain=[evaluated["why"], *(f"{name}: {value}" for name, value in facts.items())],
        body=[section(words(evaluated["why"], 1500)), fields(facts)],
        links=links,
        footer=f"rollout {code(evaluated['run_key'], 150)}",
    )


def first_step(plan: TrafficPlan) -> str:
    """Describe how a plan splits the requests.

    >>> from evermodel.registry.traffic_plan import everything_to
    >>> bare = ("m", "shadow", "1", "2", everything_to("1"), "", "", "", "", "", "")
    >>> first_step(TrafficPlan(*bare, shadow=0.5))
    'it answers 50% of the requests in shadow'
    """
    if plan.shadow:
        return f"it answers {plan.shadow:.0%} of the requests in shadow"
    share = plan.share_of(plan.challenger)
    if share:
        most = f", at most {plan.limit:,} until it has passed" if plan.limit is not None else ""
        return f"it answers {share:.0%} of the requests{most}"
    return "it is loaded, and takes all requests after its smoke test"


def _title(evaluated: Mapping[str, Any]) -> tuple[MessageSeverity, str]:
    version = evaluated["version"]
    if evaluated["state"] != "running":
        severity, title = _ENDS[evaluated["state"]]
        return severity, title.format(version=version)
    if evaluated["move"] == "promote":
        return "info", f"everything switched to version {version}, the old one stays loaded"
    return "info", f"rollout of version {version}: step {evaluated['step']}, {evaluated['share']:.0%}"


def _facts(figures: Mapping[str, float]) -> dict[str, str]:
    facts = {}
    for name, label, form in (
        ("requests", "Requests", ",.0f"),
        ("errors", "Errors", ",.0f"),
        ("p99_ms", "p99 (ms)", ".3g"),
        ("subjects", "Subjects with labels", ",.0f"),
        ("loss", "Loss", ".4g"),
    ):
        new, old = figures.get(f"challenger_{name}"), figures.get(f"champion_{name}")
        if new is not None:
            facts[label] = f"{new:{form}}" + (f", the champion {old:{form}}" if old is not None else "")
    for name, label, form in (
        ("agreement", "Agreement", ".2%"),
        ("psi", "PSI of the predictions", ".3g"),
        ("chance", "Chance of being best", ".1%"),
    ):
        if name in figures:
            facts[label] = f"{figures[name]:{form}}"
    return facts


def _named(strategy: str) -> str:
    return {"blue_green": "blue/green", "ab_test": "A/B test"}.get(strategy, strategy)


def rollback_message(model: str, done: Promotion, links: Mapping[str, str], stopped: str = "") -> Message:
    """Build the message about a rollback; one for each rollback.

    Parameters
    ----------
    stopped
        Version whose rollout the rollback stopped; empty if there was none.
    """
    text = f"Version {done.version} is the champion again, in place of version {done.previous}."
    if stopped:
        text += f" The rollout of version {stopped} is stopped."
    return compose(
        key=f"rollback-{done.run_key}",
        model=model,
        severity="warning",
        title=f"{model}: rolled back to version {done.version}",
        plain=[text, f"Why: {done.reason}", f"By {done.by} at {moment(done.at)}."],
        body=[
            section(words(text)),
            fields(
                {"Why": words(done.reason, 600), "By": words(done.by, 100), "At": words(moment(done.at), 60)}
            ),
        ],
        links=links,
        footer="serving processes follow within seconds",
    )
