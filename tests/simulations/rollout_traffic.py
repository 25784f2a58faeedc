"""Simulated traffic with a known truth, on which the real controllers decide."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from evermodel.deployment.rollout.evidence import Evidence, Smoke
from evermodel.deployment.rollout.strategies import CONTROLLERS
from evermodel.registry.serving_heartbeats import VersionCounts, added
from evermodel.registry.traffic_plan import TrafficPlan, everything_to, stamp
from evermodel.spec.rollout import RolloutSpec
from evermodel.stats.sequential import Moments

START = datetime(2026, 3, 2, tzinfo=UTC)
OLD, NEW = "1", "2"
BOUNDS = (
    0.001,
    0.002,
    0.003,
    0.005,
    0.0075,
    0.01,
    0.015,
    0.02,
    0.03,
    0.05,
    0.075,
    0.1,
    0.2,
    0.5,
    1.0,
    math.inf,
)
_MEDIAN, _SPREAD = 0.004, 0.6  # seconds, and of its logarithm: a p99 of 16 ms


@dataclass(frozen=True)
class Truth:
    """What a version really is.

    Parameters
    ----------
    errors
        Chance that a request fails.
    slow
        Response times, in multiples of the usual ones.
    noise
        Adds to the variance of the model's answers, and so to its Brier score.
    """

    errors: float = 0.001
    slow: float = 1.0
    noise: float = 0.0


@dataclass(frozen=True)
class Traffic:
    """How much there is to learn from.

    Parameters
    ----------
    requests
        Between two looks.
    look
        Time between two looks.
    delay
        Time until a label is known; None: no labels.
    """

    requests: int
    look: timedelta
    delay: timedelta | None = None


@dataclass
class Played:
    """One simulated rollout.

    Parameters
    ----------
    state
        How it ended: ``promoted`` or ``rolled_back``.
    exposed
        Answers of the new version in the step in which it ended.
    answers
        Requests by version, until the horizon.
    looks
        Looks until the end.
    why
        The last verdict's sentence.
    plans
        All plans, in their order.
    """

    state: str = "running"
    exposed: int = 0
    answers: dict[str, int] = field(default_factory=lambda: {OLD: 0, NEW: 0})
    looks: int = 0
    why: str = ""
    plans: list[TrafficPlan] = field(default_factory=list)


def begun(strategy: Any, spec: RolloutSpec) -> TrafficPlan:
    """Return the first plan of a rollout from version 1 to version 2."""
    at = stamp(START)
    bare = TrafficPlan("m", strategy, OLD, NEW, everything_to(OLD), "salt", at, at, "me", "try", "r/1")
    return CONTROLLERS[strategy].begin(spec, bare)


def play(
    strategy: Any,
    spec: RolloutSpec,
    truths: dict[str, Truth],
    traffic: Traffic,
    rng: np.random.Generator,
    horizon: timedelta = timedelta(days=35),
    smoke: Smoke | None = None,
) -> Played:
    """Let a controller decide until it has ended, and count answers until the horizon.

    Parameters
    ----------
    truths
        Of version 1 (the champion) and 2 (the challenger).
    smoke
        What a smoke test finds.
    """
    plan, played, now = begun(strategy, spec), Played(), START
    world = _World(truths, traffic, rng)
    played.plans.append(plan)
    while now < START + horizon:
        now += traffic.look
        counts = world.answer(plan, now)
        for version, counted in counts.items():
            played.answers[version] += counted.requests
        if played.state != "running":
            continue
        played.looks += 1
        evidence = Evidence(world.counts, world.matured(now), "brier", smoke, world.baseline)
        verdict = CONTROLLERS[strategy].decide(spec, plan, evidence, now)
        played.why = verdict.why
        if verdict.move == "stay":
            continue
        if verdict.move == "roll_back" or verdict.plan is None:
            played.state = "rolled_back" if verdict.move == "roll_back" else "promoted"
            played.exposed = world.counts[NEW].requests
            back = plan.warm[0] if plan.champion == NEW else OLD
            winner = NEW if played.state == "promoted" else back
            plan = replace(plan, arms=everything_to(winner), limit=None, shadow=0.0)
        else:
            world.step(keep=verdict.move == "promote")
            plan = verdict.plan
        played.plans.append(plan)
        if played.state != "running" and traffic.delay is None:
            break  # without labels nobody asks for the regret
    return played


class _World:
    """Draws what happens, and remembers what a controller may know."""

    def __init__(self, truths: dict[str, Truth], traffic: Traffic, rng: np.random.Generator) -> None:
        self._truths, self._traffic, self._rng = truths, traffic, rng
        self.counts = {version: VersionCounts() for version in truths}
        self.baseline: VersionCounts | None = None
        self._losses: list[tuple[datetime, str, NDArray[np.float64]]] = []
        self._known = {version: (0, 0.0, 0.0) for version in truths}

    def step(self, *, keep: bool) -> None:
        """Begin to count anew."""
        self.baseline = self.counts[OLD] if keep else None
        self.counts = {version: VersionCounts() for version in self._truths}

    def answer(self, plan: TrafficPlan, now: datetime) -> dict[str, VersionCounts]:
        """Draw the answers between two looks."""
        total = int(self._rng.poisson(self._traffic.requests))
        new = int(self._rng.binomial(total, plan.share_of(NEW)))
        if plan.limit is not None:
            new = min(new, max(plan.limit - self.counts[NEW].requests, 0))
        found = {}
        for version, requests in ((OLD, total - new), (NEW, new)):
            found[version] = self._counted(version, requests)
            self.counts[version] = added(self.counts[version], found[version])
            if self._traffic.delay is not None and requests:
                losses = _brier(self._truths[version], requests, self._rng)
                self._losses.append((now + self._traffic.delay, version, losses))
        return found

    def matured(self, now: datetime) -> dict[str, Moments]:
        """Return the losses whose labels are known by now."""
        due = [entry for entry in self._losses if entry[0] <= now]
        self._losses = [entry for entry in self._losses if entry[0] > now]
        for _, version, losses in due:
            rows, total, squares = self._known[version]
            self._known[version] = (
                rows + len(losses),
                total + float(losses.sum()),
                squares + float((losses**2).sum()),
            )
        return {version: _moments(*sums) for version, sums in self._known.items() if sums[0] > 1}

    def _counted(self, version: str, requests: int) -> VersionCounts:
        truth = self._truths[version]
        cumulative = norm.cdf(np.log(np.array(BOUNDS) / (_MEDIAN * truth.slow)) / _SPREAD)
        drawn = self._rng.multinomial(requests, np.diff(cumulative, prepend=0.0))
        names = [*(str(bound) for bound in BOUNDS[:-1]), "+Inf"]
        buckets = dict(zip(names, np.cumsum(drawn).tolist(), strict=True))
        return VersionCounts(requests, int(self._rng.binomial(requests, truth.errors)), buckets)


def _moments(rows: int, total: float, squares: float) -> Moments:
    mean = total / rows
    return Moments(rows, mean, max(squares - rows * mean**2, 0.0) / (rows - 1))


def _brier(truth: Truth, rows: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw squared errors of probabilities around a rate that differs from row to row."""
    chance = rng.beta(1.2, 3.0, rows)
    happened = rng.random(rows) < chance
    answer = np.clip(chance + rng.normal(0, math.sqrt(truth.noise), rows), 0, 1) if truth.noise else chance
    losses: NDArray[np.float64] = (answer - happened) ** 2
    return losses
