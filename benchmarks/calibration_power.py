"""Power: how often a drift is found when ours and Evidently's default raise equally many false alarms."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from benchmarks.calibration_alarms import LEVEL
from benchmarks.calibration_columns import Array, Column, columns, drifts
from benchmarks.calibration_peer import statistic
from evermodel.monitoring.drift.two_sample import categorical_p_value, numeric_p_value
from evermodel.stats.sample import CategoricalSample, NumericSample

# Strength of each drift, in units that shrink with the rows as the noise does, so that curves run from low to high.
UNITS = {
    "location": 1.0,
    "scale": 0.8,
    "tail": 0.3,
    "zero share": 0.45,
    "one grows": 0.4,
    "new": 0.1,
    "tilt": 0.9,
}
STEPS = (2.0, 3.0, 4.0)


@dataclass(frozen=True)
class Curve:
    """Shares found by strength of the drift."""

    reference: int
    window: int
    column: str
    drift: str
    peer: str
    strengths: tuple[float, ...]
    ours: tuple[float, ...]
    theirs: tuple[float, ...]

    @property
    def deficit(self) -> float:
        """Largest lead of the peer."""
        return max(theirs - ours for ours, theirs in zip(self.ours, self.theirs, strict=True))

    def line(self) -> str:
        """Say it in one line."""
        pairs = zip(self.strengths, self.ours, self.theirs, strict=True)
        said = "   ".join(f"{strength:.3f}: {ours:4.0%} / {theirs:4.0%}" for strength, ours, theirs in pairs)
        size = f"{self.reference:>7,} {self.window:>6,}"
        return f"{size}  {self.column:<15} {self.drift:<10} {self.peer:<14} {said}"


def curves(
    sizes: tuple[tuple[int, int], ...], calm_trials: int, trials: int, wanted: Callable[[Column], bool]
) -> Iterator[Curve]:
    """Simulate the curves.

    Both thresholds are the same quantile of the same calm trials, so both tests raise 1 % of false alarms in them.
    """
    for reference, window in sizes:
        for column in filter(wanted, columns()):
            generator = np.random.default_rng([reference, window, len(column.name)])
            many = 0 if column.numeric else int(column.name.split()[0])
            name, measure = statistic(reference, column.numeric, many)

            def pairs(times: int, drift: str, strength: float) -> Iterator[tuple[Array, Array]]:
                for _ in range(times):
                    yield (
                        column.draw(generator, reference, "none", 0.0),  # noqa: B023
                        column.draw(generator, window, drift, strength),  # noqa: B023
                    )

            def both(drawn: Iterator[tuple[Array, Array]]) -> Array:
                return np.array([(-_ours(column, *pair), measure(*pair)) for pair in drawn])  # noqa: B023

            calm = both(pairs(calm_trials, "none", 0.0))
            for drift in drifts(column):
                strengths = tuple(_strength(drift, step, reference, window) for step in STEPS)
                drawn = [both(pairs(trials, drift, strength)) for strength in strengths]
                ours, theirs = (
                    tuple(_power(calm[:, side], one[:, side]) for one in drawn) for side in (0, 1)
                )
                yield Curve(reference, window, column.name, drift, name, strengths, ours, theirs)


def _power(calm: Array, drifting: Array) -> float:
    """Return the share found by a threshold that calm trials cross at the level; ties are decided by lot."""
    wanted = LEVEL * len(calm)
    threshold = np.sort(calm)[-max(1, round(wanted))]
    above, tied = np.sum(calm > threshold), np.sum(calm == threshold)
    return float(np.mean(drifting > threshold) + np.mean(drifting == threshold) * (wanted - above) / tied)


def _strength(drift: str, step: float, reference: int, window: int) -> float:
    rows = reference * window / (reference + window)
    return min(UNITS[drift] * step / math.sqrt(rows), 0.6 if drift != "zero share" else 0.35)


def _ours(column: Column, before: Array, now: Array) -> float:
    old, new = column.sample(before), column.sample(now)
    if isinstance(old, NumericSample) and isinstance(new, NumericSample):
        return numeric_p_value(old, new)
    if isinstance(old, CategoricalSample) and isinstance(new, CategoricalSample):
        return categorical_p_value(old, new)
    raise TypeError(f"{column.name} has two kinds of sides")
