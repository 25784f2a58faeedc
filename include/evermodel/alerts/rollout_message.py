"""The messages about a rollout: start, steps, and end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from evermodel.alerts.blocks import fields, section
from evermodel.alerts.message import Message, MessageSeverity, compose
from evermodel.alerts.text import code, moment, words
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
            fields({"Why": words(plan.reason, 600), "By": words(plan.by, 100), "At": words(plan.since, 60)}),
        ],
        links=links,
        footer=f"rollout {code(plan.run_key, 150)}",
    )


def progress_message(look: Mapping[str, Any], links: Mapping[str, str]) -> Message:
    """Build the message about an evaluation that moved or ended the rollout.

    Parameters
    ----------
    look
        `RolloutEvaluation.to_json`.

    Returns
    -------
    The message; its key is the same for one move of one rollout.
    """
    severity, title = _title(look)
    figures = look["figures"]
    facts = {"Strategy": words(_named(look["strategy"])), **_facts(figures)}
    return compose(
        key=f"rollout-{look['run_key']}-{look['state']}-{look['step']}",
        model=look["model"],
        severity=severity,
        title=f"{look['model']}: {title}",
        plain=[look["why"], *(f"{name}: {value}" for name, value in facts.items())],
        body=[section(words(look["why"], 1500)), fields(facts)],
        links=links,
        footer=f"rollout {code(look['run_key'], 150)}",
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


def _title(look: Mapping[str, Any]) -> tuple[MessageSeverity, str]:
    version = look["version"]
    if look["state"] != "running":
        severity, title = _ENDS[look["state"]]
        return severity, title.format(version=version)
    if look["move"] == "promote":
        return "info", f"everything switched to version {version}, the old one stays loaded"
    return "info", f"rollout of version {version}: step {look['step']}, {look['share']:.0%}"


def _facts(figures: Mapping[str, float]) -> dict[str, str]:
    facts = {}
    for name, label, form in (
        ("requests", "Requests", ",.0f"),
        ("errors", "Errors", ",.0f"),
        ("p99_ms", "p99 (ms)", ".3g"),
        ("labels", "Labels", ",.0f"),
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
