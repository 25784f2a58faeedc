"""Bandit: the shares follow the rewards of matured labels (Thompson sampling); each version keeps a floor."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import datetime

from evermodel.deployment.rollout.canary_checks import TRIAL, decide_trial, run_canary_checks, subjects
from evermodel.deployment.rollout.evidence import Evidence, Verdict
from evermodel.registry.traffic_plan import TrafficPlan, since_start, split, stamp
from evermodel.spec.rollout import RolloutSpec
from evermodel.stats.sequential import FEWEST_LABELS, Moments

_SMALLEST_MOVE = 0.05  # of the share: each change is a new revision that all serving processes read


def begin(spec: RolloutSpec, plan: TrafficPlan) -> TrafficPlan:
    """Give each version half of the requests; the challenger's answers in this step are limited."""
    arms = split(plan.champion, plan.challenger, 0.5)
    return replace(plan, arms=arms, limit=spec.guard.max_exposed)


def decide(spec: RolloutSpec, plan: TrafficPlan, evidence: Evidence, now: datetime) -> Verdict:
    """Set the share to the chance of being the best; end when that is decided, or with the champion after the longest time."""
    bandit = spec.bandit
    # Without the losses, which the bandit itself evaluates.
    seen = run_canary_checks(spec.guard, plan, replace(evidence, losses={}), steps=_steps(plan.step))
    if seen.state == "breach":
        return Verdict("roll_back", seen.why, seen.figures)
    if plan.step == TRIAL:
        return decide_trial(seen, plan, evidence, now, bandit.longest)
    new, old = evidence.losses.get(plan.challenger), evidence.losses.get(plan.champion)
    if new is None or old is None or min(new.rows, old.rows) < FEWEST_LABELS:
        chance, text = 0.5, "no matured labels" if new is None or old is None else subjects(new, old)
    else:
        chance = chance_of_best(new, old)
        text = f"chance {chance:.1%} that the new version is better ({evidence.loss} {old.mean:.4g} → {new.mean:.4g})"
    figures = {**seen.figures, "chance": chance}
    if chance >= bandit.decided:
        return Verdict("promote", text, figures)
    if chance <= 1 - bandit.decided:
        return Verdict("roll_back", text, figures)
    if since_start(plan, now) >= bandit.longest:
        return Verdict("roll_back", f"no result in time, the champion stays: {text}", figures)
    share = min(max(chance, bandit.floor), 1 - bandit.floor)
    if abs(share - plan.share_of(plan.challenger)) < _SMALLEST_MOVE:
        return Verdict("stay", text, figures)
    arms = split(plan.champion, plan.challenger, share)
    after = plan.changed(arms=arms, step=plan.step + 1, step_since=stamp(now))
    return Verdict("next", f"the share changes to {share:.0%}: {text}", figures, after)


def _steps(step: int) -> int:
    """Return the number of steps among which the chance of a false breach is divided, at one of them.

    The number of changes is not known, and each starts new evidence: 1/2 + 1/6 + 1/12 + ... is 1.

    >>> [_steps(step) for step in range(4)]
    [2, 6, 12, 20]
    """
    return (step + 1) * (step + 2)


def chance_of_best(new: Moments, old: Moments) -> float:
    """Return the chance that the new version has the smaller mean loss.

    Under a flat prior the mean of many rewards is normal around what was seen (Bernstein-von Mises), so that the share
    which Thompson sampling gives an arm, the chance that a draw of it is the best, has a closed form.

    References
    ----------
    Thompson (1933), Biometrika 25. Chapelle, Li (2011), An empirical evaluation of Thompson sampling, NIPS: delayed
    rewards, which are learnt from in batches.
    """
    spread = math.sqrt(new.variance / new.rows + old.variance / old.rows)
    gap = old.mean - new.mean
    if spread == 0:
        return 0.5 if gap == 0 else float(gap > 0)
    return 0.5 * math.erfc(-gap / spread / math.sqrt(2))
