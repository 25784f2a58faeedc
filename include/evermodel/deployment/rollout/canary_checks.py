"""The canary checks of all strategies: errors, response times, quality and exposure of the new version."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from evermodel.deployment.rollout.evidence import Evidence, Verdict
from evermodel.registry.serving_heartbeats import VersionCounts
from evermodel.registry.traffic_plan import TrafficPlan, since_step, stamp
from evermodel.spec.rollout import GuardSpec
from evermodel.stats.histogram import quantile, slower_than
from evermodel.stats.sequential import FEWEST_LABELS, Moments, above, below, difference, larger_part

State = Literal["passed", "open", "breach"]
CHECKS = 4  # errors against the limit and against the champion's, response times, quality
_NEARLY = 0.95  # of a limit: the processes share it, and one of them may leave a part unused
_TAIL = 0.01  # the part of the requests above a p99
_PROVED_TAIL = 0.02  # the tail above the limit has to be proved smaller than this


@dataclass(frozen=True)
class CanaryCheck:
    """One check: passed, open or a breach."""

    name: str
    state: State
    text: str


@dataclass(frozen=True)
class CanaryChecks:
    """All checks of one evaluation.

    Parameters
    ----------
    state
        ``breach`` if one is a breach, ``passed`` if all passed, else ``open``.
    """

    state: State
    why: str
    figures: Mapping[str, float]


def run_canary_checks(spec: GuardSpec, plan: TrafficPlan, evidence: Evidence, steps: int = 1) -> CanaryChecks:
    """Check the challenger against the limits.

    Each check is a pair of sequential tests (see `sequential`): one proves the breach, the other the pass, so that a
    version on the wrong side of the limit passes a step with a chance of at most ``1 - confidence``, and a good one is
    sent back by the whole rollout with at most that chance, however often both are evaluated.

    Parameters
    ----------
    steps
        Steps of the whole rollout, among which the chance of a false breach is divided. If their number is not known,
        numbers whose reciprocals add up to at most 1.
    """
    level = 1 - spec.confidence
    breach = math.log(CHECKS * steps / level)
    new, old = evidence.of(plan.challenger), evidence.of(plan.champion)
    if plan.challenger == plan.champion:
        old = evidence.baseline or VersionCounts()
    checks = [
        _requests(spec, new),
        *_errors(spec, plan, new, old, breach, -math.log(level)),
        _latency(spec, new, old, breach, -math.log(level), _to_come(spec, plan, evidence)),
        _quality(plan, evidence, level / (CHECKS * steps)),
    ]
    return _summed(checks, figures_of(plan, evidence))


def exhausted(plan: TrafficPlan, evidence: Evidence) -> bool:
    """Tell whether the challenger has used up the answers of its step."""
    return plan.limit is not None and evidence.of(plan.challenger).requests >= _NEARLY * plan.limit


def figures_of(plan: TrafficPlan, evidence: Evidence) -> dict[str, float]:
    """Return the figures of an evaluation, by name."""
    figures: dict[str, float] = {"share": plan.share_of(plan.challenger), "step": float(plan.step)}
    sides = {"challenger": plan.challenger, "champion": plan.champion}
    for side, version in sides.items():
        counts, moments = evidence.of(version), evidence.losses.get(version)
        figures |= {f"{side}_requests": float(counts.requests), f"{side}_errors": float(counts.errors)}
        slowest = quantile(counts.buckets, 1 - _TAIL)
        figures |= {f"{side}_p99_ms": 1000 * slowest} if math.isfinite(slowest) else {}
        figures |= {f"{side}_subjects": float(moments.rows), f"{side}_loss": moments.mean} if moments else {}
    return figures


def _requests(spec: GuardSpec, new: VersionCounts) -> CanaryCheck:
    state: State = "passed" if new.requests >= spec.min_requests else "open"
    return CanaryCheck("requests", state, f"{new.requests:,} of {spec.min_requests:,} requests")


def _errors(
    spec: GuardSpec, plan: TrafficPlan, new: VersionCounts, old: VersionCounts, breach: float, proof: float
) -> list[CanaryCheck]:
    limit, checks = spec.max_error_rate, []
    if limit is not None:
        text = f"{_rate(new)} errors, limit {limit:.2%}"
        state: State = "open"
        if 0 < limit < 1 and above(new.errors, new.requests, limit) >= breach:
            state = "breach"
        elif limit >= 1 or (limit > 0 and below(new.errors, new.requests, limit) >= proof):
            state = "passed"
        elif limit <= 0 and new.requests:  # no error is allowed: one is a breach
            state = "breach" if new.errors else "passed"
        checks.append(CanaryCheck("errors", state, text))
    share = plan.share_of(plan.challenger)
    if limit is not None and 0 < share < 1:
        # The larger of the two: callers stay with a version, and some send more requests.
        share = max(share, new.requests / max(new.requests + old.requests, 1))
        worse = share < 1 and larger_part(new.errors, old.errors, share) >= breach
        text = f"{_rate(new)} errors, the champion {_rate(old)}"
        checks.append(CanaryCheck("errors beside the champion", "breach" if worse else "passed", text))
    return checks


def _to_come(spec: GuardSpec, plan: TrafficPlan, evidence: Evidence) -> bool:
    """Tell whether the champion will have answered enough requests for a comparison before the step ends."""
    share = plan.share_of(plan.champion)
    if plan.challenger == plan.champion or share <= 0 or exhausted(plan, evidence):
        return False
    return plan.limit is None or plan.limit * share >= spec.min_requests * (1 - share)


def _latency(
    spec: GuardSpec, new: VersionCounts, old: VersionCounts, breach: float, proof: float, to_come: bool
) -> CanaryCheck:
    usual = quantile(old.buckets, 1 - _TAIL)
    if spec.max_latency_ratio is not None and old.requests < spec.min_requests and to_come:
        text = f"the champion has {old.requests:,} of {spec.min_requests:,} requests for the comparison"
        return CanaryCheck("response time", "open", text)
    if spec.max_latency_ratio is None or not math.isfinite(usual) or old.requests < spec.min_requests:
        return CanaryCheck("response time", "passed", "no response times of the champion for a comparison")
    slow, total = slower_than(new.buckets, spec.max_latency_ratio * usual)
    now = quantile(new.buckets, 1 - _TAIL)
    text = f"p99 {1000 * now:.3g} ms, the champion {1000 * usual:.3g} ms (limit {spec.max_latency_ratio:g} times)"
    if above(slow, total, _TAIL) >= breach:
        return CanaryCheck("response time", "breach", text)
    fine = slow <= _TAIL * total and below(slow, total, _PROVED_TAIL) >= proof
    return CanaryCheck("response time", "passed" if fine else "open", text)


def _quality(plan: TrafficPlan, evidence: Evidence, level: float) -> CanaryCheck:
    new, old = evidence.losses.get(plan.challenger), evidence.losses.get(plan.champion)
    if new is None or old is None or plan.challenger == plan.champion:
        return CanaryCheck("quality", "passed", "no matured labels")
    gap, low, high = difference(new, old, level)
    text = f"{evidence.loss} {new.mean:.4g}, the champion {old.mean:.4g} ({subjects(new, old)})"
    if math.isfinite(low):
        text += f", difference {gap:+.4g} ({low:+.4g} to {high:+.4g})"
    return CanaryCheck("quality", "breach" if low > 0 else "passed", text)


def subjects(new: Moments, old: Moments) -> str:
    """Return how many subjects with a matured label there are, and whether they are enough."""
    text = f"labels of {new.rows:,} and {old.rows:,} subjects"
    enough = min(new.rows, old.rows) >= FEWEST_LABELS
    return text if enough else f"{text}, too few: {FEWEST_LABELS} of each version are needed"


def _summed(checks: Sequence[CanaryCheck], figures: Mapping[str, float]) -> CanaryChecks:
    state: State = next(
        (state for state in ("breach", "open") if any(check.state == state for check in checks)), "passed"
    )
    shown = [check for check in checks if check.state == state]
    return CanaryChecks(state, "; ".join(f"{check.name}: {check.text}" for check in shown), figures)


def _rate(counts: VersionCounts) -> str:
    rate = counts.errors / counts.requests if counts.requests else 0.0
    return f"{counts.errors:,} of {counts.requests:,} ({rate:.2%})"


TRIAL, TEST = 0, 1


def decide_trial(
    seen: CanaryChecks, plan: TrafficPlan, evidence: Evidence, now: datetime, longest: timedelta
) -> Verdict:
    """Lift the limit of exposure when the canary checks have passed; go back when they cannot pass."""
    if seen.state == "passed":
        after = plan.changed(step=TEST, step_since=stamp(now), limit=None)
        return Verdict(
            "next", f"canary checks passed, the labels decide from now on: {seen.why}", seen.figures, after
        )
    return decide_open(seen, plan, evidence, now, longest)


def decide_open(
    seen: CanaryChecks, plan: TrafficPlan, evidence: Evidence, now: datetime, longest: timedelta
) -> Verdict:
    """Wait for open checks; go back when the answers or the time of the step are used up."""
    if exhausted(plan, evidence):
        why = f"not passed within the limit of {plan.limit:,} answers: {seen.why}"
        return Verdict("roll_back", why, seen.figures)
    if since_step(plan, now) >= longest:
        return Verdict("roll_back", f"not passed within the longest time: {seen.why}", seen.figures)
    return Verdict("stay", f"not passed yet: {seen.why}", seen.figures)
