"""The guarded first step of a strategy that judges by labels: few answers, until errors and response times are known."""

from __future__ import annotations

from datetime import datetime, timedelta

from evermodel.rollout.evidence import Evidence
from evermodel.rollout.guard import Watch, exhausted
from evermodel.rollout.plan import TrafficPlan
from evermodel.rollout.timing import since_step, stamp
from evermodel.rollout.verdict import Verdict

TRIAL, TEST = 0, 1


def decide_trial(
    seen: Watch, plan: TrafficPlan, evidence: Evidence, now: datetime, longest: timedelta
) -> Verdict:
    """Lift the limit of exposure when the guard has passed; go back when it cannot pass."""
    if seen.state == "passed":
        after = plan.changed(step=TEST, step_since=stamp(now), limit=None)
        return Verdict(
            "next", f"the guard passed, the labels decide from now on: {seen.why}", seen.figures, after
        )
    if exhausted(plan, evidence):
        return Verdict("roll_back", f"{plan.limit:,} answers without having passed: {seen.why}", seen.figures)
    if since_step(plan, now) >= longest:
        return Verdict("roll_back", f"the guard was not passed in time: {seen.why}", seen.figures)
    return Verdict("stay", f"the guard has not passed yet: {seen.why}", seen.figures)
