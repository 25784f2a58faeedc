"""Stated rates of what decides on a new version's traffic: A/B tests, the paired watch, and rollbacks by errors."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from tests.simulations.callers import Callers, called, last_verdict
from tests.simulations.outages import HOUR, Fault, Served, rolled_back
from tests.simulations.promotion_watch import WatchedWorld, alarm_rate

from evermodel.deployment.serving_watch import RUN_LENGTH
from evermodel.monitoring.performance.promotion_effect import LEVEL
from evermodel.spec.rollout import AbTestSpec, BanditSpec, RollbackSpec
from evermodel.stats.sequential import RateDetector

Measured = tuple[str, str, int, float, float]  # method, world, simulations, measured, stated
_MARGIN = 0.01
_DAYS = 14
_CALLERS = {
    "500 callers, correlation 0.3": Callers(),
    "and the callers are as uneven as exp(N(0, 1))": Callers(uneven=1.0),
    "5,000 callers, correlation 0.3": Callers(number=5000),
    "each request by itself": Callers(number=1_000_000, correlation=0.0),
    "500 callers, and days vary by half a standard deviation": Callers(season=0.5),
}


def watch_rates(times: int) -> Iterator[Measured]:
    """Measure how often equal versions are told apart, promotions that lost just the margin are called worse, and calm champions sent back."""
    for number, (name, callers) in enumerate(_CALLERS.items()):
        rate = called("ab_test", callers, times // 4, seed=number)
        yield "A/B test, daily for 28 days", name, times // 4, rate, AbTestSpec().error_rate
    for worse in (0.1, 0.3):
        rng = np.random.default_rng(17)
        verdicts = [last_verdict("bandit", Callers(worse=worse), rng) for _ in range(times // 2)]
        rate = sum(verdict.move == "promote" for verdict in verdicts) / (times // 2)
        world = f"500 callers, correlation 0.3, worse by {worse} of a loss's deviation"
        yield "bandit: promotes the worse", world, times // 2, rate, 1 - BanditSpec().decided
    worlds = {
        "weekly AUC varies by 0.03": WatchedWorld(loss=_MARGIN),
        "and the gain wanders by day (0.3)": WatchedWorld(loss=_MARGIN, days=0.02, correlation=0.3),
        "and the gain wanders by day (0.6)": WatchedWorld(loss=_MARGIN, days=0.02, correlation=0.6),
        "and nothing is lost": WatchedWorld(),
    }
    for number, (name, world) in enumerate(worlds.items()):
        rate = alarm_rate(world, promotions=times, days=_DAYS, margin=_MARGIN, seed=number)
        yield "promotion: worse", name, times, rate, LEVEL
    yield from _outages(times)
    for limit in (0.01, 0.05):
        world = f"errors at the limit of {limit:.0%}, {_DAYS} days by the hour"
        yield "rollback: errors", world, times, _sent_back(limit, times), _DAYS / RUN_LENGTH
    world = "errors at the limit of 1% only while there is evidence"
    yield "rollback: errors", world, times, _sent_back(0.01, times, opponent=True), _DAYS / RUN_LENGTH


def _outages(times: int) -> Iterator[Measured]:
    """Measure how often an outage rolls a version back, where one in ten years may and there are two a month."""
    spec, fault = RollbackSpec(error_rate=0.02), Fault(HOUR, HOUR + 2400)
    for others in ([20_000.0], [2000.0], [300.0] * 5):
        served = [Served("m", 20_000, failing=0.3)]
        served += [Served(f"other {number}", daily, failing=0.3) for number, daily in enumerate(others)]
        generator = np.random.default_rng(13)
        found = [rolled_back(served, fault, generator, spec, 3) for _ in range(times)]
        world = f"outage of 40 minutes, 30 % errors, beside {len(others)} of {others[0]:,.0f} requests a day and process"
        yield "rollback: errors", world, times, 1 - found.count(None) / times, 0.1 / 24


def _sent_back(limit: float, times: int, *, opponent: bool = False) -> float:
    generator, alarms = np.random.default_rng(11), 0
    for _ in range(times):
        found = RateDetector()
        for errors in generator.binomial(200, limit, _DAYS * 24).tolist():
            if opponent and found.run_length < 2 / 24:
                errors = 2
            found = found.after(errors, 200, limit, elapsed=1 / 24)
            if found.run_length >= RUN_LENGTH:
                alarms += 1
                break
    return alarms / times
