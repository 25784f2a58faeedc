"""Canary: a growing share of the requests; each step passes by errors, response times and matured labels."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from evermodel.deployment.rollout.canary_checks import decide_open, run_canary_checks
from evermodel.deployment.rollout.evidence import Evidence, Verdict
from evermodel.registry.traffic_plan import TrafficPlan, since_step, split, stamp
from evermodel.spec.rollout import RolloutSpec


def begin(spec: RolloutSpec, plan: TrafficPlan) -> TrafficPlan:
    """Give the challenger the first step's share, and limit its answers."""
    arms = split(plan.champion, plan.challenger, spec.canary.steps[0])
    return replace(plan, arms=arms, limit=spec.guard.max_exposed)


def decide(spec: RolloutSpec, plan: TrafficPlan, evidence: Evidence, now: datetime) -> Verdict:
    """Continue when the step has passed and the bake time is over; go back on a breach, or when the step cannot pass."""
    steps, canary = spec.canary.steps, spec.canary
    seen = run_canary_checks(spec.guard, plan, evidence, steps=len(steps))
    if seen.state == "breach":
        return Verdict("roll_back", seen.why, seen.figures)
    if seen.state == "open":
        return decide_open(seen, plan, evidence, now, canary.longest)
    if since_step(plan, now) < canary.bake:
        return Verdict("stay", "passed, bake time runs", seen.figures)
    if plan.step + 1 >= len(steps):
        return Verdict("promote", f"all {len(steps)} steps passed; the last: {seen.why}", seen.figures)
    share = steps[plan.step + 1]
    after = plan.changed(
        arms=split(plan.champion, plan.challenger, share), step=plan.step + 1, step_since=stamp(now)
    )
    return Verdict("next", f"step passed, the share changes to {share:.0%}: {seen.why}", seen.figures, after)
