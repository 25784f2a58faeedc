"""How often a limit that was learnt from calm days is passed by the next calm days, simulated with known truth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evermodel.monitoring.drift.quiet_days import Limit, learn_limit

COLUMNS = 20
REFERENCE_DAYS = 56
AFTER = 30
RATE = 0.01
LEAST = 28


@dataclass(frozen=True)
class World:
    """Days whose means wander: an AR(1) of unit variance in each column, a part of it common to all columns.

    Parameters
    ----------
    memory
        Correlation between one day and the next.
    common
        Share of the variance that all columns have in common.
    trend
        How far every column drifts over all days, in standard deviations of a day.
    """

    memory: float
    common: float = 0.3
    trend: float = 0.0

    def days(self, generator: np.random.Generator, count: int) -> NDArray[np.float64]:
        """Return the means of some days by column."""
        own = generator.normal(size=(count, COLUMNS)) * np.sqrt(1 - self.common)
        pushes = own + generator.normal(size=(count, 1)) * np.sqrt(self.common)
        found = np.empty_like(pushes)
        found[0] = pushes[0]
        for day in range(1, count):
            found[day] = self.memory * found[day - 1] + np.sqrt(1 - self.memory**2) * pushes[day]
        drifted: NDArray[np.float64] = found + self.trend * np.arange(count)[:, None] / count
        return drifted


@dataclass(frozen=True)
class Simulated:
    """What was found in one cell of the table.

    Parameters
    ----------
    alarms
        Share of calm days on which any column is above its limit.
    known
        Share of columns that had a limit.
    found
        Share of shifts by four standard deviations of a window's mean that are above the limit.
    """

    alarms: float
    known: float
    found: float


def effects(days: NDArray[np.float64], length: int, noise: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return what PSI is but for a factor: the squared difference of window and reference, and sampling noise."""
    reference = days[:REFERENCE_DAYS].mean(axis=0)
    sums = np.cumsum(np.vstack([np.zeros_like(days[:1]), days]), axis=0)
    windows = (sums[length:] - sums[:-length])[REFERENCE_DAYS:] / length
    shown: NDArray[np.float64] = (windows - reference) ** 2 + 0.02 * noise[: len(windows)] / 9
    return shown


def simulate(world: World, length: int, history: int, trials: int, seed: int = 0) -> Simulated:
    """Learn from a history of calm windows and look at the thirty days after it."""
    generator = np.random.default_rng(seed)
    total = REFERENCE_DAYS + history + 2 * (length - 1) + AFTER
    scale = _window_spread(world, length)
    alarms, known, found = [], [], []
    for _ in range(trials):
        days = world.days(generator, total)
        noise = generator.chisquare(9, size=(total, COLUMNS))
        shown = effects(days, length, noise)
        past, coming = shown[:history], shown[history + length - 1 :][:AFTER]
        limits = np.array(
            [_value(learn_limit(column, 0.25, length, LEAST, RATE / COLUMNS)) for column in past.T]
        )
        alarms.append((coming > limits).any(axis=1).mean())
        known.append(np.isfinite(limits).mean())
        shifted = days.copy()
        shifted[-length:] += 4 * scale
        found.append((effects(shifted, length, noise)[-1] > limits)[np.isfinite(limits)])
    return Simulated(float(np.mean(alarms)), float(np.mean(known)), _mean(found))


def run(trials: int = 60) -> str:
    """Return the table as Markdown."""
    lines = [
        "| window | days of history | memory 0 | 0.5 | 0.8 | 0.95 | 0.5 and a slow drift |",
        "|---|---|---|---|---|---|---|",
    ]
    worlds = [World(0.0), World(0.5), World(0.8), World(0.95), World(0.5, trend=2.0)]
    for length in (1, 7):
        for history in (28, 56, 112, 182):
            cells = [_cell(simulate(world, length, history, trials)) for world in worlds]
            lines.append(f"| {length} d | {history} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(found: Simulated) -> str:
    if found.known < 0.01:
        return "no limit"
    return f"{found.alarms:.1%} of days, {found.known:.0%} known, {found.found:.0%} found"


def _value(limit: Limit | None) -> float:
    return limit.effect if limit and limit.sure else np.inf


def _window_spread(world: World, length: int) -> float:
    """Return the standard deviation of a window's mean."""
    lags = np.arange(1, length)
    return float(np.sqrt((length + 2 * ((length - lags) * world.memory**lags).sum()) / length**2))


def _mean(parts: list[NDArray[np.bool_]]) -> float:
    together = np.concatenate(parts)
    return float(together.mean()) if len(together) else 0.0
