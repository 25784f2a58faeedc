"""Simulated callers of two versions, whose requests resemble each other: what an A/B test and a bandit learn from."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Literal

import numpy as np
from tests.simulations.rollout_traffic import NEW, OLD, START, begun

from evermodel.deployment.rollout.evidence import Evidence, Verdict
from evermodel.deployment.rollout.losses import RequestLosses, compared
from evermodel.deployment.rollout.strategies import CONTROLLERS
from evermodel.serving.routing_table import hashed, key_of, place
from evermodel.spec.rollout import RolloutSpec
from evermodel.stats.sequential import Moments

_DAY = timedelta(days=1)


@dataclass(frozen=True)
class Callers:
    """Who calls, and how.

    Parameters
    ----------
    number
        Of callers.
    requests
        Of all of them, in a day.
    correlation
        Between two losses of one caller (intra-class correlation).
    uneven
        Standard deviation of the logarithm of a caller's requests.
    season
        Standard deviation of the mean loss from day to day, in those of one loss.
    worse
        By how much the new version's mean loss is larger.
    """

    number: int = 500
    requests: int = 1000
    correlation: float = 0.3
    uneven: float = 0.0
    season: float = 0.0
    worse: float = 0.0


def last_verdict(
    strategy: Literal["ab_test", "bandit"],
    callers: Callers,
    rng: np.random.Generator,
    days: int = 28,
    *,
    by_subject: bool = True,
) -> Verdict:
    """Return the verdict that ends a rollout that is evaluated daily, or the last one.

    Parameters
    ----------
    by_subject
        Whether the log tells the subjects; else each request counts by itself.
    """
    spec, salt = RolloutSpec(), key_of(str(rng.integers(2**62)))
    plan = begun(strategy, spec).changed(step=1, limit=None)
    places = np.array([place(hashed(b"caller %d" % number, salt)) for number in range(callers.number)])
    usual = rng.normal(0, np.sqrt(callers.correlation), callers.number)
    activity = np.exp(rng.normal(0, callers.uneven, callers.number))
    parts: list[RequestLosses] = []
    verdict = Verdict("stay", "")
    for day in range(days):
        who = rng.choice(callers.number, callers.requests, p=activity / activity.sum())
        new = places[who] >= plan.share_of(OLD)
        losses = 1 + usual[who] + rng.normal(0, np.sqrt(1 - callers.correlation), callers.requests)
        losses += callers.season * rng.normal() + callers.worse * new
        subjects = who if by_subject else np.arange(callers.requests) + day * callers.requests
        parts.append(RequestLosses(losses, np.where(new, NEW, OLD), np.full(len(who), day), subjects))
        now = START + (day + 1) * _DAY
        verdict = CONTROLLERS[strategy].decide(spec, plan, Evidence(losses=_known(parts)), now)
        if verdict.move in ("promote", "roll_back"):
            break
        plan = verdict.plan or plan
    return verdict


def _known(parts: list[RequestLosses]) -> dict[str, Moments]:
    names = ("losses", "versions", "days", "subjects")
    fields: dict[str, Any] = {name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
    return compared(replace(parts[0], **fields))


def called(
    strategy: Literal["ab_test", "bandit"], callers: Callers, times: int, seed: int, **options: Any
) -> float:
    """Return the share of rollouts that the labels decide."""
    rng = np.random.default_rng(seed)
    verdicts = [last_verdict(strategy, callers, rng, **options) for _ in range(times)]
    return sum(verdict.move != "stay" and "in time" not in verdict.why for verdict in verdicts) / times
