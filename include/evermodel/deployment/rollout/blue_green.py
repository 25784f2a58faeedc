"""Blue/green: a smoke test, then all requests switch at once; the old version stays loaded while the new one is checked."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from evermodel.deployment.rollout.canary_checks import figures_of, run_canary_checks
from evermodel.deployment.rollout.evidence import Evidence, Verdict
from evermodel.registry.traffic_plan import TrafficPlan, everything_to, since_step, stamp
from evermodel.spec.rollout import RolloutSpec

SMOKE, SWITCHED = 0, 1


def begin(spec: RolloutSpec, plan: TrafficPlan) -> TrafficPlan:
    """Load green without requests."""
    del spec
    return replace(plan, warm=(plan.challenger,))


def decide(spec: RolloutSpec, plan: TrafficPlan, evidence: Evidence, now: datetime) -> Verdict:
    """Switch after the smoke test; afterwards go back in one step if a canary check fails."""
    if plan.step == SMOKE:
        return _smoke(spec, plan, evidence, now)
    seen = run_canary_checks(spec.guard, plan, evidence)
    if seen.state == "breach":
        return Verdict("roll_back", f"back to version {plan.warm[0]}: {seen.why}", seen.figures)
    if since_step(plan, now) >= spec.blue_green.warm:
        return Verdict(
            "promote", "the new version passed the canary checks while the old one was loaded", seen.figures
        )
    return Verdict("stay", "the old version is still loaded, the new one is checked", seen.figures)


def _smoke(spec: RolloutSpec, plan: TrafficPlan, evidence: Evidence, now: datetime) -> Verdict:
    smoke, figures = evidence.smoke, figures_of(plan, evidence)
    if smoke is None or since_step(plan, now) < spec.look:
        return Verdict("stay", "the serving processes load the new version", figures)
    figures |= {"smoke_rows": float(smoke.rows), "smoke_ms": smoke.milliseconds}
    if smoke.problem:
        return Verdict("roll_back", f"smoke test: {smoke.problem}", figures)
    ratio = spec.guard.max_latency_ratio
    if ratio is not None and smoke.milliseconds > ratio * smoke.champion_milliseconds > 0:
        why = (
            f"smoke test: {smoke.milliseconds:.3g} ms a row, the champion {smoke.champion_milliseconds:.3g} ms "
            f"(limit {ratio:g} times)"
        )
        return Verdict("roll_back", why, figures)
    why = f"smoke test passed ({smoke.rows:,} rows, {smoke.milliseconds:.3g} ms each): all requests switch"
    return Verdict("promote", why, figures, switched(plan, now))


def switched(plan: TrafficPlan, now: datetime) -> TrafficPlan:
    """Return the plan after the switch: green is champion, blue stays loaded."""
    return plan.changed(
        champion=plan.challenger,
        arms=everything_to(plan.challenger),
        warm=(plan.champion,),
        step=SWITCHED,
        step_since=stamp(now),
    )
