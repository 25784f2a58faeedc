"""Promotions with a known loss, in weeks that vary and on days that resemble the day before, as the paired watch sees them."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from evermodel.monitoring.performance.promotion_effect import LEVEL
from evermodel.stats.metrics import MetricParameters, metrics_by_name
from evermodel.stats.sequential import daily_mean

Floats = NDArray[np.float64]
AUC = metrics_by_name("binary", MetricParameters())["roc_auc"]
_NORMAL = NormalDist()
_SHARED = 0.8  # correlation of the noise of two versions of one model


@dataclass(frozen=True)
class WatchedWorld:
    """Two versions on the same rows, as ROC AUC.

    Parameters
    ----------
    loss
        True loss of the new version.
    weeks
        Standard deviation of the weekly level, which both versions share.
    days, correlation
        Standard deviation of the new version's own daily level, and its correlation with the day before.
    """

    loss: float = 0.0
    weeks: float = 0.03
    days: float = 0.0
    correlation: float = 0.0
    rows: int = 400

    def gains(self, count: int, generator: np.random.Generator) -> list[float]:
        """Draw the gain of each day."""
        week = np.repeat(generator.normal(0, self.weeks, -(-count // 7)), 7)[:count]
        own = self.days * _autoregressive(count, self.correlation, generator)
        return [
            self._gain(0.75 + common, 0.75 + common - self.loss + apart, generator)
            for common, apart in zip(week.tolist(), own.tolist(), strict=True)
        ]

    def _gain(self, before: float, after: float, generator: np.random.Generator) -> float:
        label = (generator.random(self.rows) < 0.3).astype(np.int8)
        old = generator.normal(size=self.rows)
        new = _SHARED * old + np.sqrt(1 - _SHARED**2) * generator.normal(size=self.rows)
        sides = [
            AUC(label, noise + label * np.sqrt(2) * _NORMAL.inv_cdf(min(max(value, 0.5), 0.99)))
            for noise, value in ((new, after), (old, before))
        ]
        return float(AUC.gain(*sides))


def alarm_day(gains: list[float], margin: float, level: float = LEVEL) -> int | None:
    """Return the day on which a promotion is said to have lost more than the margin; None if on none."""
    for day in range(1, len(gains) + 1):
        seen = gains[:day]
        # A limit is never below the mean, which is cheap.
        if np.mean(seen) < -margin and daily_mean(seen, level).high < -margin:
            return day
    return None


def alarm_rate(world: WatchedWorld, *, promotions: int, days: int, margin: float, seed: int = 0) -> float:
    """Return the share of promotions that are ever said to have lost more than the margin."""
    generator = np.random.default_rng(seed)
    found = [alarm_day(world.gains(days, generator), margin) for _ in range(promotions)]
    return sum(day is not None for day in found) / promotions


def _autoregressive(count: int, correlation: float, generator: np.random.Generator) -> Floats:
    found = np.empty(count)
    found[0] = generator.normal()
    for day in range(1, count):
        found[day] = correlation * found[day - 1] + np.sqrt(1 - correlation**2) * generator.normal()
    return found
