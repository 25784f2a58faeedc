"""A/B test: a fixed split until the labels show which version is better; may be evaluated at any time."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import datetime

from evermodel.deployment.rollout.canary_checks import TRIAL, decide_trial, run_canary_checks, subjects
from evermodel.deployment.rollout.evidence import Evidence, Verdict
from evermodel.registry.traffic_plan import TrafficPlan, since_start, split
from evermodel.spec.rollout import RolloutSpec
from evermodel.stats.sequential import difference


def begin(spec: RolloutSpec, plan: TrafficPlan) -> TrafficPlan:
    """Give the challenger its share, and limit its answers until the canary checks have passed."""
    arms = split(plan.champion, plan.challenger, spec.ab_test.share)
    return replace(plan, arms=arms, limit=spec.guard.max_exposed)


def decide(spec: RolloutSpec, plan: TrafficPlan, evidence: Evidence, now: datetime) -> Verdict:
    """Promote the better version; without a result in time the champion stays."""
    test = spec.ab_test
    # Without the losses, which the A/B test itself evaluates at another level.
    seen = run_canary_checks(spec.guard, plan, replace(evidence, losses={}), steps=2)
    if seen.state == "breach":
        return Verdict("roll_back", seen.why, seen.figures)
    if plan.step == TRIAL:
        return decide_trial(seen, plan, evidence, now, test.longest)
    new, old = evidence.losses.get(plan.challenger), evidence.losses.get(plan.champion)
    figures, text = dict(seen.figures), "no matured labels"
    if new is not None and old is not None:
        gain, low, high = difference(old, new, test.error_rate)
        figures |= {"gain": gain, "gain_low": low, "gain_high": high}
        text = f"{evidence.loss} {old.mean:.4g} → {new.mean:.4g}, gain {gain:+.4g}"
        text += (
            f" ({low:+.4g} to {high:+.4g}), {subjects(new, old)}"
            if low > -math.inf
            else f", {subjects(new, old)}"
        )
        if low > test.margin:
            return Verdict("promote", f"the new version is better: {text}", figures)
        if high < test.margin:
            worse = "worse" if high < 0 else "not better by the margin"
            return Verdict("roll_back", f"the new version is {worse}: {text}", figures)
    if since_start(plan, now) >= test.longest:
        return Verdict("roll_back", f"no result in time, the champion stays: {text}", figures)
    return Verdict("stay", f"no result yet: {text}", figures)
