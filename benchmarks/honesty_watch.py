"""Stated rates of the watches on a new champion: the paired comparison with the replaced version, and its errors."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from tests.simulations.promotion_watch import WatchedWorld, alarm_rate

from evermodel.deployment.serving_watch import RUN_LENGTH
from evermodel.monitoring.performance.promotion_effect import LEVEL
from evermodel.stats.sequential import RateDetector

Measured = tuple[str, str, int, float, float]  # method, world, simulations, measured, stated
_MARGIN = 0.01
_DAYS = 14


def watch_rates(times: int) -> Iterator[Measured]:
    """Measure how often promotions that lost just the margin are called worse, and calm champions sent back."""
    worlds = {
        "weekly AUC varies by 0.03": WatchedWorld(loss=_MARGIN),
        "and the gain wanders by day (0.3)": WatchedWorld(loss=_MARGIN, days=0.02, correlation=0.3),
        "and the gain wanders by day (0.6)": WatchedWorld(loss=_MARGIN, days=0.02, correlation=0.6),
        "and nothing is lost": WatchedWorld(),
    }
    for number, (name, world) in enumerate(worlds.items()):
        rate = alarm_rate(world, promotions=times, days=_DAYS, margin=_MARGIN, seed=number)
        yield "promotion: worse", name, times, rate, LEVEL
    for limit in (0.01, 0.05):
        world = f"errors at the limit of {limit:.0%}, {_DAYS} days by the hour"
        yield "rollback: errors", world, times, _sent_back(limit, times), _DAYS / RUN_LENGTH


def _sent_back(limit: float, times: int) -> float:
    generator, alarms = np.random.default_rng(11), 0
    for _ in range(times):
        found = RateDetector()
        for errors in generator.binomial(200, limit, _DAYS * 24).tolist():
            found = found.after(errors, 200, limit, elapsed=1 / 24)
            if found.run_length >= RUN_LENGTH:
                alarms += 1
                break
    return alarms / times
